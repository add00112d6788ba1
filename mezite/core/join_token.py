# SPDX-License-Identifier: Apache-2.0
"""The text of a join token: ``mzt_<secret>.<pin>``, one-use enrolment secret and CA pin in one string.

The pin travels with the secret so that an agent never has to trust the first certificate it meets: it accepts
the CA bundle it is offered only if the Host CA's public key hashes to the pin. The hub stores only a hash
of the secret.
"""

import base64
import hashlib
import re

import attrs

__all__ = ["InvalidJoinTokenError", "JoinToken", "format_join_token", "parse_ca_pin", "parse_join_token"]

PREFIX = "mzt_"
"""Fixed, so that secret scanners and people recognise a leaked token."""

SECRET_BYTES = 32
SECRET_LENGTH = 43
"""32 bytes in base64url without padding."""

PIN_LENGTH = 64
PIN_LABEL = "sha256:"

BLANKS = " \t\r\n"
"""What may surround a copied line."""

SECRET = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
PIN = re.compile(r"[0-9a-f]+", re.ASCII)


class InvalidJoinTokenError(ValueError):
    """The text is not a join token; the message says where it is damaged and never repeats the secret."""


@attrs.frozen
class JoinToken:
    """A parsed join token. Its repr hides the secret (threat P27)."""

    secret: str = attrs.field(repr=False)
    """The one-use secret as sent to the hub: 43 characters of base64url."""

    ca_pin: str
    """SHA-256 of the Host CA's SubjectPublicKeyInfo: 64 lower-case hexadecimal digits."""

    def secret_hash(self) -> str:
        """What the hub stores: hexadecimal SHA-256 of the secret; 32 random bytes need no salt."""
        return hashlib.sha256(self.secret.encode("ascii")).hexdigest()


def parse_ca_pin(text: str) -> str:
    """The 64 hexadecimal digits of ``sha256:<64 hex>`` or of the bare digits.

    Raises InvalidJoinTokenError: another length, upper case, or not hexadecimal.
    """
    return check_pin(text.strip(BLANKS).removeprefix(PIN_LABEL))


def check_pin(digits: str) -> str:
    if not digits:
        raise InvalidJoinTokenError("the CA pin is missing")
    if PIN.fullmatch(digits) is None:
        raise InvalidJoinTokenError("the CA pin has characters other than 0-9 and a-f")
    if len(digits) != PIN_LENGTH:
        raise InvalidJoinTokenError(
            f"the CA pin has {len(digits)} digits instead of {PIN_LENGTH}: was it cut off?"
        )
    return digits


def parse_join_token(text: str) -> JoinToken:
    """The secret and pin of a join token; white space around it (a copied line) is dropped.

    Raises InvalidJoinTokenError: empty, no ``mzt_`` in front, no dot, a secret of another length or alphabet,
    or a pin that parse_ca_pin refuses.
    """
    stripped = text.strip(BLANKS)
    if not stripped:
        raise InvalidJoinTokenError("the join token is empty")
    if not stripped.startswith(PREFIX):
        raise InvalidJoinTokenError(f"the join token does not begin with {PREFIX}")
    secret, dot, pin = stripped.removeprefix(PREFIX).partition(".")
    if not dot:
        raise InvalidJoinTokenError("the join token has no '.' before the CA pin: was it cut off?")
    if SECRET.fullmatch(secret) is None:
        raise InvalidJoinTokenError(
            "the secret of the join token is empty or has characters other than A-Z a-z 0-9 _ -"
        )
    if len(secret) != SECRET_LENGTH:
        raise InvalidJoinTokenError(
            f"the secret of the join token has {len(secret)} characters instead of {SECRET_LENGTH}"
        )
    if pin.startswith(PIN_LABEL):
        raise InvalidJoinTokenError(f"the CA pin of a join token is written without {PIN_LABEL}")
    return JoinToken(secret=secret, ca_pin=check_pin(pin))


def format_join_token(random: bytes, ca_pin: str) -> str:
    """The text of a new token from 32 random bytes and the pin (``sha256:`` in front is dropped).

    Raises ValueError for another number of bytes, InvalidJoinTokenError for a pin that is none.
    """
    if len(random) != SECRET_BYTES:
        raise ValueError(f"a join token is made of {SECRET_BYTES} random bytes, not {len(random)}")
    secret = base64.urlsafe_b64encode(random).rstrip(b"=").decode("ascii")
    return f"{PREFIX}{secret}.{parse_ca_pin(ca_pin)}"
