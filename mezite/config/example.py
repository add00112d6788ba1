# SPDX-License-Identifier: Apache-2.0
"""The schema as text: an example file for ``mezhub init`` and the tables of ``docs/configuration.md``."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from mezite.config.keys import Key, fields_of, walk
from mezite.config.kinds import Kind
from mezite.config.schema import AgentConfig, HubConfig

__all__ = ["commented_example", "reference_markdown", "rewrite_reference"]

_HEAD = """\
# Configuration of mezhub. Lines like "#key: value" show the default, or an example where there is none;
# remove the sign to set the key. Each key can also come from the environment: proxy.listen_addr is
# MEZITE_PROXY_LISTEN_ADDR.
# Check it with: mezhub check --config FILE
"""


def commented_example() -> str:
    """Return a hub configuration that changes nothing, with every key explained."""
    lines = _HEAD.splitlines()
    _write_section(HubConfig, "", 0, lines)
    return "\n".join(lines) + "\n"


def _write_section(config_class: type, prefix: str, depth: int, lines: list[str]) -> None:
    indent = "  " * depth
    for name, member in fields_of(config_class, prefix).items():
        if depth == 0:
            lines.append("")
        if isinstance(member, Key):
            lines.extend(f"{indent}# {line}" for line in textwrap.wrap(_comment(member), 96))
            lines.append(f"{indent}#{name}: {_shown(member)}")
        else:
            lines.extend(f"{indent}# {line}" for line in textwrap.wrap(member[1], 96))
            lines.append(f"{indent}{name}:")
            _write_section(member[0], f"{prefix}{name}.", depth + 1, lines)


def _comment(key: Key) -> str:
    default = f" Default: {key.default_text}." if key.default_text else ""
    return f"{key.doc} ({key.kind.name}){default}"


def _shown(key: Key) -> str:
    if key.default is not False and not key.default and key.example:
        return key.example
    return _default_as_yaml(key)


def _default_as_yaml(key: Key) -> str:
    value = key.default
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        # Quotes, because a plain YAML scalar cannot begin with the colon of ::1/128.
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return str(value)


def reference_markdown() -> str:
    """Return the tables of ``docs/configuration.md``: every key of the hub and of the agent."""
    parts = []
    for title, config_class in (("mezhub", HubConfig), ("mezd", AgentConfig)):
        parts.append(f"## Keys of {title}\n")
        parts.append("| key | kind | default | variables | meaning |")
        parts.append("|---|---|---|---|---|")
        parts.extend(_rows(config_class))
        parts.append("")
    return "\n".join(parts)


def _rows(config_class: type) -> Iterator[str]:
    for key in walk(config_class):
        variables = " ".join(f"`{name}`" for name in key.environment)
        cells = (f"`{key.path}`", _cell(key.kind), _default_cell(key), variables, key.doc.replace("|", r"\|"))
        yield "| " + " | ".join(cells) + " |"


def _cell(kind: Kind) -> str:
    return kind.name.replace("|", r"\|").replace("<", "&lt;")


def _default_cell(key: Key) -> str:
    if key.default_text:
        return key.default_text
    if key.default is not False and not key.default:
        return "none"
    return f"`{_default_as_yaml(key)}`"


_BEGIN, _END = (
    "<!-- generated: python -m mezite.config.example FILE -->",
    "<!-- end of the generated part -->",
)


def rewrite_reference(path: Path) -> None:
    """Replace the generated part of the document at ``path``."""
    before, _, rest = path.read_text(encoding="utf-8").partition(_BEGIN)
    after = rest.partition(_END)[2]
    path.write_text(f"{before}{_BEGIN}\n\n{reference_markdown()}\n{_END}{after}", encoding="utf-8")


if __name__ == "__main__":
    rewrite_reference(Path(sys.argv[1]))
