# SPDX-License-Identifier: Apache-2.0
"""Run one fuzz target under atheris: ``python fuzz/run.py fuzz_byte_buffer -max_total_time=60``.

A target is a module beside this one with ``check(data: bytes)``; its docstring states the one claim it
makes and the only exceptions it allows. What it finds belongs into ``fuzz/corpus/TARGET/``, where an
ordinary test replays it.
"""

import importlib
import sys
from pathlib import Path

import atheris

HERE = Path(__file__).resolve().parent


def main() -> None:
    name, *options = sys.argv[1:]
    sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "tests")]
    with atheris.instrument_imports(include=["mezite"]):
        target = importlib.import_module(name)
    corpus = HERE / "corpus" / name
    # New inputs go to a directory that nobody keeps; the corpus in the repository is only read.
    found = HERE.parent / ".venv" / "fuzz" / name
    found.mkdir(parents=True, exist_ok=True)
    known = [str(corpus)] if corpus.is_dir() else []
    arguments = [sys.argv[0], *options, f"-artifact_prefix={found.parent}/{name}-", str(found), *known]
    atheris.Setup(arguments, target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
