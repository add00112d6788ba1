# SPDX-License-Identifier: Apache-2.0
"""Certificates for approved access requests: taken into use, and given up for those of the login when they are over."""

from __future__ import annotations

import os
import time

import click

from mezite.cli.hub_client.profile_store import CurrentProfile, Profile, ProfileStore
from mezite.cli.hub_client.user_certificate import UserCertificate, is_expired
from mezite.core.durations import format_duration

__all__ = ["loaded_profile", "store_and_profile", "warn_of_end"]

WARN_SECONDS = 10 * 60
"""Enough to ask for an extension and to have it reviewed."""


def loaded_profile(store: ProfileStore, current: CurrentProfile) -> Profile:
    """Return the credentials in use: those of the login again, when granted ones have run out.

    :raises CliError: a file is missing or damaged.
    """
    profile = store.load(current)
    if is_expired(profile) and store.end_granted(current):
        profile = store.load(current)
    return profile


def store_and_profile() -> tuple[ProfileStore, CurrentProfile, Profile]:
    """Return the store, which profile is in use, and its credentials. :raises CliError: nobody is signed in."""
    store = ProfileStore.from_environment(os.environ)
    current = store.current()
    return store, current, loaded_profile(store, current)


def warn_of_end(certificate: UserCertificate, *, now: int | None = None) -> None:
    """Say on stderr when granted access ends soon, and how it goes on. `now` is in seconds; None: the clock's."""
    left = certificate.valid_before - (time.time_ns() // 1_000_000_000 if now is None else now)
    if certificate.request_ids and 0 < left <= WARN_SECONDS:
        identifier = certificate.request_ids[0]
        click.echo(
            f"granted access ends in {format_duration(left)}: `msh request extend {identifier} --reason=...` "
            "asks for more",
            err=True,
        )
