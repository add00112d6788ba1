# SPDX-License-Identifier: Apache-2.0
import pytest

from mezite.core.errors import LocalProtocolError, ProtocolError, RemoteProtocolError


def test_the_common_parent_is_abstract() -> None:
    with pytest.raises(TypeError):
        ProtocolError("neither ours nor theirs")


def test_both_kinds_are_protocol_errors() -> None:
    for error in (LocalProtocolError("ours"), RemoteProtocolError("theirs")):
        assert isinstance(error, ProtocolError)


def test_a_remote_error_knows_what_to_say_on_the_wire() -> None:
    assert RemoteProtocolError("no").code == 0
    assert RemoteProtocolError("no", 7).code == 7
    assert str(RemoteProtocolError("no", 7)) == "no"
