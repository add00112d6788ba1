# SPDX-License-Identifier: Apache-2.0
import pytest

from mezite.core.errors import ExplainedError, LocalProtocolError, ProtocolError, RemoteProtocolError


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        (("it broke",), "it broke"),
        (("it broke", "too old"), "it broke: too old"),
        (("it broke", "", "buy another"), "it broke; buy another"),
        (("it broke", "too old", "buy another"), "it broke: too old; buy another"),
    ],
)
def test_an_explained_error_is_one_sentence(parts: tuple[str, ...], sentence: str) -> None:
    error = ExplainedError(*parts)
    assert str(error) == sentence
    assert (error.what, error.why, error.hint) == (*parts, "", "")[:3]


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
