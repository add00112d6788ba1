# SPDX-License-Identifier: Apache-2.0
"""The fuzz targets of this package, with Hypothesis as their engine."""

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

FUZZ = Path(__file__).parent.parent.parent / "fuzz"


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, FUZZ / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def packet(payload: bytes) -> bytes:
    padding = 4 + -(len(payload) + 9) % 8
    return (len(payload) + padding + 1).to_bytes(4, "big") + bytes((padding,)) + payload + bytes(padding)


conversations = st.lists(st.one_of(st.binary(max_size=60), st.binary(min_size=1).map(packet))).map(b"".join)
INPUTS = {
    "fuzz_ssh_tty_modes": st.binary(max_size=200),
    "fuzz_ssh_packet_length": st.one_of(st.binary(), conversations.map(lambda data: b"SSH-2.0-x\r\n" + data)),
}


@pytest.mark.parametrize("name", INPUTS)
def test_claim_holds(name):
    target = load(name)
    given(INPUTS[name])(target.check)()
