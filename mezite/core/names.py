# SPDX-License-Identifier: Apache-2.0
"""The grammars of names: what a user, login, node, application, cluster, role or agent may be called.

Names end up in certificate principals, URI SANs, file names, host names, log lines and command lines, so each
grammar is a closed set of ASCII bytes. Shared reasons:

- no comma, space, quote, backslash or control byte: SSH name lists, log lines and label lists split at them;
- no ``*`` and ``?``: OpenSSH reads principals of host certificates as patterns (threat F4: no wildcards);
- no ``/`` and ``%``: names are path segments of the identity URI and of file names, never escaped, so one
  name has exactly one spelling;
- no leading ``-`` or ``.``: a name must not turn into a command-line option or a hidden file.
"""

import re
from collections.abc import Callable

__all__ = [
    "InvalidNameError",
    "check_agent_id",
    "check_app_name",
    "check_cluster_name",
    "check_login",
    "check_node_name",
    "check_role_name",
    "check_trait_name",
    "check_user_name",
    "node_name_from_host_name",
    "node_name_in",
]

MAX_HOST_LIKE_NAME = 253
"""The longest DNS name in text form (RFC 1035 section 2.3.4 allows 255 bytes on the wire)."""

MAX_USER_NAME = 128
"""Enough for an e-mail address from a connector."""

MAX_LOGIN = 64
"""Linux itself allows 32; directory services hand out longer ones such as ``first.last@example.com``."""

LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
HOST_LIKE = re.compile(rf"{LABEL}(?:\.{LABEL})*", re.ASCII)
NODE = re.compile(r"[a-z0-9](?:[a-z0-9_.-]*[a-z0-9])?", re.ASCII)
APP = re.compile(LABEL, re.ASCII)
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*", re.ASCII)
LOGIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*\$?", re.ASCII)
ROLE = re.compile(r"[a-z0-9][a-z0-9_.-]*", re.ASCII)
TRAIT = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]*", re.ASCII)
IDENTIFIER = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)


class InvalidNameError(ValueError):
    """A name breaks its grammar; the message says which name, what kind and what is allowed."""


def checked(kind: str, name: str, pattern: re.Pattern[str], limit: int, rule: str) -> str:
    if not name:
        raise InvalidNameError(f"{kind} is empty")
    if len(name) > limit:
        raise InvalidNameError(f"{kind} is {len(name)} characters long; at most {limit} are allowed")
    if pattern.fullmatch(name) is None:
        raise InvalidNameError(f"{kind} {name!r} is not allowed: {rule}")
    return name


def check_user_name(name: str) -> str:
    """Return ``name`` if it may name a user: letters, digits and ``_ . @ + -``, as in an e-mail address.

    Case is kept and matters. Raises InvalidNameError.
    """
    return checked(
        "user name", name, USER, MAX_USER_NAME, "use letters, digits and _ . @ + -, not first . @ + -"
    )


def check_login(login: str) -> str:
    """Return ``login`` if it may be an account on a node (a certificate principal).

    A final ``$`` is allowed (machine accounts of directory services). Digits only are refused: many programs
    would take such a login for a numeric user id. Raises InvalidNameError.
    """
    checked("login", login, LOGIN, MAX_LOGIN, "use letters, digits and _ . @ + -, not first . @ + -")
    if login.isdigit():
        raise InvalidNameError(
            f"login {login!r} is not allowed: digits only would be read as a numeric user id"
        )
    return login


def check_node_name(name: str) -> str:
    """Return ``name`` if it may name a node: lower-case letters, digits and ``_ . -``, ends alphanumeric.

    Lower case only: OpenSSH folds the host name a user types before it compares it with the host certificate,
    so a name with capitals could never be reached. Raises InvalidNameError.
    """
    rule = "use lower-case letters, digits and _ . -, first and last a letter or digit"
    return checked("node name", name, NODE, MAX_HOST_LIKE_NAME, rule)


def node_name_from_host_name(host_name: str) -> str:
    """Turn what the operating system calls this machine into a node name (folds case).

    Raises InvalidNameError.
    """
    return check_node_name(host_name.strip().rstrip(".").lower())


def node_name_in(target: str, cluster: str) -> str:
    """Return the name of the node that a user means: ``web-1``, ``web-1:22`` and ``web-1.CLUSTER:22`` are the same.

    Whether there may be a node of that name is another question (``check_node_name``).
    """
    host, _, port = target.rpartition(":")
    name = host if host and port.isascii() and port.isdigit() else target
    return name.lower().removesuffix(f".{cluster}")


def check_app_name(name: str) -> str:
    """Return ``name`` if it may name an application: one DNS label, since it becomes a host name.

    Raises InvalidNameError.
    """
    return checked(
        "application name",
        name,
        APP,
        63,
        "use lower-case letters, digits and -, 63 at most, as in a host name",
    )


def check_cluster_name(name: str) -> str:
    """Return ``name`` if it may name a cluster: a lower-case DNS name, since users type ``NODE.CLUSTER``.

    Raises InvalidNameError.
    """
    rule = "use lower-case letters, digits, - and ., as in a host name"
    return checked("cluster name", name, HOST_LIKE, MAX_HOST_LIKE_NAME, rule)


def check_role_name(name: str) -> str:
    """Return ``name`` if it may name a role (it appears in comma-separated lists and headers).

    Raises InvalidNameError.
    """
    return checked(
        "role name", name, ROLE, 64, "use lower-case letters, digits and _ . -, first a letter or digit"
    )


def check_trait_name(name: str) -> str:
    """Return ``name`` if it may name a trait; connectors use URLs as claim names, hence ``: /``.

    Raises InvalidNameError.
    """
    return checked("trait name", name, TRAIT, 128, "use letters, digits and _ . : / -, first a letter or _")


def check_agent_id(identifier: str) -> str:
    """Return ``identifier`` if it may be the id of an agent or hub: lower-case letters, digits, ``-``.

    Raises InvalidNameError.
    """
    rule = "use lower-case letters, digits and -, first and last a letter or digit"
    return checked("id", identifier, IDENTIFIER, 64, rule)


NameCheck = Callable[[str], str]
"""One of the functions above: returns the name, or raises InvalidNameError."""
