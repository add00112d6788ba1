# SPDX-License-Identifier: Apache-2.0
"""Files for stock clients, read back by stock clients."""

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from mezite.ssh.client_files import (
    ClientConfig,
    ConfigTextError,
    certificate_line,
    known_hosts_line,
    ssh_config,
)
from tests.ssh.peers import Authority, blob_of, issue, openssh_public, run

CONFIG = ClientConfig(
    node_patterns=("*.demo", "node-1"),
    identity_file="/home/alice smith/.msh/key",
    certificate_file="/home/alice/100%/key-cert.pub",
    known_hosts_file="/home/alice/.msh/known_hosts",
    proxy_command="msh proxy ssh %h:%p",
)


def test_known_hosts_line():
    key = openssh_public(Authority().ca)
    line = known_hosts_line(("*.demo", "[hub.example]:3023"), key + " old comment", "demo")
    assert line == f"@cert-authority *.demo,[hub.example]:3023 {key} demo\n"
    assert known_hosts_line(("node",), key) == f"@cert-authority node {key}\n"


@pytest.mark.parametrize(
    ("patterns", "key", "comment"),
    [
        ((), "ssh-ed25519 AAAA", ""),
        (("a b",), "ssh-ed25519 AAAA", ""),
        (("a\nb",), "ssh-ed25519 AAAA", ""),
        (("a",), "garbage", ""),
        (("a",), "ssh-ed25519 AAAA", "two words"),
    ],
)
def test_known_hosts_line_with_values_that_do_not_fit(patterns, key, comment):
    with pytest.raises(ConfigTextError):
        known_hosts_line(patterns, key, comment)


@pytest.mark.e2e
async def test_certificate_line_is_read_by_ssh_keygen(tmp_path):
    authority = Authority()
    certificate = issue(authority.ca, Ed25519PrivateKey.generate(), ["alice"])
    path = tmp_path / "key-cert.pub"
    path.write_text(certificate_line(blob_of(certificate), "alice@demo"))
    assert path.read_bytes() == certificate.public_bytes() + b" alice@demo\n"
    listing = await run(["ssh-keygen", "-L", "-f", str(path)])
    assert b'Key ID: "alice"' in listing.stdout


async def effective(tmp_path, text: str, host: str) -> dict[str, str]:
    """What stock ssh makes of it."""
    path = tmp_path / "config"
    path.write_text(text)
    result = await run(["ssh", "-G", "-F", str(path), host])
    assert result.returncode == 0, result.stderr
    return dict(line.split(" ", 1) for line in result.stdout.decode().splitlines() if " " in line)


@pytest.mark.e2e
async def test_config_with_a_proxy_command(tmp_path):
    options = await effective(tmp_path, ssh_config(CONFIG), "web.demo")
    assert options["proxycommand"] == "msh proxy ssh %h:%p"
    assert options["identityfile"].strip('"') == "/home/alice smith/.msh/key"
    assert options["certificatefile"].strip('"') == "/home/alice/100%%/key-cert.pub"  # expanded when opened
    assert options["userknownhostsfile"].strip('"') == "/home/alice/.msh/known_hosts"
    assert options["identitiesonly"] == "yes"
    assert "proxycommand" not in await effective(tmp_path, ssh_config(CONFIG), "elsewhere")


@pytest.mark.e2e
async def test_config_through_a_hub(tmp_path):
    config = attrs.evolve(CONFIG, proxy_command=None, hub="hub.example", hub_user="alice")
    node = await effective(tmp_path, ssh_config(config), "node-1")
    assert node["proxycommand"] == "ssh -o LogLevel=INFO -W %h:22 mezite-hub-hub.example"
    text = ssh_config(attrs.evolve(config, config_file="/x y/config"))
    assert 'ssh -F "/x y/config" -o' in text
    hub = await effective(tmp_path, ssh_config(config), "mezite-hub-hub.example")
    assert (hub["hostname"], hub["port"], hub["user"]) == ("hub.example", "3023", "alice")
    assert "User" not in ssh_config(attrs.evolve(config, hub_user=None)).split("Host ")[1].replace(
        "UserKnownHostsFile", ""
    )


@pytest.mark.parametrize(
    "change",
    [
        {"node_patterns": ()},
        {"node_patterns": ("a\n",)},
        {"proxy_command": None},
        {"hub": "hub"},
        {"proxy_command": None, "hub": "-oProxyCommand=x"},
        {"proxy_command": None, "hub": "hub", "hub_user": "a b"},
        {"proxy_command": "x\ny"},
        {"identity_file": 'a"b'},
        {"identity_file": "a${HOME}"},
    ],
)
def test_config_with_values_that_do_not_fit(change):
    with pytest.raises(ConfigTextError):
        ssh_config(attrs.evolve(CONFIG, **change))


@given(st.text(), st.text(), st.text())
def test_no_value_adds_a_line(pattern, path, user):
    """G6: whatever is accepted, the number of lines is that of the template."""
    config = ClientConfig(
        node_patterns=(pattern,),
        identity_file=path,
        certificate_file="c",
        known_hosts_file="k",
        hub="hub",
        hub_user=user,
    )
    try:
        text = ssh_config(config)
    except ConfigTextError:
        return
    assert len(text.splitlines()) == 17
