# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

from mezite.core.mux.error_codes import ErrorCode

SPEC = (Path(__file__).parents[3] / "docs" / "mux-protocol.md").read_text(encoding="utf-8")


def test_the_table_of_the_spec() -> None:
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \| (?:(?:REJECT|RESET|GOAWAY) ?)+ \|", SPEC, re.MULTILINE)
    rows += re.findall(r"^\| (\d+) \| ([A-Z_]+) \| never sent \|", SPEC, re.MULTILINE)
    assert {int(value): name for value, name in rows} == {code.value: code.name for code in ErrorCode}


def test_codes_of_later_versions_are_internal_errors() -> None:
    assert ErrorCode.from_wire(17) is ErrorCode.CANCELLED
    assert ErrorCode.from_wire(999) is ErrorCode.INTERNAL_ERROR
