# SPDX-License-Identifier: Apache-2.0
"""Conformance, part three: blocks that RFC 7541 says cannot be decoded. They end the connection: the two tables would
differ from then on."""

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import ContinuationFrame, SettingsFrame

from tests.net.h2spec import GET, PAUSE, Alive, Answered, Case, block, check, goaway, headers, play

BLOCK = block(GET)
NAME = b"\x40\x01a"
"""A literal to be indexed, with the name `a`; its value follows."""


def undecodable(section, name, tail):
    return Case(section, name, [headers(fields=BLOCK + tail)], goaway("COMPRESSION_ERROR"))


CASES = [
    undecodable("2.3.3", "an index behind both tables", b"\xff\x00"),
    undecodable("2.3.3", "an index far behind both tables", b"\xff\xff\xff\x03"),
    undecodable("2.3.3", "the index of a name behind both tables", b"\x7f\x7f\x01b"),
    undecodable("2.3.3", "a name behind both tables, not to be indexed", b"\x0f\x7f\x01b"),
    undecodable("2.3.3", "a name behind both tables, never to be indexed", b"\x1f\x7f\x01b"),
    undecodable("4.2", "a table size at the end of a block", b"\x20"),
    undecodable("4.2", "a table size between fields", b"\x20" + NAME + b"\x01b"),
    undecodable("5.1", "an integer that does not end", b"\xff\x80\x80\x80\x80\x80"),
    undecodable("5.1", "an integer beyond all sizes", b"\xff" + b"\xff" * 40 + b"\x01"),
    undecodable("5.2", "a string longer than the block", NAME + b"\x0ab"),
    undecodable("5.2", "a name longer than the block", b"\x40\x0ab"),
    undecodable("5.2", "a name and no value", NAME),
    undecodable("5.2", "Huffman padding of more than seven bits", NAME + b"\x82\x1f\xff"),
    undecodable("5.2", "Huffman padding that is not the end of EOS", NAME + b"\x81\x18"),
    undecodable("5.2", "EOS inside a string", NAME + b"\x84\xff\xff\xff\xff"),
    undecodable("6.1", "index 0", b"\x80"),
    undecodable("6.2.1", "a literal to be indexed that ends behind its first byte", b"\x40"),
    undecodable("6.2.2", "a literal not to be indexed that ends behind its first byte", b"\x00"),
    Case(
        "6.3",
        "a table above the limit of 4,096",
        [headers(fields=b"\x3f\xe2\x1f" + BLOCK)],
        goaway("COMPRESSION_ERROR"),
    ),
    Case(
        "6.3",
        "a table beyond all sizes",
        [headers(fields=b"\x3f\xff\xff\xff\x0f" + BLOCK)],
        goaway("COMPRESSION_ERROR"),
    ),
    Case("6.3", "a table of exactly the limit", [headers(fields=b"\x3f\xe1\x1f" + BLOCK)], Answered()),
    Case(
        "2.3.2",
        "what fell out of the table is not there any more",
        [headers(1, BLOCK + NAME + b"\x01b"), headers(3, b"\x20" + BLOCK + b"\xbe" * 8)],
        goaway("COMPRESSION_ERROR"),
    ),
    Case(
        "4.3",
        "the table is used across requests that fail",
        [
            headers(1, block([*GET[:2], (b":path", b"//"), GET[3]]) + NAME + b"\x01b"),
            PAUSE,
            headers(3, BLOCK + b"\xbf"),
        ],
        Answered(stream=3),
    ),
    Case(
        "4.3",
        "a block cut in the middle of a string",
        [
            headers(fields=BLOCK[:-2], flags=["END_STREAM"]),
            ContinuationFrame(1, data=BLOCK[-2:], flags=["END_HEADERS"]),
        ],
        Answered(),
    ),
    Case(
        "4.2",
        "a client that takes no table gets none",
        [SettingsFrame(0, settings={1: 0}), headers()],
        Answered(),
    ),
    Case(
        "4.2",
        "a client that offers a table of 4 GiB",
        [SettingsFrame(0, settings={1: 2**32 - 1}), headers()],
        Answered(),
    ),
    Case(
        "6.2.3",
        "a header list at the limit",
        [headers(fields=[*GET, *[(b"a%d" % n, b"b" * 100) for n in range(80)]])],
        Answered(),
    ),
    Case(
        "6.2.3",
        "a header list above the limit",
        [headers(fields=[*GET, *[(b"a%d" % n, b"b" * 200) for n in range(80)]])],
        goaway("ENHANCE_YOUR_CALM"),
    ),
    Case("7.1.3", "an empty block", [headers(fields=b"")], goaway("PROTOCOL_ERROR")),
]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_conformance(case):
    check(case, await play(case))


async def test_an_undecodable_block_in_trailers_ends_the_connection():
    """RFC 9113 section 4.3."""
    frames = await play(
        Case(
            "4.3", "", [headers(flags=["END_HEADERS"]), headers(fields=b"\x80")], goaway("COMPRESSION_ERROR")
        )
    )
    assert frames[-1].error_code == ErrorCodes.COMPRESSION_ERROR
    assert frames[-1].last_stream_id == 1


async def test_our_blocks_can_be_decoded_with_the_smallest_table():
    """Section 4.2: a size update of ours comes first, and nothing is indexed."""
    case = Case("4.2", "", [SettingsFrame(0, settings={1: 0}), headers(1), PAUSE, headers(3)], Alive())
    check(case, await play(case))
