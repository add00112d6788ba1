# SPDX-License-Identifier: Apache-2.0
"""Every ``ssl.SSLContext`` mezite uses, built from PEM bytes.

Two families. *Mutual* contexts carry tunnels between our own programs: TLS 1.3 only, both certificates from
the cluster's CA. Their names are URI SANs, which ``ssl`` cannot check: after the handshake the caller
verifies ``TlsStream.peer_certificate()`` with ``mezite.core.certificates``. The others face browsers,
balancers and command lines.

No context issues session tickets: a resumed session carries the old client certificate, so an expired or
locked user could come back without showing it (threat F1, seen with both TLS 1.2 and 1.3).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable, Sequence

__all__ = [
    "client_context",
    "load_identity",
    "mutual_client_context",
    "mutual_server_context",
    "server_context",
    "unverified_client_context",
]

# With TLS 1.2: forward secrecy and authenticated encryption only, as Mozilla's "intermediate" profile has it.
_TLS12_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def mutual_server_context(
    cert_pem: bytes, key_pem: bytes, client_ca_pems: Iterable[bytes], alpn: Sequence[str]
) -> ssl.SSLContext:
    """Server that requires a client certificate signed by one of ``client_ca_pems``; TLS 1.3 only.

    Raises :exc:`ValueError` for an empty CA list (threat F2: it must never mean "anyone") and
    :exc:`ssl.SSLError` for unusable PEM.
    """
    context = _new_context(ssl.PROTOCOL_TLS_SERVER, alpn)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    load_identity(context, cert_pem, key_pem)
    _load_authorities(context, client_ca_pems)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def server_context(
    cert_pem: bytes, key_pem: bytes, alpn: Sequence[str], *, client_ca_pems: Iterable[bytes] = ()
) -> ssl.SSLContext:
    """Server for browsers and API clients, TLS 1.2 and up.

    With ``client_ca_pems`` a client *may* present a certificate of those CAs (one of another CA fails the
    handshake), and TLS 1.3 is required: 1.2 session IDs could resume a session with an old certificate.
    Check ``peer_certificate()``: None means the client showed none.
    """
    context = _new_context(ssl.PROTOCOL_TLS_SERVER, alpn)
    context.set_ciphers(_TLS12_CIPHERS)
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    load_identity(context, cert_pem, key_pem)
    authorities = tuple(client_ca_pems)
    if authorities:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        _load_authorities(context, authorities)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def mutual_client_context(
    ca_pems: Iterable[bytes], cert_pem: bytes, key_pem: bytes, alpn: Sequence[str]
) -> ssl.SSLContext:
    """Client that shows its certificate; TLS 1.3 only, chain checked, host name **not** checked.

    The caller checks the server's URI SAN before it sends anything.
    """
    context = _new_context(ssl.PROTOCOL_TLS_CLIENT, alpn)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    load_identity(context, cert_pem, key_pem)
    _load_authorities(context, ca_pems)
    return context


def client_context(ca_pems: Iterable[bytes] | None, alpn: Sequence[str]) -> ssl.SSLContext:
    """Client that checks chain and host name; ``None`` means the system's roots."""
    context = _new_context(ssl.PROTOCOL_TLS_CLIENT, alpn)
    if ca_pems is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _load_authorities(context, ca_pems)
    return context


def unverified_client_context(alpn: Sequence[str]) -> ssl.SSLContext:
    """Client that checks **nothing**.

    Only for fetching public data that is then held against a pin (the CA bundle of a join). No secret may
    be sent on such a connection: anybody could be at the other end.
    """
    context = _new_context(ssl.PROTOCOL_TLS_CLIENT, alpn)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _new_context(protocol: ssl._SSLMethod, alpn: Sequence[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Renegotiation (TLS 1.2) makes a server work for nothing; compression leaks secrets (CRIME).
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def load_identity(context: ssl.SSLContext, cert_pem: bytes, key_pem: bytes) -> None:
    """Show this certificate (with its chain) from the next handshake on; open connections keep theirs.

    Raises :exc:`ssl.SSLError` for unusable PEM or a key that is not the certificate's.
    """
    # load_cert_chain only takes file names. An anonymous memory file keeps the key off the disk; nothing
    # else can open it but through this process.
    descriptor = os.memfd_create("tls-identity", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(cert_pem.rstrip() + b"\n" + key_pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _load_authorities(context: ssl.SSLContext, pems: Iterable[bytes]) -> None:
    bundle = b"\n".join(pem.strip() for pem in pems)
    if not bundle:
        raise ValueError("no CA certificate given: that must never mean that every peer is trusted")
    context.load_verify_locations(cadata=bundle.decode("ascii"))
