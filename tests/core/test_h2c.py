# SPDX-License-Identifier: Apache-2.0
"""D13: who gets HTTP/2 without TLS, and that a request of two protocols ends in one place."""

import base64
import struct

import h2.config
import h2.connection
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.h2c import (
    MAX_UPGRADE_BODY,
    MAX_UPGRADE_SETTINGS,
    H2cDetector,
    PlainRequest,
    PriorKnowledge,
    UpgradeRequest,
)
from mezite.core.http1.request_head import MAX_HEAD_BYTES
from mezite.core.protocol_sniffer import NEED_DATA

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CURL_SETTINGS = b"AAMAAABkAAQAoAAAAAIAAAAA"  # of curl 7.88: 100 streams, a window of 10 MiB, no push
NGHTTP_SETTINGS = b"AAMAAABkAAQAAP__"


def packed(*settings: tuple[int, int]) -> bytes:
    return b"".join(struct.pack(">HL", code, value) for code, value in settings)


def encoded(*settings: tuple[int, int]) -> bytes:
    return base64.urlsafe_b64encode(packed(*settings))


def request(*fields: bytes, line: bytes = b"GET /a?b HTTP/1.1") -> bytes:
    return b"\r\n".join((line, b"Host: hub:3025", *fields, b"", b""))


def upgrade(*fields: bytes, line: bytes = b"GET /a?b HTTP/1.1", settings: bytes = CURL_SETTINGS) -> bytes:
    wish = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: " + settings)
    return request(*wish, *fields, line=line)


def detect(data: bytes, piece: int = 0) -> object:
    """The event, or the code of the refusal, and NEED_DATA; and what had not been received until then."""
    detector, piece = H2cDetector(), piece or max(1, len(data))
    for start in range(0, len(data), piece):
        detector.receive_data(data[start : start + piece])
        try:
            event = detector.next_event()
        except RemoteProtocolError as error:
            return error.code
        if event is not NEED_DATA:
            return event
    return NEED_DATA


def status_of(data: bytes) -> int:
    code = detect(data)
    assert isinstance(code, int)
    return code


# --- what there is ------------------------------------------------------------------------------------------


def test_prior_knowledge_is_known_before_the_preface_is_complete() -> None:
    assert detect(PREFACE[:15]) is NEED_DATA
    assert detect(PREFACE[:16]) == PriorKnowledge(PREFACE[:16])
    assert detect(PREFACE + b"more") == PriorKnowledge(PREFACE + b"more")


@pytest.mark.parametrize("data", [b"\x16\x03\x01", b"SSH-2.0-x", b"PROXY TCP4", b"get / HTTP/1.1", b"\0"])
def test_what_is_not_http_gets_no_answer(data: bytes) -> None:
    assert detect(data) == 0


def test_a_plain_request() -> None:
    event = detect(request())
    assert isinstance(event, PlainRequest)
    assert (event.head.method, event.head.target, event.head.host) == (b"GET", b"/a?b", b"hub:3025")


@pytest.mark.parametrize(
    "fields",
    [
        (b"Upgrade: websocket", b"Connection: Upgrade"),
        (b"Upgrade: h2", b"Connection: Upgrade"),
        (b"Upgrade: xh2c", b"Connection: Upgrade"),
        (b"HTTP2-Settings: " + CURL_SETTINGS,),
        (b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: " + CURL_SETTINGS),
    ],
)
def test_other_wishes_are_plain_requests(fields: tuple[bytes, ...]) -> None:
    assert isinstance(detect(request(*fields)), PlainRequest)


def test_http_1_0_cannot_upgrade() -> None:
    assert isinstance(detect(upgrade(line=b"GET / HTTP/1.0")), PlainRequest)


def test_the_request_of_curl() -> None:
    data = request(
        b"User-Agent: curl/7.88.1",
        b"Accept: */*",
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"HTTP2-Settings: " + CURL_SETTINGS,
    )
    assert detect(data) == UpgradeRequest(
        settings=packed((3, 100), (4, 10 * 1024 * 1024), (2, 0)),
        fields=(
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":path", b"/a?b"),
            (b":authority", b"hub:3025"),
            (b"user-agent", b"curl/7.88.1"),
            (b"accept", b"*/*"),
        ),
    )


def test_nghttp_asks_with_options_when_it_has_a_body() -> None:
    event = detect(upgrade(line=b"OPTIONS * HTTP/1.1", settings=NGHTTP_SETTINGS))
    assert isinstance(event, UpgradeRequest)
    assert event.fields[:3] == ((b":method", b"OPTIONS"), (b":scheme", b"http"), (b":path", b"*"))
    assert status_of(request(line=b"GET * HTTP/1.1")) == 400


def test_names_and_protocols_in_any_case_among_others() -> None:
    data = request(
        b"connection: keep-alive, UPGRADE",
        b"Connection: Http2-Settings",
        b"UPGRADE: websocket, H2C",
        b"http2-SETTINGS: " + NGHTTP_SETTINGS,
    )
    assert isinstance(detect(data), UpgradeRequest)


def test_fields_of_the_connection_are_left_behind() -> None:
    event = detect(
        upgrade(
            b"Connection: X-Mine",
            b"X-Mine: 1",
            b"Keep-Alive: 5",
            b"Proxy-Connection: x",
            b"TE: Trailers",
            b"TE: gzip",
            b"Authorization: Bearer x",
            b"Content-Length: 0",
        )
    )
    assert isinstance(event, UpgradeRequest)
    assert event.fields[4:] == (
        (b"te", b"trailers"),
        (b"authorization", b"Bearer x"),
        (b"content-length", b"0"),
    )


def test_a_body_is_taken_whole_and_what_follows_is_not() -> None:
    head = upgrade(b"Content-Length: 5", line=b"POST / HTTP/1.1")
    assert detect(head + b"1234") is NEED_DATA
    event = detect(head + b"12345" + PREFACE)
    assert isinstance(event, UpgradeRequest)
    assert (event.body, event.rest) == (b"12345", PREFACE)
    assert detect(head + b"12345", 1) == detect(head + b"12345")


def test_the_event_repeats_and_ends_the_input() -> None:
    detector = H2cDetector()
    detector.receive_data(upgrade())
    assert detector.next_event() is detector.next_event()
    with pytest.raises(LocalProtocolError):
        detector.receive_data(b"x")


def test_the_refusal_repeats_and_ends_the_input() -> None:
    detector = H2cDetector()
    detector.receive_data(b"\0")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="not HTTP"):
            detector.next_event()
    with pytest.raises(LocalProtocolError):
        detector.receive_data(b"x")


# --- what is refused ----------------------------------------------------------------------------------------

SETTINGS_FIELD = b"HTTP2-Settings: " + CURL_SETTINGS
BOTH = b"Connection: Upgrade, HTTP2-Settings"
WISH = b"Upgrade: h2c"
REFUSED = {
    "no Connection": [WISH, SETTINGS_FIELD],
    "Connection without Upgrade": [WISH, SETTINGS_FIELD, b"Connection: HTTP2-Settings"],
    "Connection without HTTP2-Settings": [WISH, SETTINGS_FIELD, b"Connection: Upgrade"],
    "no settings": [WISH, BOTH],
    "two settings": [WISH, BOTH, SETTINGS_FIELD, SETTINGS_FIELD],
    "two different settings": [WISH, BOTH, SETTINGS_FIELD, b"HTTP2-Settings: " + NGHTTP_SETTINGS],
    "a list of settings": [WISH, BOTH, b"HTTP2-Settings: AAMAAABk, AAMAAABk"],
    "empty settings": [WISH, BOTH, b"HTTP2-Settings:"],
    "half a setting": [WISH, BOTH, b"HTTP2-Settings: AAMA"],
    "padded settings": [WISH, BOTH, b"HTTP2-Settings: AAMAAABkAA=="],
    "standard base64": [WISH, BOTH, b"HTTP2-Settings: AAQAAP//"],
    "a space inside": [WISH, BOTH, b"HTTP2-Settings: AAMA AABk"],
    "not base64": [WISH, BOTH, b"HTTP2-Settings: AAMAAAB*"],
    "too many settings": [
        WISH,
        BOTH,
        b"HTTP2-Settings: " + encoded(*[(3, 1)] * (MAX_UPGRADE_SETTINGS + 1)),
    ],
    "two lengths": [WISH, BOTH, SETTINGS_FIELD, b"Content-Length: 1", b"Content-Length: 1"],
    "length and chunks": [WISH, BOTH, SETTINGS_FIELD, b"Content-Length: 1", b"Transfer-Encoding: chunked"],
}


@pytest.mark.parametrize("fields", REFUSED.values(), ids=REFUSED)
def test_an_upgrade_that_is_not_in_order(fields: list[bytes]) -> None:
    assert status_of(request(*fields)) == 400
    assert status_of(request(*reversed(fields))) == 400


@pytest.mark.parametrize(
    ("code", "value"), [(2, 2), (4, 2**31), (5, 2**14 - 1), (5, 2**24), (8, 2), (4, 2**32 - 1)]
)
def test_settings_out_of_range(code: int, value: int) -> None:
    assert status_of(upgrade(settings=encoded((3, 1), (code, value)))) == 400


def test_bodies_that_are_not_read() -> None:
    assert status_of(upgrade(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.1")) == 411
    too_long = b"Content-Length: %d" % (MAX_UPGRADE_BODY + 1)
    assert status_of(upgrade(too_long, line=b"POST / HTTP/1.1")) == 413
    longest = upgrade(b"Content-Length: %d" % MAX_UPGRADE_BODY, line=b"POST / HTTP/1.1")
    assert isinstance(detect(longest + bytes(MAX_UPGRADE_BODY)), UpgradeRequest)
    assert status_of(upgrade(b"Content-Length: 1", b"Expect: 100-continue", line=b"POST / HTTP/1.1")) == 417


def test_a_head_that_never_ends_has_a_budget() -> None:
    assert status_of(b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES) == 431
    assert status_of(upgrade(*[b"X: y"] * 120)) == 431


# --- how it arrives, and what HTTP/2 makes of it ------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *[line + b"\r\n" for fields in REFUSED.values() for line in fields],
        b"GET / HTTP/1.1\r\n",
        b"POST /x HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"Host: h\r\n",
        b"Content-Length: 3\r\n",
        b"\r\n",
        b"abc",
        PREFACE,
    ]
)


def normal(outcome: object, data: bytes) -> object:
    """Without what differs by the moment of the decision."""
    if isinstance(outcome, PriorKnowledge):
        assert data.startswith(outcome.data)
        return PriorKnowledge
    if isinstance(outcome, UpgradeRequest):
        assert data.endswith(outcome.rest) or outcome.rest in data
        return outcome.settings, outcome.fields, outcome.body
    return outcome


@given(pieces=st.lists(PIECES, max_size=12), size=st.integers(1, 64))
def test_how_it_arrives_changes_nothing(pieces: list[bytes], size: int) -> None:
    data = b"".join(pieces)
    assert normal(detect(data, size), data) == normal(detect(data), data)


CODES = st.one_of(st.sampled_from([1, 2, 3, 4, 5, 6, 8]), st.integers(0, 2**16 - 1))
VALUES = st.one_of(
    st.sampled_from([0, 1, 2, 2**14, 2**24 - 1, 2**24, 2**31 - 1, 2**31]), st.integers(0, 2**32 - 1)
)


@given(settings=st.lists(st.tuples(CODES, VALUES), min_size=1, max_size=6))
def test_h2_takes_every_setting_that_passed(settings: list[tuple[int, int]]) -> None:
    outcome = detect(upgrade(settings=encoded(*settings)))
    if isinstance(outcome, UpgradeRequest):
        assert outcome.settings == packed(*settings)
        server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        server.initiate_upgrade_connection(base64.urlsafe_b64encode(outcome.settings))
    else:
        assert outcome == 400
