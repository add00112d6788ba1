# SPDX-License-Identifier: Apache-2.0
"""`msh mfa prove`: one factor for many sessions, so that Ansible and others work where each session needs one."""

from __future__ import annotations

import click

from mezite.api.pb.mezite.v1 import nodes_pb2
from mezite.cli.hub_client.user_session import open_api
from mezite.cli.msh.proof_ahead import ProofAhead, show_ahead
from mezite.cli.terminal.errors import EXIT_USAGE, CliError, run_command
from mezite.core.durations import format_duration, parse_duration
from mezite.core.labels import InvalidLabelsError, parse_labels

__all__ = ["prove"]


@click.command(help="Show a factor once for sessions on these nodes, for a while.")
@click.option("--nodes", default="", metavar="NAME,NAME", help="Which nodes; LOGIN@NAME for that login only.")
@click.option(
    "--labels", default="", metavar="K=V,K=V", help="Which nodes: those that have all of these now."
)
@click.option("--ttl", default="10m", show_default=True, metavar="DURATION", help="How long, at most 1h.")
@click.option("--mfa-code", metavar="CODE", default="", help="Code of an authenticator app.")
def prove(nodes: str, labels: str, ttl: str, mfa_code: str) -> None:
    """Declare the nodes, and show a factor for them."""
    try:
        seconds, wanted = parse_duration(ttl), parse_labels(labels)
    except InvalidLabelsError as error:
        raise CliError("--labels cannot be read", str(error), exit_code=EXIT_USAGE) from None
    except ValueError as error:
        raise CliError("--ttl cannot be read", str(error), exit_code=EXIT_USAGE) from None
    if seconds <= 0:
        raise CliError("--ttl cannot be used", "it must be longer than 0s", exit_code=EXIT_USAGE)
    targets = [name.strip() for name in nodes.split(",") if name.strip()]
    if not targets and not wanted:
        raise CliError(
            "no nodes given", "", "name them with --nodes, or say which with --labels", exit_code=EXIT_USAGE
        )
    targets += run_command(_with_labels, wanted) if wanted else []
    if not targets:
        raise CliError("no node of yours has these labels", "", "`msh ls` shows your nodes")
    needed = run_command(show_ahead, ProofAhead(targets=targets, window_seconds=seconds, code=mfa_code))
    names = f"{len(targets)} nodes" if len(targets) > 1 else targets[0]
    if needed:
        click.echo(f"sessions on {names} need no other factor for {format_duration(seconds)}")
    else:
        click.echo(f"sessions on {names} need no second factor")


async def _with_labels(labels: dict[str, str]) -> list[str]:
    async with open_api() as hub:
        request = nodes_pb2.ListNodesRequest(labels=labels)
        listed = await hub.unary("/mezite.v1.NodeService/ListNodes", request, nodes_pb2.ListNodesResponse)
    return [node.name for node in listed.nodes if node.logins]
