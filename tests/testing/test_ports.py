# SPDX-License-Identifier: Apache-2.0
import socket
import subprocess
import sys

import pytest

from mezite.testing import ports
from mezite.testing.ports import FIRST, LAST, free_address, free_port


def test_no_port_is_given_twice() -> None:
    given = [free_port() for _ in range(300)]
    assert len(set(given)) == 300
    assert all(FIRST <= port < LAST for port in given)


def test_an_address_can_be_bound() -> None:
    host, port = free_address().split(":")
    with socket.create_server((host, int(port))):
        pass


def test_another_process_gets_others() -> None:
    mine = {free_port() for _ in range(50)}
    code = (
        "import itertools; from mezite.testing import ports\n"
        f"ports._turn = itertools.count({min(mine) - FIRST})\n"
        "print(*(ports.free_port() for _ in range(50)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert mine.isdisjoint(map(int, said.split()))


def test_where_something_listens_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = free_port()
    with socket.create_server(("127.0.0.1", taken)):
        for reservation in ports._reservations:
            assert reservation.fileno() >= 0
        monkeypatch.setattr(ports, "FIRST", taken)
        monkeypatch.setattr(ports, "LAST", taken + 1)
        with pytest.raises(RuntimeError, match="is taken"):
            free_port()
