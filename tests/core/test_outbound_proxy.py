# SPDX-License-Identifier: Apache-2.0
import pytest

from mezite.core.outbound_proxy import HttpProxy, InvalidProxyError, ProxySettings

URL = "http://proxy.example.com:3128"


def settings(no_proxy="", url=URL):
    return ProxySettings.from_environment({"HTTPS_PROXY": url, "NO_PROXY": no_proxy})


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (URL, "proxy.example.com:3128"),
        ("http://proxy.example.com", "proxy.example.com:80"),
        ("proxy.example.com:3128/", "proxy.example.com:3128"),
        ("HTTP://10.0.0.1:8080", "10.0.0.1:8080"),
        ("http://[fd00::1]:3128", "[fd00::1]:3128"),
    ],
)
def test_the_proxys_address(url, address):
    proxy = settings(url=url).proxy
    assert proxy is not None
    assert (proxy.address, proxy.authorization) == (address, None)


def test_nothing_is_set():
    for environ in ({}, {"HTTPS_PROXY": " "}, {"NO_PROXY": "example.com"}):
        assert ProxySettings.from_environment(environ).proxy_for("hub.example.com", 443) is None


def test_capitals_win_over_lower_case():
    both = {"HTTPS_PROXY": "http://upper:1", "https_proxy": "http://lower:2"}
    assert ProxySettings.from_environment(both).proxy == HttpProxy(host="upper", port=1)
    assert ProxySettings.from_environment({"https_proxy": "http://lower:2"}).proxy == HttpProxy(
        host="lower", port=2
    )
    quiet = {"https_proxy": "http://lower:2", "no_proxy": "example.com"}
    assert ProxySettings.from_environment(quiet).proxy_for("example.com", 443) is None


@pytest.mark.parametrize(
    ("user", "authorization"),
    [
        ("alice:secret", "Basic YWxpY2U6c2VjcmV0"),
        ("alice", "Basic YWxpY2U6"),
        ("a%40b:p%3Aq%40", "Basic YUBiOnA6cUA="),
    ],
)
def test_user_and_password_in_the_url(user, authorization):
    proxy = settings(url=f"http://{user}@proxy:3128").proxy
    assert proxy is not None
    assert proxy.authorization == authorization
    assert "secret" not in repr(proxy)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("socks5://proxy:1080", "socks5:// proxies are not spoken"),
        ("https://proxy:443", "https:// proxies are not spoken"),
        ("http://proxy:99999", "not from 1 to 65535"),
        ("http://proxy:0", "not from 1 to 65535"),
        ("http://a:secret@proxy:3128/path", "not a URL of a proxy"),
        ("http://", "not a URL of a proxy"),
        ("http://[::1::]:3128", "no valid IPv6"),
        ("http://a%0d%0ab:secret@proxy", "Basic cannot carry"),
        ("http://a%3ab:secret@proxy", "Basic cannot carry"),
    ],
)
def test_what_cannot_be_used_is_named_without_its_password(url, why):
    with pytest.raises(InvalidProxyError, match=why) as caught:
        settings(url=url)
    assert caught.value.what == "cannot use HTTPS_PROXY"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "direct"),
    [
        ("", "hub.example.com", 443, False),
        ("*", "hub.example.com", 443, True),
        ("other.com, example.com", "example.com", 443, True),
        ("example.com", "hub.EXAMPLE.com.", 443, True),
        ("example.com", "notexample.com", 443, False),
        (".example.com", "hub.example.com", 443, True),
        (".example.com", "example.com", 443, False),
        ("*.example.com", "hub.example.com", 443, True),
        ("hub.example.com:3025", "hub.example.com", 3025, True),
        ("hub.example.com:3025", "hub.example.com", 3024, False),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("10.0.0.0/8", "hub.example.com", 443, False),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("10.1.2.3:443", "10.1.2.3", 443, True),
        ("10.1.2.3:443", "10.1.2.3", 444, False),
        ("10.0.0.0/8", "::ffff:10.0.0.1", 443, True),
        ("fd00::/8", "fd00::5", 443, True),
        ("[fd00::5]:443", "fd00::5", 443, True),
        ("fd00::5", "fd00::6", 443, False),
        ("", "localhost", 3025, True),
        ("", "hub.localhost", 3025, True),
        ("", "127.0.0.1", 3025, True),
        ("", "::1", 3025, True),
        ("", "127.0.0.2", 3025, False),
    ],
)
def test_who_is_reached_directly(no_proxy, host, port, direct):
    assert (settings(no_proxy).proxy_for(host, port) is None) is direct


@pytest.mark.parametrize("entry", ["a/b", "host:99999", "[::1::]", "host:0", "http://host", "[fd00::1"])
def test_an_exemption_that_cannot_be_read(entry):
    with pytest.raises(InvalidProxyError, match="is no host, domain, address or CIDR") as caught:
        settings(f"ok.example.com,{entry}")
    assert caught.value.what == "cannot use NO_PROXY"
