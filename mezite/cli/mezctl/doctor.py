# SPDX-License-Identifier: Apache-2.0
"""`mezctl doctor`: the gRPC port from here, the credential, and the state of the cluster."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import attrs
import click

from mezite.api.client import RpcError
from mezite.api.dialing import GRPC_ALPN
from mezite.api.grpc_hop import GrpcHop, clock_offset
from mezite.api.pb.mezite.v1 import doctor_pb2
from mezite.api.pb.mezite.v1 import nodes_pb2 as pb
from mezite.cli.hub_client.auth_server import AuthServer, auth_server
from mezite.cli.hub_client.hub_connection import address_of, context_of, open_hub, pin_of, profile_of
from mezite.cli.hub_client.way_out import way_out
from mezite.cli.terminal.diagnosis_report import report
from mezite.cli.terminal.errors import EXIT_USAGE, CliError, run_command
from mezite.cli.terminal.output import OutputFormat, format_option
from mezite.core.diagnosis import Finding, Outcome
from mezite.core.durations import parse_duration
from mezite.core.wrong_doors import Door
from mezite.net.diagnosis_walk import Walk
from mezite.net.hop import Hop
from mezite.net.tls_contexts import unverified_client_context

__all__ = ["doctor"]

LB_SECONDS = 300
"""The longest silence twice, and every probe at its deadline."""

TRUST_HINT = "give --ca-pin with what `mezhub ca-pin` prints on the hub, or --ca-file"


@click.command(help="Find out why the gRPC API cannot be used, and how the cluster is.")
@click.option("--lb", is_flag=True, help="Have the hub test its public addresses instead.")
@click.option(
    "--idle", default="3s", metavar="DURATION", help="With --lb: silence to try, at most 50s.  [default: 3s]"
)
@format_option
@click.pass_context
def doctor(ctx: click.Context, lb: bool, idle: str, output_format: OutputFormat) -> None:
    """Print every step; exit code 1 when one failed."""
    if not lb:
        report(run_command(_diagnose, auth_server(ctx)), output_format)
        return
    try:
        seconds = parse_duration(idle)
    except ValueError as error:
        raise CliError("--idle cannot be read", str(error), exit_code=EXIT_USAGE) from None
    answer = run_command(_test_load_balancer, auth_server(ctx), seconds)
    snippets = {"nginx": answer.nginx, "haproxy": answer.haproxy}
    report([_finding(step) for step in answer.steps], output_format, snippets)


async def _test_load_balancer(options: AuthServer, idle_seconds: int) -> doctor_pb2.TestLoadBalancerResponse:
    async with open_hub(options) as hub:
        return await hub.unary(
            "/mezite.v1.DoctorService/TestLoadBalancer",
            doctor_pb2.TestLoadBalancerRequest(idle_seconds=idle_seconds),
            doctor_pb2.TestLoadBalancerResponse,
            deadline=LB_SECONDS,
        )


def _finding(step: doctor_pb2.DoctorStep) -> Finding:
    outcome = Outcome(step.outcome)
    return Finding(
        step=step.step,
        outcome=outcome,
        milliseconds=None if outcome is Outcome.SKIPPED else step.milliseconds,
        detail=step.detail,
        remedy=step.remedy,
    )


async def _diagnose(options: AuthServer) -> Sequence[Finding]:
    current, _profile = profile_of(credential=False)
    hop = Hop(address_of(options, current), Door.GRPC, "--auth-server", way_out())
    grpc = await _grpc(options, hop)
    walk = Walk()
    patient = _Patient(options=options)
    try:
        reached = await walk.chain(*grpc.steps)
    finally:
        await hop.aclose()
    hub_time = grpc.server_time
    if reached and hub_time is not None:
        await walk.step("clock", lambda: _compare_clocks(hub_time))
        reached = await walk.chain(
            ("credential", patient.show_credential), ("cluster", patient.look_at_nodes)
        )
        if reached:
            walk.findings += await patient.examine_apps()
        else:
            walk.skip("applications", "not tried: there is no usable credential")
    else:
        for name in ("clock", "credential", "cluster", "applications"):
            walk.skip(name, "not tried: the API does not answer")
    return walk.findings


async def _grpc(options: AuthServer, hop: Hop) -> GrpcHop:
    if options.ca_pin is not None and not options.plaintext:
        # As every other command does: the CA is taken from anybody, and the pin makes it ours.
        context = unverified_client_context(GRPC_ALPN)
        return GrpcHop(hop=hop, context=context, ca_pin=pin_of(options.ca_pin), trust_hint=TRUST_HINT)
    profile = None if options.token is not None else profile_of(credential=False)[1]
    return GrpcHop(hop=hop, context=await context_of(options, hop.address, profile), trust_hint=TRUST_HINT)


async def _compare_clocks(hub_time: int) -> str:
    return clock_offset(time.time_ns() // 1_000_000, hub_time)


@attrs.define(eq=False, kw_only=True)
class _Patient:
    options: AuthServer
    nodes: Sequence[pb.Node] = ()

    async def show_credential(self) -> str:
        """A call that needs one."""
        async with open_hub(self.options) as hub:
            answer = await hub.unary(
                "/mezite.v1.NodeService/ListNodes", pb.ListNodesRequest(), pb.ListNodesResponse
            )
        self.nodes = answer.nodes
        return "a session token" if self.options.token is not None else "the certificate of msh login"

    async def examine_apps(self) -> list[Finding]:
        """What the hub finds wrong with applications; nothing where this credential may not ask for it."""
        async with open_hub(self.options) as hub:
            try:
                answer = await hub.unary(
                    "/mezite.v1.DoctorService/ExamineApplications",
                    doctor_pb2.ExamineApplicationsRequest(),
                    doctor_pb2.ExamineApplicationsResponse,
                )
            except RpcError as error:
                why = f"the hub does not tell this credential: {error.message}"
                return [Finding(step="applications", outcome=Outcome.SKIPPED, detail=why)]
        return [_finding(step) for step in answer.steps]

    async def look_at_nodes(self) -> str:
        """What this credential may see of the cluster."""
        states = Counter(node.status for node in self.nodes)
        versions = Counter(node.version for node in self.nodes if node.version)
        words = [f"{len(self.nodes)} nodes: {_counts(states)}" if states else "no nodes"]
        if versions:
            words.append(f"versions {_counts(versions)}")
        return "; ".join(words)


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counter.items()))
