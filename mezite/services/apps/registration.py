# SPDX-License-Identifier: Apache-2.0
"""What an administrator says of an application, checked against what a hub can serve."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import ParamSpec, TypeVar

import attrs

from mezite.core.apps.app import DEFAULT_OPTIONS, App, AppOptions
from mezite.core.apps.public_address import check_public_address, covers
from mezite.core.apps.upstream_uri import UpstreamScheme, parse_upstream_uri
from mezite.core.certificates.x509_issue import load_certificates
from mezite.services.errors import InvalidRequestError
from mezite.storage.apps import AppRow

__all__ = [
    "INACTIVE",
    "AppRegistration",
    "AppsDomain",
    "changed_fields",
    "checked_app",
    "did_you_mean",
    "valid",
    "warnings_about",
]

P = ParamSpec("P")
T = TypeVar("T")

INACTIVE = (
    "application access is not active: this hub has no `proxy.apps_domain`; set it, and publish a wildcard DNS record "
    "and certificate for it"
)


@attrs.frozen(kw_only=True)
class AppsDomain:
    """Where applications are, as a hub is configured."""

    name: str | None = None
    """`proxy.apps_domain`; None: application access is not active."""
    hub_names: frozenset[str] = frozenset()
    """Names that the hub itself answers to; no application can have one."""
    certificate_names: Callable[[], Collection[str]] | None = None
    """The names of the certificate for applications; None where the hub shows none, as behind a balancer's TLS."""


@attrs.frozen(kw_only=True)
class AppRegistration:
    """What an administrator says of an application."""

    name: str
    uri: str
    public_addr: str = ""
    """Empty: the name below the apps domain; none for TCP."""
    labels: Mapping[str, str] = attrs.field(factory=dict)
    protocol: str = ""
    """Empty: as the URI says."""
    agent_hostnames: tuple[str, ...] = ()
    """Empty: none for a new application, and those that it has for one that is there."""
    options: AppOptions = DEFAULT_OPTIONS


def checked_app(registration: AppRegistration, domain: AppsDomain) -> App:
    """Return the application that is meant, enabled.

    :raises InvalidRequestError: it cannot be so; the message says why and what could.
    """
    if domain.name is None:
        raise InvalidRequestError(INACTIVE)
    upstream = valid(parse_upstream_uri, registration.uri)
    is_tcp = upstream.scheme is UpstreamScheme.TCP
    address = registration.public_addr or ("" if is_tcp else f"{registration.name}.{domain.name}")
    app = valid(
        App,
        name=registration.name,
        uri=registration.uri,
        public_addr=address,
        labels=registration.labels,
        protocol=registration.protocol or ("tcp" if is_tcp else "http"),
        agent_hostnames=registration.agent_hostnames,
        options=registration.options,
    )
    _check_certificates(registration.options.ca_pem)
    if address:
        shown = domain.certificate_names
        valid(
            check_public_address,
            address,
            apps_domain=domain.name,
            certificate_names=() if shown is None else shown(),
            taken=domain.hub_names,
        )
    return app


def _check_certificates(pem: str) -> None:
    if not pem:
        return
    try:
        load_certificates(pem.encode())
    except ValueError:
        raise InvalidRequestError(
            "the certificates of --ca-file cannot be read: give certificates in PEM, each whole"
        ) from None


def warnings_about(app: App, domain: AppsDomain) -> tuple[str, ...]:
    """Return what is allowed and may not be what was meant, one sentence each."""
    warnings = []
    shown = domain.certificate_names
    if app.public_addr and shown is not None and not covers(shown(), app.public_addr):
        warnings.append(
            f"the certificate for applications does not name {app.public_addr}: browsers will refuse it; "
            f"get one for *.{domain.name}"
        )
    if app.options.insecure_skip_verify:
        warnings.append(
            f"the certificate of {app.uri} is not verified: whoever answers there is believed to be the application"
        )
    if not app.agent_hostnames:
        warnings.append(
            f"no agent serves it, so nobody reaches it: `mezctl apps add-agent {app.name} --agent-hostname=HOST`"
        )
    return tuple(warnings)


def changed_fields(before: AppRow, after: AppRow) -> tuple[str, ...]:
    """Return the names of the fields in which two versions of an application differ."""
    fields = ("uri", "public_addr", "labels", "protocol", "agent_hostnames", "options")
    return tuple(name for name in fields if getattr(before, name) != getattr(after, name))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `: did you mean NAME?` with the nearest of `known`, or nothing when none is near."""
    near = difflib.get_close_matches(name[:64], list(known), n=1)
    return f": did you mean {near[0]}?" if near else ""


def valid(make: Callable[P, T], *args: P.args, **fields: P.kwargs) -> T:
    """Make a value of what somebody has typed. :raises InvalidRequestError: with the reason of the ValueError."""
    try:
        return make(*args, **fields)
    except ValueError as error:
        raise InvalidRequestError(str(error)) from None
