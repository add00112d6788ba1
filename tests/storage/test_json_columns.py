# SPDX-License-Identifier: Apache-2.0
import enum
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.storage.errors import StorageError
from mezite.storage.json_columns import EnumText, StringList, StringListMap, StringMap, stable_json

# What PostgreSQL's text can hold too: no NUL, no lone surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
DIALECT = None


class Colour(enum.StrEnum):
    RED = "red"


@given(st.dictionaries(TEXT, TEXT))
def test_equal_values_have_one_spelling(value):
    reordered = dict(reversed(value.items()))
    assert stable_json(value) == stable_json(reordered)
    assert json.loads(stable_json(value)) == value


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (StringList(), st.lists(TEXT).map(tuple)),
        (StringMap(), st.dictionaries(TEXT, TEXT)),
        (StringListMap(), st.dictionaries(TEXT, st.lists(TEXT).map(tuple))),
    ],
    ids=["list", "map", "list map"],
)
@given(data=st.data())
def test_what_is_written_is_read(column, values, data):
    value = data.draw(values)
    assert column.process_result_value(column.process_bind_param(value, DIALECT), DIALECT) == value


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (StringList(), "abc"),
        (StringList(), ["a", 1]),
        (StringList(), {"a": "b"}),
        (StringMap(), {"a": 1}),
        (StringMap(), {1: "a"}),
        (StringMap(), ["a"]),
        (StringListMap(), {"a": "b"}),
        (StringListMap(), {"a": ["b", None]}),
    ],
)
def test_another_shape_is_refused_both_ways(column, value):
    with pytest.raises(StorageError, match="expected a"):
        column.process_bind_param(value, DIALECT)
    stored = json.dumps(value)
    if stored == '{"1": "a"}':  # JSON turns the key into a string, which is the right shape
        return
    with pytest.raises(StorageError, match="expected a"):
        column.process_result_value(stored, DIALECT)


@pytest.mark.parametrize("column", [StringList(), StringMap(), StringListMap(), EnumText(Colour)])
def test_null_stays_null(column):
    assert column.process_bind_param(None, DIALECT) is None
    assert column.process_result_value(None, DIALECT) is None


def test_text_that_is_not_json():
    with pytest.raises(StorageError, match="not valid JSON"):
        StringList().process_result_value("[", DIALECT)


def test_enums_by_value():
    column = EnumText(Colour)
    assert column.process_bind_param(Colour.RED, DIALECT) == "red"
    assert column.process_result_value("red", DIALECT) is Colour.RED
    with pytest.raises(ValueError, match="blue"):
        column.process_bind_param("blue", DIALECT)
    with pytest.raises(StorageError, match="unknown Colour 'blue'"):
        column.process_result_value("blue", DIALECT)
