# SPDX-License-Identifier: Apache-2.0
"""The certificate that browsers see at applications: a pair of its own, or the hub's, which must then cover them.

One that covers no application would be a warning in every browser, and nobody would know at the hub. So it is looked at
before it is used: at the start, where the hub then does not run, and when it is read again, where the one in use stays.
"""

from __future__ import annotations

import logging

from mezite.config.schema import HubConfig
from mezite.hub.web_certificate import Keypair, KeypairError, read_keypair
from mezite.services.apps.catalog import AppCatalog
from mezite.services.apps.diagnosis import address_problem

__all__ = ["APPS", "check_apps_certificate", "configured_apps_keypair", "warn_of_unreachable_apps"]

APPS = "proxy.apps_keypair"

SHOWN_NAMES = 8
"""Names of a certificate that are listed; some have a hundred."""

_log = logging.getLogger("mezite.apps")


def configured_apps_keypair(config: HubConfig, now: int) -> Keypair | None:
    """Read `proxy.apps_keypair.cert_file` and `proxy.apps_keypair.key_file`; None where the hub shows no such pair.

    `now` is in milliseconds since 1970.

    :raises KeypairError: they cannot be used.
    """
    proxy = config.proxy
    serves_apps = proxy.enabled and proxy.apps_domain is not None and proxy.tls_mode != "off"
    if not serves_apps or proxy.apps_keypair.cert_file is None:
        return None
    return read_keypair(APPS, proxy.apps_keypair, now)


def check_apps_certificate(config: HubConfig, web: Keypair | None, apps: Keypair | None) -> list[str]:
    """Return what the operator should know of the certificate that applications are shown, one sentence each.

    `web` and `apps` are the pairs that are configured. The hub's own certificate covers applications by itself.

    :raises KeypairError: it covers no application.
    """
    domain, pair = config.proxy.apps_domain, apps or web
    if domain is None or pair is None:
        return []
    key = f"{APPS}.cert_file" if apps is not None else "proxy.keypair.cert_file"
    names = {name.lower() for name in pair.names}
    if f"*.{domain}" in names:
        return []
    below = sorted(name for name in names if name.endswith(f".{domain}"))
    if not below:
        raise KeypairError(
            f"{key} cannot be used for applications",
            f"proxy.apps_domain is {domain}, and the certificate has no name below it, only {_listed(sorted(names))}",
            f"get one for *.{domain}, or one that lists each application's host"
            + ("" if apps is not None else f", or set {APPS}"),
        )
    return [
        f"{key}: the certificate is not for *.{domain}: of the applications it covers {_listed(below)} only"
    ]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more if names else "none"


async def warn_of_unreachable_apps(catalog: AppCatalog) -> None:
    """Log the applications that browsers will not open: their names are in no certificate, or below another domain."""
    domain = catalog.domain
    if domain.name is None:
        return
    for known in await catalog.list_apps():
        problem = address_problem(known.app, domain)
        if problem is not None:
            extra = {"app": known.app.name, "reason": problem.why}
            _log.warning("an application cannot be opened", extra=extra)
