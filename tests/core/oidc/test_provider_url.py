# SPDX-License-Identifier: Apache-2.0
import pytest

from mezite.core.oidc.provider_url import InvalidUrlError, is_loopback_name, parse_provider_url


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("https://login.example.com", ("https", "login.example.com", 443, "/", "login.example.com")),
        (
            "https://Login.Example.com:8443/a/b",
            ("https", "login.example.com", 8443, "/a/b", "login.example.com:8443"),
        ),
        ("https://x/r?a=b&c=d", ("https", "x", 443, "/r?a=b&c=d", "x")),
        ("https://[2001:db8::1]:444/", ("https", "2001:db8::1", 444, "/", "[2001:db8::1]:444")),
        ("https://[::1]", ("https", "::1", 443, "/", "[::1]")),
    ],
)
def test_the_parts(text, parts):
    url = parse_provider_url(text)
    assert (url.scheme, url.host, url.port, url.target, url.authority) == parts
    assert url.text == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "login.example.com",
        "ftp://login.example.com",
        "https://",
        "https:///path",
        "https://user@login.example.com/",
        "https://user:pw@login.example.com/",
        "https://a.example\\@b.example/",
        "https://a.example#@b.example/",
        "https://login.example.com/#fragment",
        "https://login.example.com/a b",
        "https://login.example.com/\r\nHost: x",
        "https://login.example.com/\n",
        "https://lögin.example.com/",
        "https://login.example.com:0/",
        "https://login.example.com:65536/",
        "https://login.example.com:٤٤٣/",
        "https://login.example.com:443:443/",
        "https://[::1/",
        "https://[1:2]/",
        "https://[fe80::1%25eth0]/",
        "https://-a/",
        "https://x/" + "a" * 2048,
        "http://login.example.com/",
        "http://localhost/",
        "javascript:alert(1)",
        " https://x/",
    ],
)
def test_what_is_none(text):
    """Threats D2 and D19: one reading, or none."""
    with pytest.raises(InvalidUrlError):
        parse_provider_url(text)


def test_http_to_this_machine_only():
    assert parse_provider_url("http://127.0.0.1:8080/x", plain_on_loopback=True).port == 8080
    assert parse_provider_url("http://localhost/", plain_on_loopback=True).port == 80
    with pytest.raises(InvalidUrlError, match="https"):
        parse_provider_url("http://127.0.0.2/", plain_on_loopback=True)
    assert not is_loopback_name("localhost.example.com")
