# SPDX-License-Identifier: Apache-2.0
"""Reach servers and internal applications through reverse tunnels.

The library's public names, each imported when it is first used: `import mezite` itself is quick and needs
no event loop. The protocol objects do no I/O; what drives them on Trio streams comes from `mezite.net`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mezite.core.assertion.key_cache import AssertionKeyCache
    from mezite.core.assertion.key_set import AssertionKeys, InvalidKeySetError
    from mezite.core.assertion.refusal import AssertionReason, AssertionRefused
    from mezite.core.assertion.verifier import Caller, verify_assertion
    from mezite.core.backoff import Backoff
    from mezite.core.byte_buffer import ByteBuffer
    from mezite.core.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
    from mezite.core.mux.connection import MuxConnection, MuxLimits, MuxStatistics, Side
    from mezite.core.mux.error_codes import ErrorCode
    from mezite.core.mux.events import (
        NEED_DATA,
        ChannelAccepted,
        ChannelClosed,
        ChannelOpened,
        ChannelRejected,
        ChannelReset,
        ConnectionClosed,
        ConnectionReady,
        DataReceived,
        EofReceived,
        GoAwayReceived,
        PongReceived,
        SendBufferSpace,
    )
    from mezite.core.mux.header import ChannelHeader
    from mezite.core.protocol_sniffer import Protocol, sniff
    from mezite.core.rbac.changes import find_flip, flip_text
    from mezite.core.rbac.evaluator import AppRequest, Decision, NodeRequest, evaluate
    from mezite.core.rbac.label_matcher import LabelSelector
    from mezite.core.rbac.role_document import RoleProblems, parse_role, role_document
    from mezite.core.rbac.role_options import RoleOptions
    from mezite.core.rbac.roles import BUILT_IN_ROLES, Conditions, Role
    from mezite.net.accept_loop import Connection, serve_connections
    from mezite.net.byte_streams import PushbackStream, RelayResult, relay
    from mezite.net.connection_limits import ConnectionLimiter, ConnectionLimits
    from mezite.net.dialer import DialError, dial
    from mezite.net.mux_channel import ChannelResetError, MuxChannel
    from mezite.net.mux_liveness import Keepalive
    from mezite.net.mux_session import ChannelRejectedError, MuxSession, PendingChannel, TunnelClosedError
    from mezite.net.protocol_router import peek_protocol
    from mezite.net.tls_stream import TlsStream

__version__ = "0.1.0.dev0"

_MODULES = {
    "mezite.core.assertion.key_cache": ("AssertionKeyCache",),
    "mezite.core.assertion.key_set": ("AssertionKeys", "InvalidKeySetError"),
    "mezite.core.assertion.refusal": ("AssertionReason", "AssertionRefused"),
    "mezite.core.assertion.verifier": ("Caller", "verify_assertion"),
    "mezite.core.backoff": ("Backoff",),
    "mezite.core.byte_buffer": ("ByteBuffer",),
    "mezite.core.errors": ("LocalProtocolError", "ProtocolError", "RemoteProtocolError"),
    "mezite.core.mux.connection": ("MuxConnection", "MuxLimits", "MuxStatistics", "Side"),
    "mezite.core.mux.error_codes": ("ErrorCode",),
    "mezite.core.mux.events": (
        "NEED_DATA",
        "ChannelAccepted",
        "ChannelClosed",
        "ChannelOpened",
        "ChannelRejected",
        "ChannelReset",
        "ConnectionClosed",
        "ConnectionReady",
        "DataReceived",
        "EofReceived",
        "GoAwayReceived",
        "PongReceived",
        "SendBufferSpace",
    ),
    "mezite.core.mux.header": ("ChannelHeader",),
    "mezite.core.protocol_sniffer": ("Protocol", "sniff"),
    "mezite.core.rbac.changes": ("find_flip", "flip_text"),
    "mezite.core.rbac.evaluator": ("AppRequest", "Decision", "NodeRequest", "evaluate"),
    "mezite.core.rbac.label_matcher": ("LabelSelector",),
    "mezite.core.rbac.role_document": ("RoleProblems", "parse_role", "role_document"),
    "mezite.core.rbac.role_options": ("RoleOptions",),
    "mezite.core.rbac.roles": ("BUILT_IN_ROLES", "Conditions", "Role"),
    "mezite.net.accept_loop": ("Connection", "serve_connections"),
    "mezite.net.byte_streams": ("PushbackStream", "RelayResult", "relay"),
    "mezite.net.connection_limits": ("ConnectionLimiter", "ConnectionLimits"),
    "mezite.net.dialer": ("DialError", "dial"),
    "mezite.net.mux_channel": ("ChannelResetError", "MuxChannel"),
    "mezite.net.mux_liveness": ("Keepalive",),
    "mezite.net.mux_session": ("ChannelRejectedError", "MuxSession", "PendingChannel", "TunnelClosedError"),
    "mezite.net.protocol_router": ("peek_protocol",),
    "mezite.net.tls_stream": ("TlsStream",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "BUILT_IN_ROLES",
    "NEED_DATA",
    "AppRequest",
    "AssertionKeyCache",
    "AssertionKeys",
    "AssertionReason",
    "AssertionRefused",
    "Backoff",
    "ByteBuffer",
    "Caller",
    "ChannelAccepted",
    "ChannelClosed",
    "ChannelHeader",
    "ChannelOpened",
    "ChannelRejected",
    "ChannelRejectedError",
    "ChannelReset",
    "ChannelResetError",
    "Conditions",
    "Connection",
    "ConnectionClosed",
    "ConnectionLimiter",
    "ConnectionLimits",
    "ConnectionReady",
    "DataReceived",
    "Decision",
    "DialError",
    "EofReceived",
    "ErrorCode",
    "GoAwayReceived",
    "InvalidKeySetError",
    "Keepalive",
    "LabelSelector",
    "LocalProtocolError",
    "MuxChannel",
    "MuxConnection",
    "MuxLimits",
    "MuxSession",
    "MuxStatistics",
    "NodeRequest",
    "PendingChannel",
    "PongReceived",
    "Protocol",
    "ProtocolError",
    "PushbackStream",
    "RelayResult",
    "RemoteProtocolError",
    "Role",
    "RoleOptions",
    "RoleProblems",
    "SendBufferSpace",
    "Side",
    "TlsStream",
    "TunnelClosedError",
    "dial",
    "evaluate",
    "find_flip",
    "flip_text",
    "parse_role",
    "peek_protocol",
    "relay",
    "role_document",
    "serve_connections",
    "sniff",
    "verify_assertion",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mezite' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
