# SPDX-License-Identifier: Apache-2.0
"""The names of the protocols that TLS clients can ask for (RFC 7301)."""

__all__ = ["AGENT_TUNNEL", "GRPC", "HTTP1", "HTTP2", "OWN_PREFIX", "USER_TUNNEL"]

HTTP1 = "http/1.1"
"""Browsers and the web API. Never HTTP/2 there: with a wildcard certificate, browsers would coalesce hub and
application hosts onto one connection."""

HTTP2 = "h2"
"""gRPC, as every client of it says."""

OWN_PREFIX = "mezite-"
"""What the names of our own protocols begin with."""

GRPC = f"{OWN_PREFIX}grpc/1"
"""gRPC where browsers might come too: on the single port."""

AGENT_TUNNEL = f"{OWN_PREFIX}tunnel/1"
USER_TUNNEL = f"{OWN_PREFIX}connect/1"
