# SPDX-License-Identifier: Apache-2.0
"""The example file and the reference are the schema."""

import re
from pathlib import Path

import pytest

from mezite.config.example import commented_example, reference_markdown, rewrite_reference
from mezite.config.keys import walk
from mezite.config.loader import load_hub_config
from mezite.config.problems import ConfigProblems
from mezite.config.schema import AgentConfig, HubConfig
from mezite.config.yaml_document import read_document

ROOT = Path(__file__).parent.parent.parent
LINES = commented_example().splitlines()
SETTINGS = [number for number, line in enumerate(LINES) if re.match(r" *#[a-z_0-9]+: ", line)]


def test_the_example_changes_nothing(tmp_path):
    path = tmp_path / "mezhub.yaml"
    path.write_text(commented_example())
    assert load_hub_config(path, {}) == HubConfig()


def test_the_example_shows_every_key():
    text = "\n".join(re.sub(r"^( *)#([a-z_0-9]+: )", r"\1\2", line) for line in LINES)
    document, problems = read_document(text.encode(), "example")
    assert problems == []

    def paths(node, prefix=""):
        for name, entry in node.entries.items():
            if hasattr(entry.node, "entries"):
                yield from paths(entry.node, f"{prefix}{name}.")
            else:
                yield prefix + name

    assert list(paths(document)) == [key.path for key in walk(HubConfig)]


@pytest.mark.parametrize("number", SETTINGS, ids=lambda number: LINES[number].strip())
def test_every_line_of_the_example_can_be_uncommented(tmp_path, number):
    path = tmp_path / "mezhub.yaml"
    path.write_text("\n".join([*LINES[:number], LINES[number].replace("#", "", 1), *LINES[number + 1 :]]))
    try:
        load_hub_config(path, {})
    except ConfigProblems as problems:
        # A key may need a second one; it may not be wrong by itself.
        assert all(re.search("needed|missing|no effect", problem.why) for problem in problems.problems), (
            problems
        )


def test_the_reference_is_up_to_date():
    shown = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert reference_markdown() in shown, "run: python -m mezite.config.example docs/configuration.md"


def test_the_reference_is_rewritten_in_place(tmp_path):
    path = tmp_path / "page.md"
    shown = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    path.write_text(shown.replace("`cluster_name`", "`stale`") + "after\n", encoding="utf-8")
    rewrite_reference(path)
    assert path.read_text(encoding="utf-8") == shown + "after\n"


def test_the_reference_names_every_variable():
    text = reference_markdown()
    for config_class in (HubConfig, AgentConfig):
        for key in walk(config_class):
            assert all(f"`{name}`" in text for name in key.environment)
            assert key.doc


def test_the_shipped_example_is_valid():
    config = load_hub_config(ROOT / "examples" / "mezhub.yaml", {})
    assert config.proxy.public_addr is not None
