# SPDX-License-Identifier: Apache-2.0
"""The deployment examples that no test can start: well-formed, with settings that exist and references that meet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mezite.cli.mezd.identity import start
from mezite.config.checks import agent_notes, hub_notes
from mezite.config.loader import load_agent_config, load_hub_config
from mezite.config.schema import AgentConfig, HubConfig

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
COMPOSE = EXAMPLES / "docker-compose.yaml"
HUB, AGENT = EXAMPLES / "kubernetes/hub.yaml", EXAMPLES / "kubernetes/agent.yaml"

Document = dict[str, Any]


def documents(path: Path) -> list[Document]:
    return list(yaml.safe_load_all(path.read_text()))


def of_kind(path: Path, kind: str) -> Document:
    (found,) = [document for document in documents(path) if document["kind"] == kind]
    return found


def hub_config(text: str, folder: Path, environment: dict[str, str]) -> HubConfig:
    """As mezhub reads it. Unknown keys and values that break a rule are errors; nothing may be without effect."""
    file = folder / "mezhub.yaml"
    file.write_text(text)
    config = load_hub_config(file, environment)
    assert without_effect(hub_notes(config, environment)) == []
    return config


def agent_config(environment: dict[str, str]) -> AgentConfig:
    config = load_agent_config(None, environment)
    assert without_effect(agent_notes(config, environment)) == []
    return config


def without_effect(notes: list[str]) -> list[str]:
    return [note for note in notes if "not obeyed" in note or "does nothing" in note]


def hub_ports(config: HubConfig) -> dict[str, int]:
    return {
        "web": config.proxy.listen_addr.port,
        "ssh": config.proxy.ssh_listen_addr.port,
        "tunnel": config.proxy.tunnel_listen_addr.port,
        "grpc": config.auth.listen_addr.port,
        "diag": config.diag.listen_addr.port,
    }


def plain_environment(container: Document) -> dict[str, str]:
    """What the container sees; secrets and variables of the one who starts it as some text."""
    return {entry["name"]: entry.get("value", "given-elsewhere") for entry in container.get("env", [])}


# --- Kubernetes ---------------------------------------------------------------------------------------------


def pods(path: Path) -> Iterator[Document]:
    for document in documents(path):
        if document["kind"] in {"Deployment", "StatefulSet"}:
            yield document


@pytest.mark.parametrize("path", [HUB, AGENT], ids=lambda path: path.name)
def test_references_inside_kubernetes_files_meet(path: Path) -> None:
    named = {(document["kind"], document["metadata"]["name"]) for document in documents(path)}
    for workload in pods(path):
        spec, template = workload["spec"], workload["spec"]["template"]
        assert spec["selector"]["matchLabels"] == template["metadata"]["labels"]
        volumes = {volume["name"] for volume in template["spec"].get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])}
        for container in template["spec"]["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
        for volume in template["spec"].get("volumes", []):
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in named
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in named


def test_the_kubernetes_hub(tmp_path: Path) -> None:
    (container,) = of_kind(HUB, "Deployment")["spec"]["template"]["spec"]["containers"]
    text = of_kind(HUB, "ConfigMap")["data"]["mezhub.yaml"]
    config = hub_config(text, tmp_path, plain_environment(container))
    named_ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert named_ports == hub_ports(config)
    assert config.diag.listen_addr.host == "0.0.0.0", "the kubelet does not ask on loopback"
    assert {container[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe")} == {"diag"}

    service = of_kind(HUB, "Service")["spec"]
    assert service["selector"] == of_kind(HUB, "Deployment")["spec"]["selector"]["matchLabels"]
    assert {port["targetPort"] for port in service["ports"]} == set(named_ports) - {"diag"}
    outside = {port["name"]: port["port"] for port in service["ports"]}
    assert outside == {**{name: named_ports[name] for name in ("ssh", "tunnel", "grpc")}, "web": 443}
    assert config.proxy.public_addr is not None
    assert config.proxy.public_addr.port == outside["web"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "data"]
    assert mount["mountPath"] == config.data_dir
    assert container["command"][-1] == "/etc/mezite/mezhub.yaml"


def test_the_kubernetes_agent(tmp_path: Path) -> None:
    containers = of_kind(AGENT, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    (container,) = [container for container in containers if container["name"] == "mezd"]
    config = agent_config(plain_environment(container))
    text = of_kind(HUB, "ConfigMap")["data"]["mezhub.yaml"]
    reaches(config, hub_config(text, tmp_path, {}))
    assert container["volumeMounts"][0]["mountPath"] == config.data_dir


def reaches(agent: AgentConfig, hub: HubConfig) -> None:
    """The agent dials the hub's public name on the hub's own numbers."""
    assert hub.proxy.public_addr is not None
    host, ports = hub.proxy.public_addr.host, hub_ports(hub)
    assert (agent.proxy_addr, agent.auth_addr) == (f"{host}:{ports['tunnel']}", f"{host}:{ports['grpc']}")


# --- Compose ------------------------------------------------------------------------------------------------


def compose_environment(service: Document) -> dict[str, str]:
    return {
        name: re.sub(r"\$\{[^}]*\}", "given-elsewhere", value)
        for name, value in service["environment"].items()
    }


def test_docker_compose(tmp_path: Path) -> None:
    (compose,) = documents(COMPOSE)
    services = compose["services"]
    hub, balancer, agent = services["mezhub"], services["haproxy"], services["agent"]
    config = hub_config(compose["configs"]["mezhub"]["content"], tmp_path, compose_environment(hub))

    ports = hub_ports(config)
    assert {int(port) for port in hub["expose"]} == set(ports.values()) - {ports["diag"]}
    assert f"127.0.0.1:{ports['diag']}/healthz" in hub["healthcheck"]["test"][-1]
    trusted = [str(network) for network in config.proxy.proxy_protocol_trusted_cidrs]
    assert trusted == [f"{balancer['networks']['front']['ipv4_address']}/32"]

    haproxy = EXAMPLES / compose["configs"]["haproxy"]["file"]
    bound = set(re.findall(r"^\s+bind \*:(\d+)", haproxy.read_text(), re.MULTILINE))
    assert {port.partition(":")[0] for port in balancer["ports"]} == bound
    assert set(re.findall(r"mezhub:(\d+)", haproxy.read_text())) == set(hub["expose"])

    assert config.proxy.public_addr is not None
    assert config.proxy.public_addr.host in balancer["networks"]["front"]["aliases"]
    reaches(agent_config(compose_environment(agent)), config)
    for service in (hub, agent):
        named = {volume.partition(":")[0] for volume in service["volumes"]}
        assert named <= set(compose["volumes"])
    for service in services.values():
        assert set(service["networks"]) <= set(compose["networks"])
        for used in service.get("configs", []):
            assert used["source"] in compose["configs"]


def test_the_hub_file_of_the_examples(tmp_path: Path) -> None:
    hub_config((EXAMPLES / "mezhub.yaml").read_text(), tmp_path, {})


def test_the_page_about_balancers_names_what_there_is() -> None:
    page = EXAMPLES.parent / "docs/behind-a-load-balancer.md"
    text = page.read_text()
    links = set(re.findall(r"\]\(([^)]+)\)", text))
    assert {link for link in links if not (page.parent / link).exists()} == set()
    balancers = {
        f"../examples/{path.name}" for pattern in ("*.cfg", "*.conf") for path in EXAMPLES.glob(pattern)
    }
    assert balancers <= links
    for key in re.findall(r"`((?:proxy|auth|diag)\.[a-z_]+)`", text):
        assert key in (EXAMPLES.parent / "docs/configuration.md").read_text(), key


def test_the_service_of_a_machine_identity_has_options_that_exist() -> None:
    """`%S` and `%d` are systemd's: the folders of state and of credentials."""
    lines = (EXAMPLES / "mezd-identity.service").read_text().splitlines()
    settings = [line.partition("=") for line in lines if "=" in line and not line.startswith("#")]
    (command,) = [value.split() for key, _, value in settings if key == "ExecStart"]
    variables = {value.partition("=")[0] for key, _, value in settings if key == "Environment"}
    assert command[1:3] == ["identity", "start"]
    known = {name: parameter for parameter in start.params for name in parameter.opts}
    assert {option.partition("=")[0] for option in command[3:]} <= set(known)
    assert variables <= {parameter.envvar for parameter in start.params}
