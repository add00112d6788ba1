# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest

from mezite.core.oidc.return_path import InvalidReturnPathError, checked_return_path, is_loopback_callback


@pytest.mark.parametrize(
    "path",
    ["/", "/nodes", "/nodes/", "/a/b.c/d", "/nodes?label=env%3Dprod&q=a/b", "/?x", "/~me/@you", "/a..b"],
)
def test_paths_of_this_host(path):
    assert checked_return_path(path) == path


STARTS = (
    "//",
    "///",
    "/\\",
    "\\\\",
    "\\/",
    "/\t/",
    "/\n/",
    "/%2f",
    "/%5c",
    "/.//",
    "/..//",
    "/;//",
    "https:",
    "http://",
    "https:/",
)
REST = (
    "evil.example",
    "evil.example/",
    "evil.example%2f..",
    "evil.example:443/x",
    "user@evil.example",
    "[::1]/",
)
ODD = (
    "",
    " ",
    "nodes",
    "?a",
    "#a",
    "/#a",
    "/a#b",
    "javascript:alert(1)",
    "data:text/html,x",
    "/a b",
    "/a\r\nSet-Cookie: x",
    "/a\x00",
    "/ä",
    "/\u2028",
    "/../etc",
    "/./a",
    "/a/../b",
    "/a//b",
    "/a\\b",
    "/%0d%0a",
    "/<script>",
    '/"onload="x',
    "/" + "a" * 1024,
)


@pytest.mark.parametrize("path", [*map("".join, itertools.product(STARTS, REST)), *ODD])
def test_anything_else(path):
    """Threat D19: more than a hundred ways to say another host."""
    with pytest.raises(InvalidReturnPathError):
        checked_return_path(path)


SECRET = "A" * 22


def test_a_clients_callback_is_on_loopback_by_number():
    assert is_loopback_callback(f"http://127.0.0.1:40000/{SECRET}")


@pytest.mark.parametrize(
    "url",
    [
        "",
        f"https://127.0.0.1:40000/{SECRET}",
        f"http://localhost:40000/{SECRET}",
        f"http://127.0.0.2:40000/{SECRET}",
        f"http://127.1:40000/{SECRET}",
        f"http://[::1]:40000/{SECRET}",
        f"http://127.0.0.1.evil.example:40000/{SECRET}",
        f"http://127.0.0.1@evil.example:40000/{SECRET}",
        f"http://evil.example#127.0.0.1:40000/{SECRET}",
        f"http://127.0.0.1:80/{SECRET}",
        f"http://127.0.0.1:70000/{SECRET}",
        f"http://127.0.0.1/{SECRET}",
        "http://127.0.0.1:40000/",
        "http://127.0.0.1:40000/short",
        f"http://127.0.0.1:40000/{SECRET}?x=1",
        f"http://127.0.0.1:40000/{SECRET}#",
        f"http://127.0.0.1:40000/{SECRET}\n",
        f"http://127.0.0.1:40000//{SECRET}",
    ],
)
def test_and_nowhere_else(url):
    assert not is_loopback_callback(url)
