# SPDX-License-Identifier: Apache-2.0
"""Require that each module of mezite/core is covered, lines and branches, by its own test module.

Run behind the whole suite (``bin/check coverage``): conftest.py has named every line's test module as
coverage's context, so that one run answers for all. Only lines that ran while tests were collected
(imports) and lines that ran under the module's own tests count. ``mezite/core/mux/frames.py`` belongs to
``tests/core/mux/test_frames.py``, and to ``test_frames_*.py`` beside it where one module would be too long.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from coverage import Coverage

ROOT = Path(__file__).parent.parent
CORE = ROOT / "mezite" / "core"


def own_tests(module: Path) -> list[Path]:
    folder = ROOT / "tests" / module.relative_to(ROOT / "mezite").parent
    exact = folder / f"test_{module.stem}.py"
    return sorted({path for path in (exact, *folder.glob(f"test_{module.stem}_*.py")) if path.exists()})


def gaps(measurement: Coverage, module: Path, tests: list[Path]) -> Iterator[str]:
    contexts = ["collection", *(str(test.relative_to(ROOT)) for test in tests)]
    measurement.get_data().set_query_contexts([f"^{re.escape(context)}$" for context in contexts])
    _, _, _, missing, shown = measurement.analysis2(str(module))
    if missing:
        yield f"lines {shown} not run"
    for line, (exits, taken) in measurement.branch_stats(str(module)).items():
        if taken < exits and line not in missing:
            yield f"line {line}: {taken} of {exits} branches taken"


def main() -> int:
    measurement = Coverage()
    measurement.load()
    modules = [path for path in sorted(CORE.rglob("*.py")) if path.name != "__init__.py"]
    bad = 0
    for module in modules:
        tests = own_tests(module)
        found = list(gaps(measurement, module, tests))
        if found and not tests:
            # Pure declarations need none: everything in them runs when they are imported.
            found = ["has no test module of its own"]
        if found:
            bad += 1
            names = ", ".join(str(test.relative_to(ROOT)) for test in tests)
            print(
                f"{module.relative_to(ROOT)} ({names}): {'; '.join(found)}"
                if names
                else f"{module.relative_to(ROOT)}: {found[0]}"
            )
    print(f"{len(modules) - bad} of {len(modules)} core modules fully covered by their own tests")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
