# SPDX-License-Identifier: Apache-2.0
"""Data types of RFC 4251: what is written is read back, and nothing short is padded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.ssh.errors import PeerProtocolError
from mezite.ssh.wire import WireReader, boolean, name_list, string, uint32


@given(st.binary(max_size=50), st.text(max_size=20), st.integers(0, 2**32 - 1), st.booleans())
def test_round_trip(data, text, number, flag):
    reader = WireReader(string(data) + string(text) + uint32(number) + boolean(flag) + b"\x05")
    assert (reader.string(), reader.text(), reader.uint32(), reader.boolean()) == (data, text, number, flag)
    assert (reader.remaining, reader.byte()) == (1, 5)
    reader.finish()


@given(st.binary(max_size=20))
def test_short_is_an_error_and_never_padded(data):
    """A6."""
    with pytest.raises(PeerProtocolError):
        WireReader(uint32(len(data) + 1) + data).string()


@pytest.mark.parametrize(("encoded", "number"), [(b"", 0), (b"\x7f", 127), (b"\0\x80", 128)])
def test_mpint(encoded, number):
    assert WireReader(string(encoded)).mpint() == number


def test_values_that_are_refused():
    with pytest.raises(PeerProtocolError, match="negative"):
        WireReader(string(b"\x80")).mpint()
    with pytest.raises(PeerProtocolError, match="longer"):
        WireReader(b"x").finish()
    with pytest.raises(PeerProtocolError, match="UTF-8"):
        WireReader(string(b"\xff")).text()


def test_name_list():
    assert name_list(("a", "b")) == string("a,b")
