# SPDX-License-Identifier: Apache-2.0
"""The connectors of the examples and of docs/sso.md are ones that a hub takes."""

import re
from pathlib import Path

import pytest

from mezite.cli.mezctl.connector_file import load_connector
from mezite.core.oidc.claim_mapping import map_claims

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "sso.md").read_text(encoding="utf-8"), re.S)


def test_the_example(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    text = (ROOT / "examples" / "oidc-connector.yaml").read_text(encoding="utf-8")
    file = tmp_path / "connector.yaml"
    file.write_text(text.replace("/etc/mezite/company-client-secret", str(secret)))
    connector = load_connector(file)
    assert connector.client_secret.reveal() == "s3cret"
    claims = {"email": "a@example.com", "email_verified": True, "groups": ["eng-web", "security"]}
    assert map_claims(connector, claims).roles == ("access", "auditor")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.search("name: ([a-z]+)", block)[1])
def test_the_page(block, tmp_path):
    file = tmp_path / "connector.yaml"
    file.write_text(block)
    connector = load_connector(file)
    assert connector.role_rules


def test_the_page_has_three():
    assert len(BLOCKS) == 3
