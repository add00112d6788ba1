# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the applications that are registered, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from mezite.core.apps.app import App
from mezite.core.apps.health import HealthState
from mezite.core.apps.public_address import covers
from mezite.core.diagnosis import Finding, Outcome
from mezite.services.apps.registration import INACTIVE, AppsDomain
from mezite.services.apps.status import AgentState, AppStatus, AppView

__all__ = ["AppProblem", "AppsDiagnosis", "address_problem"]

STEP = "applications"

MAX_SHOWN = 50
"""Problems that are listed; more would hide the first ones, which often are the cause of them all."""


@attrs.frozen
class AppProblem:
    """One thing that is wrong, and what to do."""

    why: str
    remedy: str


def address_problem(app: App, domain: AppsDomain) -> AppProblem | None:
    """Why browsers do not open an application; None when they do, and for TCP."""
    if not app.public_addr or domain.name is None:
        return None
    if not app.public_addr.endswith(f".{domain.name}"):
        return AppProblem(
            f"its public address {app.public_addr} is not below proxy.apps_domain {domain.name}",
            f"register it again, with --public-addr={app.name}.{domain.name}",
        )
    shown = None if domain.certificate_names is None else domain.certificate_names()
    if shown is not None and not covers(shown, app.public_addr):
        return AppProblem(
            f"no certificate of this hub is for {app.public_addr}",
            f"set proxy.apps_keypair to a certificate for *.{domain.name}, or for one that lists {app.public_addr}",
        )
    return None


@attrs.frozen(kw_only=True)
class AppsDiagnosis:
    """Looks at all applications that are enabled."""

    status: AppStatus
    domain: AppsDomain
    sees_agents: bool = True
    """Whether it is known who is connected: not where no hub runs."""

    async def findings(self, apps: Sequence[App]) -> list[Finding]:
        """Return one finding for each problem, or a single one that all is well."""
        if not apps:
            return [Finding(step=STEP, outcome=Outcome.SKIPPED, detail="none is registered")]
        if self.domain.name is None:
            return [
                failed(STEP, AppProblem(INACTIVE.partition(";")[0], "set proxy.apps_domain, or remove them"))
            ]
        enabled = [app for app in apps if app.enabled]
        found = [
            failed(f"application {view.app.name}", problem)
            for view in await self.status.views(enabled)
            for problem in self._problems(view)
        ]
        if len(found) > MAX_SHOWN:
            more = AppProblem(f"{len(found) - MAX_SHOWN} more problems", "look at `mezctl apps ls`")
            found[MAX_SHOWN:] = [failed(STEP, more)]
        return found or [
            Finding(step=STEP, outcome=Outcome.OK, milliseconds=0.0, detail=self._all_well(apps))
        ]

    def _problems(self, view: AppView) -> Iterator[AppProblem]:
        address = address_problem(view.app, self.domain)
        if address is not None:
            yield address
        name = view.app.name
        if not view.agents:
            yield AppProblem("no agent serves it", f"`mezctl apps add-agent {name} --agent-hostname=HOST`")
        elif self.sees_agents:
            yield from agent_problems(view)

    def _all_well(self, apps: Sequence[App]) -> str:
        disabled = sum(not app.enabled for app in apps)
        checked = sum(app.enabled and bool(app.options.health_seconds) for app in apps)
        words = [f"{len(apps)} registered", f"health of {checked} checked"]
        if disabled:
            words.append(f"{disabled} disabled")
        if not self.sees_agents:
            words.append("agents not looked at: the hub does not run")
        return ", ".join(words)


def agent_problems(view: AppView) -> Iterator[AppProblem]:
    name = view.app.name
    by_state = {state: [host for host, seen in view.agents.items() if seen is state] for state in AgentState}
    if unknown := by_state[AgentState.UNKNOWN]:
        yield AppProblem(
            f"no node is called {', '.join(unknown)}",
            f"look at `mezctl nodes ls`, then `mezctl apps rm-agent {name} --agent-hostname={unknown[0]}`",
        )
    if offline := by_state[AgentState.OFFLINE]:
        which = (
            "none of its agents is connected" if not by_state[AgentState.ONLINE] else "an agent is offline"
        )
        yield AppProblem(f"{which} ({', '.join(offline)})", f"run `mezd doctor` on {offline[0]}")
    for host, health in view.health.items():
        if health.state is HealthState.UNHEALTHY:
            yield AppProblem(
                f"unhealthy through agent {host}: {health.reason}",
                f"look at {view.app.uri} from {host}, or change what is checked with `mezctl apps register`",
            )


def failed(step: str, problem: AppProblem) -> Finding:
    return Finding(
        step=step, outcome=Outcome.FAILED, milliseconds=0.0, detail=problem.why, remedy=problem.remedy
    )
