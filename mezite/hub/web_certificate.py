# SPDX-License-Identifier: Apache-2.0
"""The certificate that browsers and outer TLS sessions see: from files (`proxy.tls_mode: file`), checked before use.

A pair that cannot serve is found when it is read, and named: at the start, where the hub then does not run, and when it
is read again, where the one in use then stays.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from mezite.config.schema import HubConfig, KeypairConfig
from mezite.core.errors import ExplainedError
from mezite.core.timestamps import format_timestamp
from mezite.net.tls_contexts import server_context

__all__ = ["Keypair", "KeypairError", "configured_keypair", "keypair_notes", "read_keypair"]

MAX_FILE_BYTES = 1024 * 1024
"""A long chain has 20 KB; this is no certificate file but a mistake."""

EXPIRES_SOON_MS = 14 * 24 * 3600 * 1000
"""Two weeks: automatic renewal happens a month ahead, so something has not worked."""

WEB = "proxy.keypair"
CERTIFICATE, KEY = f"{WEB}.cert_file", f"{WEB}.key_file"


class KeypairError(ExplainedError):
    """A configured certificate cannot be used: `what`, `why`, and a `hint` what to do."""

    exit_code = 2
    """Invalid configuration."""


@attrs.frozen(kw_only=True)
class Keypair:
    """A certificate with its chain and its key, which fit together and are valid now."""

    certificate_pem: bytes
    key_pem: bytes = attrs.field(repr=False)
    expires_at: int
    """Milliseconds since 1970."""
    names: tuple[str, ...]
    """Its DNS names."""

    def context(self, alpn: tuple[str, ...]) -> ssl.SSLContext:
        """A server context that shows it."""
        return server_context(self.certificate_pem, self.key_pem, alpn)


def configured_keypair(config: HubConfig, now: int) -> Keypair | None:
    """Read the files of `tls_mode: file`; None in the other modes. `now` is in milliseconds since 1970.

    :raises KeypairError: they cannot be read, do not fit together, or are not valid now.
    """
    proxy = config.proxy
    if not proxy.enabled or proxy.tls_mode != "file":
        return None
    return read_keypair(WEB, proxy.keypair, now)


def read_keypair(section: str, files: KeypairConfig, now: int) -> Keypair:
    """Read the two files that stand in a section of the configuration.

    :raises KeypairError: they cannot be read, do not fit together, or are not valid now.
    """
    if files.cert_file is None or files.key_file is None:
        raise AssertionError("config/checks.py demands both files")
    certificate, key = f"{section}.cert_file {files.cert_file}", f"{section}.key_file {files.key_file}"
    certificate_pem = _read(certificate, files.cert_file)
    key_pem = _read(key, files.key_file)
    leaf = _leaf(certificate_pem, certificate)
    _check_key(leaf, key_pem, key, f"{section}.cert_file")
    _check_time(leaf, certificate, now)
    pair = Keypair(
        certificate_pem=certificate_pem,
        key_pem=key_pem,
        expires_at=_milliseconds(leaf.not_valid_after_utc),
        names=_dns_names(leaf),
    )
    try:
        # What the TLS library itself objects to, as a key that is too short for its security level.
        pair.context(())
    except ssl.SSLError as error:
        raise KeypairError(
            f"{certificate} cannot be used",
            (error.reason or str(error)).lower().replace("_", " "),
            "get a certificate with a P-256 or RSA-2048 key and a chain of certificates in PEM",
        ) from None
    return pair


def keypair_notes(config: HubConfig, pair: Keypair, now: int) -> list[str]:
    """Return what the operator should know of a pair that can be used, one sentence each."""
    notes = []
    if pair.expires_at - now < EXPIRES_SOON_MS:
        notes.append(f"{CERTIFICATE}: the certificate expires at {format_timestamp(pair.expires_at)}")
    public = config.proxy.public_addr
    if public is not None and not any(_covers(name, public.host.lower()) for name in pair.names):
        notes.append(
            f"{CERTIFICATE}: the certificate does not name {public.host}, which is proxy.public_addr"
        )
    path = config.proxy.keypair.key_file
    if path is not None and Path(path).stat().st_mode & 0o007:
        notes.append(f"{KEY}: everybody on this machine may read or change {path}; use mode 0600")
    return notes


def _covers(name: str, host: str) -> bool:
    """Whether a DNS name of a certificate is for `host` (RFC 6125 section 6.4.3)."""
    if not name.startswith("*."):
        return name.lower() == host
    return name[1:].lower() == f".{host.partition('.')[2]}"


def _read(what: str, path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        hint = {
            PermissionError: "let the user that mezhub runs as read it",
            FileNotFoundError: "give the path of a PEM file",
        }.get(type(error), "give the path of a readable PEM file")
        raise KeypairError(f"{what} cannot be read", (error.strerror or str(error)).lower(), hint) from None
    if len(content) > MAX_FILE_BYTES:
        raise KeypairError(f"{what} cannot be used", "it is larger than 1 MiB", "give the path of a PEM file")
    return content


def _leaf(pem: bytes, what: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        raise KeypairError(
            f"{what} cannot be used",
            "it has no certificate in PEM",
            "it must begin with the server's certificate, then the chain",
        ) from None


def _check_key(leaf: x509.Certificate, key_pem: bytes, key: str, certificate: str) -> None:
    what = f"{key} cannot be used"
    try:
        private_key = load_pem_private_key(key_pem, None)
    except TypeError:
        raise KeypairError(
            what, "it is encrypted", "store it without a passphrase, readable by mezhub only"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeypairError(what, "it has no private key in PEM", "give the key's own file") from None
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if private_key.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        raise KeypairError(
            what,
            f"it is not the key of the first certificate in {certificate}",
            "give the files of one pair, and the server's certificate ahead of the chain",
        )


def _check_time(leaf: x509.Certificate, certificate: str, now: int) -> None:
    what = f"{certificate} cannot be used"
    begin, end = _milliseconds(leaf.not_valid_before_utc), _milliseconds(leaf.not_valid_after_utc)
    if now > end:
        raise KeypairError(what, f"it expired at {format_timestamp(end)}", "renew it")
    if now < begin:
        raise KeypairError(
            what, f"it is not valid before {format_timestamp(begin)}", "check this machine's clock, or wait"
        )


def _dns_names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(found.value.get_values_for_type(x509.DNSName))


def _milliseconds(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp() * 1000)
