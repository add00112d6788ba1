# SPDX-License-Identifier: Apache-2.0
"""What was shown for one session, and whether that is what the roles ask for (threats E7, E8).

The factors are ordered: a stricter one satisfies what a milder one would. So one proof can satisfy all roles that grant
an access. A recovery code is no factor here: it is for getting in after a loss, not for the day's work.
"""

import enum

import attrs

from mezite.core.rbac.role_options import SessionMfa

__all__ = ["ProvenFactor", "ProvenFor", "SessionProof", "satisfies"]


class ProvenFactor(enum.StrEnum):
    """What was shown."""

    TOTP = "totp"
    WEBAUTHN = "webauthn"
    """A security key, or a passkey that a browser or telephone keeps in step with others."""
    HARDWARE_KEY = "hardware_key"
    """A security key that says, under its signature, that it is bound to one device and never copied."""


class ProvenFor(enum.StrEnum):
    """Of what kind the targets of a proof are: the kind of resource in `authorize()`."""

    NODE = "node"
    APP = "app"


_SATISFYING = {
    SessionMfa.NONE: frozenset(ProvenFactor),
    SessionMfa.ANY: frozenset(ProvenFactor),
    SessionMfa.TOTP: frozenset(ProvenFactor),
    SessionMfa.WEBAUTHN: frozenset({ProvenFactor.WEBAUTHN, ProvenFactor.HARDWARE_KEY}),
    SessionMfa.HARDWARE_KEY: frozenset({ProvenFactor.HARDWARE_KEY}),
}


def satisfies(factor: ProvenFactor, needs: SessionMfa) -> bool:
    """Whether showing ``factor`` is enough where roles ask for ``needs``."""
    return factor in _SATISFYING[needs]


@attrs.frozen(kw_only=True)
class SessionProof:
    """That a user has shown a factor for something. Made by ``services.session_proof`` alone, which has checked it and
    used it up; how long it is good for was decided there.
    """

    user_name: str
    factor: ProvenFactor
    at: int
    """Milliseconds since 1970."""
    kind: ProvenFor
    targets: frozenset[str]
    """Names; ``LOGIN@NAME`` is good for that login alone."""
    serial: str = ""
    """The certificate it goes with, decimal; empty where there is none: a web session."""

    def covers(self, kind: str, name: str, login: str | None) -> bool:
        """Whether it is good for this target. Without a ``login`` only a target that binds none is."""
        named = name in self.targets or (login is not None and f"{login}@{name}" in self.targets)
        return kind == self.kind.value and named
