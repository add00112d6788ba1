# SPDX-License-Identifier: Apache-2.0
"""The kinds of value a key can have: how each is read, and how it is named to the user.

A kind takes a node of the document (or the text of an environment variable) and returns the value, or raises
:class:`BadValue` with what is wrong and what to write.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias

import attrs

from mezite.config.problems import BadValue
from mezite.config.yaml_document import ListNode, MapNode, Node, Scalar, Tag
from mezite.core.audit.event_types import EventType
from mezite.core.durations import parse_duration
from mezite.core.labels import check_labels, parse_labels
from mezite.core.names import check_cluster_name, check_node_name
from mezite.core.oidc.provider_url import InvalidUrlError, parse_provider_url
from mezite.core.secret import Secret

__all__ = [
    "BOOLEAN",
    "CA_PIN",
    "CIDRS",
    "CLUSTER_NAME",
    "DOMAIN",
    "DURATION",
    "GRPC_ADDRESS",
    "HEADER_NAME",
    "HOST_PORT",
    "LABELS",
    "LISTEN_ADDRESS",
    "NODE_NAME",
    "PATH",
    "PROXY_ADDRESS",
    "REQUEST_EVENTS",
    "SECRET",
    "TEXT",
    "WEBHOOK_URL",
    "HostPort",
    "Kind",
    "ListenAddress",
    "Network",
    "choice",
    "integer",
]

Network: TypeAlias = IPv4Network | IPv6Network

_REQUEST = "access_request."
_EVENT_NAMES = frozenset(event.type_name for event in EventType)

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
# Letters, digits, dot, hyphen, underscore; an IPv4 address has this form too. IPv6 stands in brackets.
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_.])?")
_HOST_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([^\[\]:/@]*))(?::([0-9]{1,5}))?")
# ::ffff:0:0/96, IPv4 addresses written as IPv6.
_MAPPED_PREFIX = 96
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@attrs.frozen
class Kind:
    """One kind of value."""

    name: str
    """As the documentation calls it."""
    read: Callable[[Node], Any]


@attrs.frozen
class ListenAddress:
    """An address to bind: ``host`` without brackets, empty for all interfaces; ``port`` 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@attrs.frozen
class HostPort:
    """An address that others dial: ``host`` without brackets; ``port`` None where it was left out."""

    host: str
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    def with_port(self, default: int) -> HostPort:
        """Return the same address with ``default`` as the port if none was given."""
        return self if self.port is not None else HostPort(self.host, default)


def _text(node: Node, expected: str = "text") -> str:
    if not isinstance(node, Scalar):
        raise BadValue(
            f"expected {expected}, found {'a list' if isinstance(node, ListNode) else 'nested keys'}"
        )
    if node.tag in {Tag.NUMBER, Tag.BOOLEAN}:
        raise BadValue(f"expected {expected}, found {node.tag.value} ({node.text[:40]})", "put it in quotes")
    if _CONTROL.search(node.text):
        raise BadValue(f"expected {expected}, found a control character")
    return node.text


def _plain(node: Node, expected: str) -> str:
    """Return the scalar as written, whatever YAML takes it for."""
    if not isinstance(node, Scalar):
        raise BadValue(
            f"expected {expected}, found {'a list' if isinstance(node, ListNode) else 'nested keys'}"
        )
    return node.text


def _nonempty_text(node: Node) -> str:
    text = _text(node)
    if not text:
        raise BadValue("is empty", "leave the key out for the default")
    return text


def _boolean(node: Node) -> bool:
    text = _plain(node, "true or false").lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise BadValue(f"expected true or false, found {text[:40]!r}")


def integer(minimum: int, maximum: int, unit: str) -> Kind:
    """Return the kind of whole numbers in a range; ``unit`` is for the documentation."""

    def read(node: Node) -> int:
        text = _plain(node, "a whole number")
        # At most 18 digits: beyond that the conversion itself would be work (P21).
        if re.fullmatch(r"-?[0-9]{1,18}", text) is None:
            raise BadValue(f"expected a whole number, found {text[:40]!r}")
        if not minimum <= int(text) <= maximum:
            raise BadValue(f"{text} is not between {minimum} and {maximum} ({unit})")
        return int(text)

    return Kind(f"number of {unit}", read)


def choice(*words: str) -> Kind:
    """Return the kind of one word out of ``words``. ``on`` and ``off`` need no quotes."""

    def read(node: Node) -> str:
        text = _plain(node, "a word")
        if text not in words:
            raise BadValue(f"{text[:40]!r} is not one of {', '.join(words)}")
        return text

    return Kind(" | ".join(words), read)


def _duration(node: Node) -> int:
    text = _plain(node, "a duration")
    try:
        return parse_duration(text)
    except ValueError as error:
        raise BadValue(str(error)) from None


def _split_host_port(text: str, example: str) -> tuple[str, int | None]:
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        hint = (
            "an IPv6 address stands in brackets, as in [::]:3080"
            if text.count(":") > 1
            else f"for example {example}"
        )
        raise BadValue(f"{text[:80]!r} is not an address", hint)
    literal, host, port_text = match.groups()
    if literal is not None:
        try:
            host = str(IPv6Address(literal))
        except ValueError:
            raise BadValue(f"{literal!r} is not an IPv6 address") from None
    elif host and _HOST.fullmatch(host) is None:
        raise BadValue(f"{host[:80]!r} is not a host name or address", f"for example {example}")
    port = None if port_text is None else int(port_text)
    if port is not None and port > 65_535:
        raise BadValue(f"port {port} is above 65535")
    return host, port


def _listen_address(node: Node) -> ListenAddress:
    text = _plain(node, "an address such as 0.0.0.0:3080")
    host, port = _split_host_port(text, "0.0.0.0:3080")
    if port is None:
        raise BadValue(f"{text[:80]!r} has no port", "write host:port, for example 0.0.0.0:3080")
    return ListenAddress(host, port)


def _host_port(node: Node) -> HostPort:
    host, port = _split_host_port(
        _plain(node, "an address such as hub.example.com:443"), "hub.example.com:443"
    )
    if not host:
        raise BadValue("has no host name", "write host or host:port")
    if port == 0:
        raise BadValue("port 0 cannot be dialled")
    return HostPort(host, port)


def _dial_address(default_port: int) -> Callable[[Node], str]:
    return lambda node: str(_host_port(node).with_port(default_port))


def _proxy_address(node: Node) -> str:
    """Return ``host:port`` or ``https://host:port``, completed with the transport's port."""
    text = _plain(node, "an address such as hub.example.com:3024")
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _dial_address(3024)(node)
    if scheme != "https":
        raise BadValue(
            f"{scheme[:20]}:// is not a transport", "write host:3024, or https://host for a WebSocket"
        )
    return "https://" + _dial_address(443)(Scalar(rest.removesuffix("/"), Tag.TEXT, node.place))


def _domain(node: Node) -> str:
    address = _host_port(node)
    if address.port is not None or ":" in address.host:
        raise BadValue("is not a domain", "write it without a port, for example apps.example.com")
    return address.host.lower()


def _items(node: Node, expected: str) -> list[str]:
    if isinstance(node, ListNode):
        return [_plain(item, expected) for item in node.items]
    if isinstance(node, Scalar) and node.tag is Tag.UNTYPED:
        return [item for item in node.text.replace(" ", "").split(",") if item]
    raise BadValue(f"expected a list of {expected}", "write [item, item]")


def _network(text: str) -> Network:
    """Read one CIDR; IPv4 written as IPv6 becomes IPv4, so that peers compare equal in either form (C1)."""
    address, slash, _ = text.partition("/")
    if not slash and re.fullmatch(r"[0-9A-Fa-f:.]{2,45}", text):
        raise BadValue(
            f"{text!r} is not a CIDR", f"for one address write {text}/{128 if ':' in text else 32}"
        )
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise BadValue(f"{text[:50]!r} is not a CIDR", "for example 10.0.0.0/8 or fd00::/8") from None
    if network.network_address != ip_address(address):
        raise BadValue(f"{text!r} has bits set behind the prefix", f"write {network}")
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_PREFIX:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_PREFIX))
    return network


def _cidrs(node: Node) -> tuple[Network, ...]:
    return tuple(_network(text) for text in _items(node, "CIDRs"))


def _labels(node: Node) -> Mapping[str, str]:
    try:
        if isinstance(node, MapNode):
            labels = {key: _plain(entry.node, "text") for key, entry in node.entries.items()}
            check_labels(labels)
            return labels
        return parse_labels(_text(node, "key: value pairs"))
    except ValueError as error:
        raise BadValue(str(error), "write key: value pairs, or key=value,key=value") from None


def _checked(check: Callable[[str], str]) -> Callable[[Node], str]:
    def read(node: Node) -> str:
        try:
            return check(_text(node))
        except ValueError as error:
            raise BadValue(str(error)) from None

    return read


def _header_name(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9-]{1,64}", text) is None:
        raise ValueError(f"{text[:80]!r} is not a header name such as X-Forwarded-For")
    return text


def _webhook_url(node: Node) -> str:
    text = _plain(node, "a URL")
    try:
        parse_provider_url(text, plain_on_loopback=True)
    except InvalidUrlError as error:
        raise BadValue(str(error), "for example https://hooks.example.com/mezite") from None
    return text


def _request_events(node: Node) -> tuple[str, ...]:
    known = sorted(name.removeprefix(_REQUEST) for name in _EVENT_NAMES if name.startswith(_REQUEST))
    events = tuple(item.removeprefix(_REQUEST) for item in _items(node, "events"))
    for event in events:
        if event not in known:
            near = difflib.get_close_matches(event, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise BadValue(f"{event[:50]!r} is not something that happens to an access request", hint)
    return events


def _ca_pin(node: Node) -> str:
    text = _plain(node, "a pin").removeprefix("sha256:")
    if re.fullmatch(r"[0-9a-f]{64}", text) is None:
        raise BadValue("is not sha256: and 64 hex digits", "copy it from `mezhub ca-pin`")
    return f"sha256:{text}"


BOOLEAN = Kind("true | false", _boolean)
CA_PIN = Kind("sha256:<64 hex>", _ca_pin)
CIDRS = Kind("list of CIDRs", _cidrs)
DOMAIN = Kind("domain", _domain)
DURATION = Kind("duration", _duration)
GRPC_ADDRESS = Kind("host[:port]", _dial_address(3025))
HEADER_NAME = Kind("header name", _checked(_header_name))
HOST_PORT = Kind("host[:port]", _host_port)
LABELS = Kind("labels", _labels)
LISTEN_ADDRESS = Kind("host:port", _listen_address)
CLUSTER_NAME = Kind("name", _checked(check_cluster_name))
NODE_NAME = Kind("name", _checked(check_node_name))
PATH = Kind("path", _nonempty_text)
PROXY_ADDRESS = Kind("host[:port] | https://host[:port]", _proxy_address)
SECRET = Kind("secret", lambda node: Secret(_plain(node, "text")))
REQUEST_EVENTS = Kind("list of events", _request_events)
TEXT = Kind("text", _nonempty_text)
WEBHOOK_URL = Kind("URL", _webhook_url)
