# SPDX-License-Identifier: Apache-2.0
"""Who knocked at the wrong port, and where to go instead: the texts of both sides."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

import attrs

__all__ = [
    "Advice",
    "Answer",
    "Door",
    "client_advice",
    "grpc_balancer_hint",
    "is_certain",
    "tunnel_port_hint",
]


class Door(enum.Enum):
    """A listener of a hub, under the name that the hub logs."""

    WEB = "web"
    SSH = "ssh"
    TUNNEL = "tunnel"
    GRPC = "auth"

    @property
    def port(self) -> int:
        """The default port."""
        return _PORTS[self]

    @property
    def title(self) -> str:
        """As it is called in sentences."""
        return _TITLES[self]


_PORTS: Mapping[Door, int] = MappingProxyType(
    {Door.WEB: 3080, Door.SSH: 3023, Door.TUNNEL: 3024, Door.GRPC: 3025}
)
_TITLES: Mapping[Door, str] = MappingProxyType(
    {
        Door.WEB: "HTTPS port",
        Door.SSH: "SSH port",
        Door.TUNNEL: "tunnel port",
        Door.GRPC: "gRPC port",
    }
)


class Answer(enum.Enum):
    """What a client found behind an address."""

    WEB = "web"
    """A hub's HTTPS port."""
    GRPC = "grpc"
    """A hub's gRPC port, or a balancer that speaks HTTP/2."""
    TUNNEL = "tunnel"
    """A hub's tunnel port."""
    CONNECT = "connect"
    """A hub's SSH port, asked in TLS."""
    SSH = "ssh"
    """An SSH server: a hub's SSH port or any other."""
    OTHER_HTTPS = "other-https"
    """HTTPS, but no hub."""
    HTTP = "http"
    """HTTP without TLS."""
    TLS = "tls"
    """TLS that names no protocol: a balancer that ends TLS, most likely."""
    PLAIN = "plain"
    """Neither TLS nor anything known."""
    CLOSED = "closed"
    """The connection is closed without a word."""
    SILENT = "silent"
    """Nothing is said."""


_DOOR_OF_ANSWER = {
    Answer.WEB: Door.WEB,
    Answer.OTHER_HTTPS: Door.WEB,
    Answer.GRPC: Door.GRPC,
    Answer.TUNNEL: Door.TUNNEL,
    Answer.CONNECT: Door.SSH,
    Answer.SSH: Door.SSH,
}

_SEEN = {
    Answer.WEB: "the hub's HTTPS port answers there",
    Answer.OTHER_HTTPS: "an HTTPS server that is not a hub answers there",
    Answer.GRPC: "a gRPC port answers there",
    Answer.TUNNEL: "the hub's tunnel port answers there",
    Answer.CONNECT: "the hub's SSH port answers there",
    Answer.SSH: "an SSH server answers there",
    Answer.HTTP: "an HTTP server without TLS answers there",
    Answer.TLS: "what answers there speaks TLS, but none of the hub's protocols in it",
    Answer.PLAIN: "what answers there speaks no TLS",
    Answer.CLOSED: "the connection is closed without an answer",
    Answer.SILENT: "what is there says nothing",
}


@attrs.frozen
class Advice:
    """What was found, and what to do: two halves of one sentence."""

    why: str
    hint: str


_NO_HTTP2 = {Answer.OTHER_HTTPS, Answer.TLS, Answer.HTTP}


def grpc_balancer_hint(setting: str) -> str:
    """What to do when the gRPC port is not reached, or not in HTTP/2: most of the time a balancer stands before it."""
    return (
        f"{setting} must point to the gRPC port ({Door.GRPC.port}); a load balancer must expose it and forward it as "
        f"gRPC/h2c (HTTP/2 cleartext) to the hub's {Door.GRPC.port}, with MEZITE_GRPC_ALLOW_HTTP=true or "
        "MEZITE_AUTH_H2C=true on the hub"
    )


def is_certain(wanted: Door, answer: Answer) -> bool:
    """Whether ``answer`` rules out that ``wanted`` is there, even behind a load balancer that ends TLS."""
    found = _DOOR_OF_ANSWER.get(answer)
    return answer in {Answer.HTTP, Answer.PLAIN} if found is None else found is not wanted


def tunnel_port_hint(address: str) -> str:
    """What to tell an agent whose tunnel does not come about, when nobody has looked what listens there."""
    port = address.rpartition(":")[2]
    tried = f" ({port})" if port.isdigit() and port != str(Door.TUNNEL.port) else ""
    return (
        f"MEZITE_PROXY_ADDR (proxy_addr) must point to the {Door.TUNNEL.title} ({Door.TUNNEL.port}), not the HTTPS "
        f"port{tried}; `mezd doctor` finds out what listens there"
    )


def client_advice(wanted: Door, answer: Answer, *, setting: str, port: int) -> Advice:
    """Say why the port behind ``setting`` is not the ``wanted`` one.

    ``port`` is the one that was tried.
    """
    must = f"{setting} must point to the {wanted.title} ({wanted.port})"
    found = _DOOR_OF_ANSWER.get(answer)
    why = _SEEN[answer]
    if wanted is Door.WEB and answer is Answer.OTHER_HTTPS:
        return Advice(why, f"{must}; a load balancer must forward its 443 to the hub's {Door.WEB.port}")
    if found is wanted:
        return Advice(why, "look into the hub's log for the reason of the refusal")
    if wanted is Door.GRPC and answer in _NO_HTTP2:
        return Advice(f"{why}, without HTTP/2", grpc_balancer_hint(setting))
    if found is not None:
        return Advice(why, f"{must}, not the {found.title} ({port})")
    if answer is Answer.TLS and wanted is Door.TUNNEL:
        return Advice(
            why, f"if a load balancer ends TLS there, set MEZITE_TLS_WRAP=true; else {must}, not port {port}"
        )
    if answer in {Answer.HTTP, Answer.PLAIN, Answer.TLS}:
        return Advice(why, f"{must}, not port {port}")
    return Advice(
        why, f"{must}; behind a load balancer, let it forward port {wanted.port} to the hub's {wanted.port}"
    )
