# SPDX-License-Identifier: Apache-2.0
"""A JSON object, every field named, typed and bounded, and nothing else."""

import json

import pytest
import quart
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from quart_trio import QuartTrio

from mezite.services.errors import InvalidRequestError
from mezite.web.json_body import MAX_TEXT, read_fields
from tests.web.browser import browsing

FIELDS = {"name": str, "count": int}


def make_app():
    """Says what it has read, or why not."""
    app = QuartTrio(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024

    @app.post("/")
    async def view():
        try:
            return await read_fields(FIELDS, optional={"note": str})
        except InvalidRequestError as error:
            return quart.jsonify({"refused": str(error)})

    return app


async def read(body, content_type="application/json"):
    async with browsing(make_app()) as browser:
        answer = await browser.send("POST", "/", body, ("content-type", content_type))
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


async def refused(body, content_type="application/json"):
    return (await read(body, content_type))["refused"]


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "alice", "count": 3},
        {"name": "", "count": -(2**70)},
        {"name": "ü\U0001f600", "count": 0, "note": "x"},
        {"name": "x" * MAX_TEXT, "count": 1},
    ],
)
async def test_what_is_accepted_comes_through(fields):
    assert await read(json.dumps(fields).encode()) == fields


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"]
)
async def test_types_that_are_json(content_type):
    assert await read(b'{"name":"a","count":1}', content_type) == {"name": "a", "count": 1}


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "application/jsonp",
        "application/problem+json",
        "application/json, text/plain",
    ],
)
async def test_what_a_form_on_another_site_can_send(content_type):
    """Threat D21: only application/json makes a browser ask us first, and we never say yes."""
    assert "Content-Type: application/json" in await refused(b'{"name":"a","count":1}', content_type)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b'"name"',
        b"{",
        b"name=a",
        b'{"name":"a","count":1} x',
        b"\xff\xfe",
        b'{"name":"\xff","count":1}',
        b'{"name":"a","name":"b","count":1}',
        b'{"name":"a","count":1,"note":{"x":1,"x":2}}',
        b"[" * 50_000,
        b'{"name":' * 8_000,
        b'{"name":"a","count":' + b"9" * 5000 + b"}",
    ],
)
async def test_what_is_no_object(body):
    """Also names given twice (threat D2: two readers would see two values) and nesting without end (P21)."""
    assert await refused(body) == "the request body is not a JSON object"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "field 'name' is missing"),
        ({"name": "a"}, "field 'count' is missing"),
        ({"name": "a", "count": 1, "admin": True}, "unknown field 'admin': known are count, name, note"),
        ({"name": "a", "count": "1"}, "field 'count' is not of type int"),
        ({"name": "a", "count": True}, "field 'count' is not of type int"),
        ({"name": "a", "count": 1.0}, "field 'count' is not of type int"),
        ({"name": None, "count": 1}, "field 'name' is not of type str"),
        ({"name": ["a"], "count": 1}, "field 'name' is not of type str"),
        ({"name": "a", "count": 1, "note": {}}, "field 'note' is not of type str"),
        ({"name": "x" * (MAX_TEXT + 1), "count": 1}, f"field 'name' is longer than {MAX_TEXT} characters"),
        ({"name": "a\0", "count": 1}, "field 'name' holds characters that no text has"),
        ({"name": "\ud800", "count": 1}, "field 'name' holds characters that no text has"),
    ],
)
async def test_fields_that_are_wrong(fields, message):
    assert await refused(json.dumps(fields).encode()) == message


OBJECTS = st.dictionaries(
    st.sampled_from(["name", "count", "note", "x"]), st.integers() | st.text() | st.none()
)


@settings(max_examples=40)
@given(OBJECTS | st.lists(OBJECTS))
def test_any_json_is_read_or_refused(value):
    answer = trio.run(read, json.dumps(value).encode())
    assert answer == value or set(answer) == {"refused"}
