# SPDX-License-Identifier: Apache-2.0
"""Threats C1 to C5: what our listener takes for a PROXY header, HAProxy and nginx do too, and see the same client."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from mezite.core.proxy_protocol.v2 import SIGNATURE
from tests.e2e.proxy_receivers import OWN, REFUSED, HeaderMaker, ask, haproxy, nginx, ours, version2

pytestmark = pytest.mark.e2e

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "proxy_protocol.json").read_text())
AT_ONCE = 24
PATIENCE_SECONDS = 0.7
LONGER_SECONDS = 5.0
FOUR = bytes([192, 0, 2, 7, 192, 0, 2, 8, 0, 80, 1, 187])

# What we refuse and at least one of the two others takes, and whom each takes for the client. Both are right to be
# what they are; a hub that writes the address into an audit log has to be stricter (threat C2).
STRICTER = {
    "an address with a leading zero": (b"PROXY TCP4 0192.0.2.7 192.0.2.8 80 443\r\n", "nginx"),
    "an IPv6 address under TCP4": (b"PROXY TCP4 2001:db8::7 2001:db8::8 80 443\r\n", "nginx"),
    "a port that does not exist": (b"PROXY TCP4 192.0.2.7 192.0.2.8 65536 443\r\n", "haproxy"),
    "TLVs that are longer than the header": (
        SIGNATURE + b"\x21\x11\x00\x10" + FOUR + b"\x04\x00\xff\x00",
        "nginx",
    ),
    "a wrong CRC-32C": (
        SIGNATURE + b"\x21\x11\x00\x13" + FOUR + b"\x03\x00\x04\x00\x00\x00\x00",
        "nginx",
    ),
    "an unknown command": (version2(b"\x22\x11", FOUR, []), "nginx"),
    "a Unix socket": (version2(b"\x21\x31", bytes(216), []), "nginx"),
    "a datagram": (version2(b"\x21\x12", FOUR, []), "nginx"),
}


async def answers(ports: dict[str, int], header: bytes, patience: float) -> dict[str, str]:
    found: dict[str, str] = {}

    async def one(name: str) -> None:
        found[name] = await ask(ports[name], header, patience)

    async with trio.open_nursery() as nursery:
        for name in ports:
            nursery.start_soon(one, name)
    return found


def disagreement(found: dict[str, str]) -> bool:
    """Whether we take a header that another one does not take, or not in the same way.

    A header that names no client (UNSPEC) may be refused by others, as HAProxy does with the command PROXY: the
    specification says to take the socket's own address, and nothing is claimed by that.
    """
    others = {found["haproxy"], found["nginx"]}
    if found["ours"] == OWN:
        return not others <= {OWN, REFUSED}
    return found["ours"] != REFUSED and others != {found["ours"]}


async def compare(folder: Path, headers: list[bytes]) -> list[dict[str, str]]:
    with haproxy(folder / "haproxy") as first, nginx(folder / "nginx") as second:
        async with ours() as third:
            ports = {"haproxy": first, "nginx": second, "ours": third}
            results: list[dict[str, str]] = [{} for _ in headers]
            limit = trio.CapacityLimiter(AT_ONCE)

            async def one(number: int) -> None:
                async with limit:
                    results[number] = await answers(ports, headers[number], PATIENCE_SECONDS)

            async with trio.open_nursery() as nursery:
                for number in range(len(headers)):
                    nursery.start_soon(one, number)
            for number, result in enumerate(results):
                if disagreement(result):  # Or one of them was merely slow, on a busy machine.
                    results[number] = await answers(ports, headers[number], LONGER_SECONDS)
            return results


async def test_whatever_we_accept_both_accept_as_the_same_client(tmp_path: Path) -> None:
    make = HeaderMaker(seed=3024)
    recorded = [bytes.fromhex(vector["hex"]) for vector in VECTORS]
    valid, faulty = [make.valid() for _ in range(60)], [make.mutated() for _ in range(240)]
    headers = recorded + valid + faulty
    results = await compare(tmp_path, headers)
    wrong = [(header, found) for header, found in zip(headers, results, strict=True) if disagreement(found)]
    assert wrong == []
    taken = [found["ours"] not in (REFUSED, OWN) for found in results]
    assert all(taken[len(recorded) : len(recorded) + len(valid)])
    stricter = sum(found["ours"] == REFUSED and set(found.values()) != {REFUSED} for found in results)
    print(
        f"{len(headers)} headers: {sum(taken)} name the same client to all three, {stricter} are refused by us alone"
    )


async def test_where_we_are_stricter(tmp_path: Path) -> None:
    """Threat C2: the list, with who lets it pass."""
    results = await compare(tmp_path, [header for header, _who in STRICTER.values()])
    for (what, (_header, who)), found in zip(STRICTER.items(), results, strict=True):
        print(f"{what}: {found}")
        assert (found["ours"], found[who] == REFUSED) == (REFUSED, False), what
