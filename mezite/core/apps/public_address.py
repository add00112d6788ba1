# SPDX-License-Identifier: Apache-2.0
"""The host name that users reach an application under: strictly below the apps domain, in one spelling.

The browser keeps applications apart by host name alone, and so do cookies, sessions and routing (threats D16, D17). So
a name is refused rather than repaired: two spellings would be two applications to one part and one to another.
"""

import ipaddress
import re
from collections.abc import Collection

__all__ = ["InvalidPublicAddressError", "check_public_address", "covers"]

LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)

MAX_NAME = 253
"""RFC 1035 section 2.3.4, in text form."""

SHOWN = 100
"""Characters of a refused text that are repeated."""


class InvalidPublicAddressError(ValueError):
    """Not a public address of an application; the message says why, and the nearest that would be."""


def check_public_address(
    text: str,
    *,
    apps_domain: str,
    certificate_names: Collection[str] = frozenset(),
    taken: Collection[str] = (),
) -> str:
    """Return ``text`` if an application may be reached under it: ``grafana.apps.example.com``.

    One label below ``apps_domain`` always may. A wildcard certificate does not cover more of them, so a deeper name
    may only if ``certificate_names`` (DNS names of the certificate in use, with wildcards) covers it. ``taken`` are
    the hub's own names.

    Raises InvalidPublicAddressError.
    """
    check_is_host_name(text, apps_domain)
    if text == apps_domain:
        raise InvalidPublicAddressError(
            f"{text} is the apps domain itself: use a name below it, such as NAME.{apps_domain}"
        )
    if not text.endswith(f".{apps_domain}"):
        raise InvalidPublicAddressError(
            f"{text[:SHOWN]} is not below {apps_domain}: use {nearest(text, apps_domain)}"
        )
    labels = text.removesuffix(f".{apps_domain}").split(".")
    check_labels(text, labels)
    if text in taken:
        raise InvalidPublicAddressError(f"{text} is a name of the hub itself: use another")
    if len(labels) > 1 and not covers(certificate_names, text):
        raise InvalidPublicAddressError(
            f"{text} is {len(labels)} names below {apps_domain}, and no certificate of this hub covers it: "
            f"use {'-'.join(labels)[:63].strip('-')}.{apps_domain}"
        )
    return text


def covers(certificate_names: Collection[str], host: str) -> bool:
    """Whether a certificate with these DNS names is good for ``host``; a wildcard is one label (RFC 9525, 6.3)."""
    _, _, parent = host.partition(".")
    return host in certificate_names or (bool(parent) and f"*.{parent}" in certificate_names)


def check_is_host_name(text: str, apps_domain: str) -> None:
    """What is no host name at all is refused for what it is, before anybody asks in which domain."""
    example = f"write a host name such as NAME.{apps_domain}"
    if not text:
        raise InvalidPublicAddressError(f"the public address is empty: {example}")
    if len(text) > MAX_NAME:
        raise InvalidPublicAddressError(
            f"the public address has {len(text)} characters; at most {MAX_NAME} are allowed"
        )
    shown = text[:SHOWN]
    if not text.isascii():
        # Full-width dots and look-alike letters become other names when a browser folds them.
        raise InvalidPublicAddressError(f"{shown!r} has characters beyond ASCII: {example}")
    if any(character <= " " or character == "\x7f" for character in text):
        raise InvalidPublicAddressError(f"{shown!r} has a space or control character: {example}")
    if "://" in text:
        host = text.partition("://")[2].partition("/")[0] or f"NAME.{apps_domain}"
        raise InvalidPublicAddressError(f"{shown} is a URL: give the host name only, {host[:SHOWN]}")
    for mark in "/\\?#@%":
        if mark in text:
            raise InvalidPublicAddressError(f"{shown} holds a {mark!r}, which no host name does: {example}")
    if is_address(text):
        raise InvalidPublicAddressError(f"{shown} is an IP address: {example}")
    check_spelling(text, example)


def check_spelling(text: str, example: str) -> None:
    """What programs would make a host name of, some of them."""
    if ":" in text:
        raise InvalidPublicAddressError(
            f"{text} names a port, which is the hub's own: use {text.partition(':')[0]}"
        )
    if "*" in text:
        raise InvalidPublicAddressError(f"{text} is a wildcard: an application has one name; {example}")
    if text.endswith("."):
        raise InvalidPublicAddressError(
            f"{text} ends in a dot: {f'use {text[:-1]}' if text[:-1] else example}"
        )
    if text != text.lower():
        raise InvalidPublicAddressError(f"{text} has capitals, and browsers fold them: use {text.lower()}")
    if "_" in text:
        raise InvalidPublicAddressError(
            f"{text} has a '_', which certificates do not allow: use {text.replace('_', '-')}"
        )


def check_labels(text: str, labels: list[str]) -> None:
    """The parts to the left of the domain."""
    for label in labels:
        if LABEL.fullmatch(label) is None:
            what = f"the part {label!r}" if label else "an empty part between two dots"
            raise InvalidPublicAddressError(
                f"{text[:SHOWN]} has {what}: use letters, digits and inner '-', 63 at most"
            )
        if label[2:4] == "--":
            # A-labels (xn--) show as other letters than were typed; RFC 5891 section 4.2.3.1 reserves the rest.
            raise InvalidPublicAddressError(
                f"{text[:SHOWN]} has the part {label!r}, which browsers may show as another name: "
                "use one without '--' behind its second letter"
            )


def nearest(text: str, apps_domain: str) -> str:
    label = text.partition(".")[0]
    return f"{label if LABEL.fullmatch(label) else 'NAME'}.{apps_domain}"


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True
