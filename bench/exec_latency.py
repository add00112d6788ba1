# SPDX-License-Identifier: Apache-2.0
"""Seconds of ``ssh NODE true`` through mezite and through a plain sshd, in turns in one run; prints ratios.

    python -m bench.exec_latency [--rounds 50]

Real programs on loopback: mezhub, mezd, ssh, sshd. The ways through mezite are stock ``ssh -J`` by way of the hub's
SSH port, stock ssh with ``msh proxy ssh`` as its ProxyCommand (what ``msh config`` prints), and ``msh ssh``. Warm is
a second session over a connection that is there already (ControlMaster). ``bare python`` is an interpreter that
starts Trio and ends: what any Python program in the path costs at least. ``msh proxy connected`` is from starting
that program to the first byte of the node's SSH server.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.machine import median, print_facts, quantile
from bench.plain_sshd import plain_sshd
from tests.e2e.harness import ME, Cluster, program, running_cluster
from tests.e2e.test_ssh_paths import jump_command

LIMIT_SECONDS = 30
BASELINES = {"mezite warm": "plain sshd warm"}


def seconds(command: list[str], environment: dict[str, str] | None = None) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=True, timeout=LIMIT_SECONDS)
    return time.perf_counter() - started


def seconds_to_banner(command: list[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(4) == b"SSH-"
        took = time.perf_counter() - started
        process.kill()
    return took


@contextlib.contextmanager
def master(command: list[str], socket: Path) -> Iterator[list[str]]:
    """Hold a connection open with ``command``; gives what to add to use it."""
    with subprocess.Popen([*command, "-o", f"ControlPath={socket}", "-M", "-N"]) as process:
        deadline = time.monotonic() + LIMIT_SECONDS
        while not socket.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        try:
            yield ["-o", f"ControlPath={socket}"]
        finally:
            process.terminate()


def cases(
    cluster: Cluster, plain: list[str], folder: Path, stack: contextlib.ExitStack
) -> dict[str, Callable[[], float]]:
    environment = {**cluster.agent_environment("unused"), **cluster.msh_environment()}
    ssh, node = ["ssh", "-F", str(cluster.ssh_config())], f"{ME}@web-1.mezite"
    warm_plain = stack.enter_context(master([*plain[:-1], "127.0.0.1"], folder / "plain.ctl"))
    warm = stack.enter_context(master([*ssh, node], folder / "mezite.ctl"))
    commands = {
        "plain sshd": [*plain, "true"],
        "mezite, ssh -J": [*jump_command(cluster), f"{ME}@web-1", "true"],
        "mezite, ssh + msh proxy": [*ssh, node, "true"],
        "mezite, msh ssh": [*program("msh", "ssh"), f"{ME}@web-1", "true"],
        "plain sshd warm": [*plain[:-1], *warm_plain, "127.0.0.1", "true"],
        "mezite warm": [*ssh, *warm, node, "true"],
        "bare python": [sys.executable, "-c", "import trio; trio.run(trio.lowlevel.checkpoint)"],
    }
    found = {
        name: (lambda command=command: seconds(command, environment)) for name, command in commands.items()
    }
    found["msh proxy connected"] = lambda: seconds_to_banner(
        program("msh", "proxy", "ssh", "web-1"), environment
    )
    return found


def measure(rounds: int, wanted: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in wanted}
    for turn in range(rounds + 1):
        for name, run in wanted.items():
            took = run()
            if turn:  # the first round warms caches up
                taken[name].append(took)
    return taken


def report(taken: dict[str, list[float]]) -> None:
    print(f"{'':24} {'p50 ms':>8} {'p99 ms':>8}  p50 against plain sshd")
    for name, values in taken.items():
        baseline = BASELINES.get(name, "plain sshd")
        ratio = median(values) / median(taken[baseline])
        print(
            f"{name:24} {median(values) * 1e3:8.0f} {quantile(values, 0.99) * 1e3:8.0f}  {ratio:5.2f}x {baseline}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    print_facts("bench.exec_latency")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # An installed program has its bytecode; a checkout may be told not to keep any.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
        for name in ("sshd", "cluster"):
            (folder / name).mkdir()
        sshd = stack.enter_context(plain_sshd(folder / "sshd"))
        cluster = stack.enter_context(running_cluster(folder / "cluster"))
        cluster.start_agent("web-1")
        cluster.login()
        report(measure(options.rounds, cases(cluster, sshd.client("127.0.0.1"), folder, stack)))


if __name__ == "__main__":
    main()
