# SPDX-License-Identifier: Apache-2.0
"""Texts of the files that stock OpenSSH clients read: known_hosts, ssh_config, certificates. Pure functions.

Everything that goes into such a file is checked against a narrow grammar first: a line end or a quote in a
name would add options of somebody else's choice (threat G6).
"""

from __future__ import annotations

import base64
import re

import attrs

from mezite.ssh.wire import WireReader

__all__ = ["ClientConfig", "ConfigTextError", "certificate_line", "known_hosts_line", "ssh_config"]

#: Host patterns of known_hosts: names, wildcards, addresses with a port in brackets.
_PATTERN = re.compile(r"!?[A-Za-z0-9_.*?:\[\]-]+")
_PUBLIC_KEY = re.compile(r"(ssh-[a-z0-9-]+|ecdsa-sha2-nistp[0-9]+) [A-Za-z0-9+/]+={0,2}")
_COMMENT = re.compile(r"[A-Za-z0-9_.@:+/-]*")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[?[0-9A-Fa-f:]+\]?")
_USER = re.compile(r"[A-Za-z0-9_.@+-]+")


class ConfigTextError(ValueError):
    """A value cannot be written into a client's file."""


def known_hosts_line(patterns: tuple[str, ...], ca_public_key: str, comment: str = "") -> str:
    """An ``@cert-authority`` line: hosts that match one of ``patterns`` are known by certificates of this
    authority.

    ``ca_public_key`` is an OpenSSH public key line; its own comment is dropped. Ports are looked up as
    ``[name]:port`` by clients, so a pattern for a port other than 22 needs that form.
    """
    if not patterns:
        raise ConfigTextError("a known_hosts line needs a host")
    for pattern in patterns:
        _check(pattern, _PATTERN, "host pattern")
    key = " ".join(ca_public_key.split()[:2])
    _check(key, _PUBLIC_KEY, "public key")
    _check(comment, _COMMENT, "comment")
    return " ".join(filter(None, ("@cert-authority", ",".join(patterns), key, comment))) + "\n"


def certificate_line(blob: bytes, comment: str = "") -> str:
    """The line of a ``-cert.pub`` file for a certificate's blob."""
    _check(comment, _COMMENT, "comment")
    kind = WireReader(blob).text()
    return " ".join(filter(None, (kind, base64.b64encode(blob).decode(), comment))) + "\n"


@attrs.frozen(kw_only=True)
class ClientConfig:
    """What a generated ssh_config block says."""

    node_patterns: tuple[str, ...]
    """Names that are nodes, as the user types them: ``*.CLUSTER`` or plain names."""
    identity_file: str
    certificate_file: str
    known_hosts_file: str
    proxy_command: str | None = None
    """Such as ``msh proxy ssh %h:%p``. Without it the nodes are reached through ``hub``."""
    hub: str | None = None
    """Host name of a hub for stock ``ssh -W``."""
    hub_port: int = 3023
    hub_user: str | None = None
    """Login on the hub: any that the certificate lists."""
    config_file: str | None = None
    """Where the block is written, unless the user's ssh reads it anyway: ``ssh -F`` is not inherited."""


def ssh_config(config: ClientConfig) -> str:
    """An ssh_config block for nodes and, when they are reached through it, for the hub.

    With a hub the block has an explicit ProxyCommand, not ProxyJump: only so does the user read why a node
    cannot be reached ("no such node or not connected") instead of "stdio forwarding failed".
    """
    if not config.node_patterns:
        raise ConfigTextError("an ssh_config block needs a host")
    for pattern in config.node_patterns:
        _check(pattern, _PATTERN, "host pattern")
    if (config.proxy_command is None) == (config.hub is None):
        raise ConfigTextError("either a proxy command or a hub leads to the nodes")
    blocks = [_block(config.node_patterns, _node_options(config))]
    if config.hub is not None:
        blocks.insert(0, _block((_hub_alias(config),), _hub_options(config)))
    return "\n".join(blocks)


def _block(patterns: tuple[str, ...], options: list[tuple[str, str]]) -> str:
    lines = [f"Host {' '.join(patterns)}", *(f"    {name} {value}" for name, value in options)]
    return "\n".join(lines) + "\n"


def _hub_alias(config: ClientConfig) -> str:
    return f"mezite-hub-{config.hub}"


def _files(config: ClientConfig) -> list[tuple[str, str]]:
    return [
        ("IdentityFile", _path(config.identity_file)),
        ("CertificateFile", _path(config.certificate_file)),
        ("UserKnownHostsFile", _path(config.known_hosts_file)),
        ("IdentitiesOnly", "yes"),
        ("StrictHostKeyChecking", "yes"),
    ]


def _node_options(config: ClientConfig) -> list[tuple[str, str]]:
    command = config.proxy_command
    if command is None:
        file = f"-F {_path(config.config_file)} " if config.config_file is not None else ""
        command = f"ssh {file}-o LogLevel=INFO -W %h:22 {_hub_alias(config)}"
    elif not command.isprintable():
        raise ConfigTextError("the proxy command is not one line of text")
    return [*_files(config), ("ProxyCommand", command)]


def _hub_options(config: ClientConfig) -> list[tuple[str, str]]:
    assert config.hub is not None
    _check(config.hub, _HOST, "host name")
    options = [("HostName", config.hub), ("Port", str(config.hub_port))]
    if config.hub_user is not None:
        _check(config.hub_user, _USER, "user name")
        options.append(("User", config.hub_user))
    return [*options, *_files(config)]


def _path(path: str) -> str:
    """A path in quotes, percent signs doubled: ssh expands them, and what looks like a shell's variable."""
    if not path.isprintable() or any(character in path for character in '"\\$`'):
        raise ConfigTextError(f"the path {path!r} cannot be written into an ssh_config")
    return '"' + path.replace("%", "%%") + '"'


def _check(text: str, grammar: re.Pattern[str], what: str) -> None:
    if not grammar.fullmatch(text):
        raise ConfigTextError(f"{text!r} is not a {what}")
