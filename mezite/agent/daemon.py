# SPDX-License-Identifier: Apache-2.0
"""An agent's life: become someone, then hold a tunnel and renew, for ever."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import attrs
import trio

from mezite import __version__
from mezite.agent.assembly import Agent
from mezite.agent.hub_api import HubApiError
from mezite.agent.identity_store import IdentityStore, StoredIdentity
from mezite.agent.joining import JoinError, JoinParameters, identity_of_response, join, make_keys, public_keys
from mezite.agent.trust import adopt, is_outdated, key_ids_of
from mezite.api.pb.mezite.v1 import enrollment_pb2
from mezite.config.schema import AgentConfig
from mezite.core.certificates.trust_bundle import BadTrustError
from mezite.core.certificates.x509_issue import load_certificates
from mezite.core.durations import format_duration
from mezite.core.join_token import InvalidJoinTokenError, parse_ca_pin, parse_join_token
from mezite.net.heap import keep_large_blocks
from mezite.net.outbound import Outbound
from mezite.ssh.spawn import open_spawner

__all__ = ["prepare_identity", "run_agent"]

_log = logging.getLogger("mezite.agent")

HEARTBEAT_SECONDS = 45
"""How soon a changed label or CA reaches the other side; liveness is the tunnel's own business. Less than the minute
after which a hub ends an API connection without calls."""

LOOK_SECONDS = 600
"""How often the wall clock is asked whether to renew: a machine that slept, or whose clock was set, is late by this."""

RETRY_SECONDS = 60
"""After a renewal that failed: a certificate has sixteen hours left then."""


async def run_agent(
    config: AgentConfig, *, node_name: str, now: Callable[[], int], outbound: Outbound | None = None
) -> None:
    """Run the agent until cancelled; open sessions are cut then.

    :raises JoinError: it has no identity and cannot get one, or has lost its keys.
    """
    keep_large_blocks()
    outbound = outbound or Outbound()
    store = IdentityStore(Path(config.data_dir))
    identity = await prepare_identity(store, config, node_name=node_name, now=now, outbound=outbound)
    keys = store.load_keys()
    if keys is None:
        raise JoinError(
            f"cannot use the identity in {store.folder}",
            "its private keys are missing",
            f"delete {store.folder} and start with a new join token",
        )
    async with open_spawner() as spawner, trio.open_nursery() as nursery:
        agent = Agent(
            config=config, keys=keys, identity=identity, spawner=spawner, now=now, outbound=outbound
        )
        _log.info(
            "agent starting",
            extra={"agent_id": identity.agent_id, "node": identity.node_name, "version": __version__},
        )
        if agent.login is not None:
            _log.warning(
                "running as an ordinary user: only that login is served", extra={"login": agent.login}
            )
        nursery.start_soon(agent.tunnel_client().run)
        nursery.start_soon(_renew, agent, store)
        nursery.start_soon(_beat, agent, store)


async def prepare_identity(
    store: IdentityStore,
    config: AgentConfig,
    *,
    node_name: str,
    now: Callable[[], int],
    outbound: Outbound | None = None,
) -> StoredIdentity:
    """Return the stored identity, or join with the token of the configuration.

    :raises JoinError: no identity and no (good) token, or the hub refuses.
    """
    identity = store.load()
    if identity is not None:
        _check_expiry(identity, store, now())
        return identity
    parameters = attrs.evolve(_join_parameters(config, node_name, now), outbound=outbound or Outbound())
    keys = store.load_keys()
    if keys is None:
        keys = make_keys()
        store.save_keys(keys)
    identity = await join(parameters, keys)
    store.save(identity)
    _log.info("joined the cluster", extra={"cluster": identity.cluster_name, "agent_id": identity.agent_id})
    return identity


def _check_expiry(identity: StoredIdentity, store: IdentityStore, now: int) -> None:
    expires = load_certificates(identity.tls_certificate_pem.encode())[0].not_valid_after_utc.timestamp()
    late = now // 1000 - int(expires)
    if late >= 0:
        raise JoinError(
            f"the identity in {store.folder} expired {format_duration(late)} ago",
            "an agent that is off for more than a day cannot renew",
            f"delete {store.folder} and start with a new join token",
        )


def _join_parameters(config: AgentConfig, node_name: str, now: Callable[[], int]) -> JoinParameters:
    text = _token_text(config)
    try:
        token = parse_join_token(text)
        pin = token.ca_pin if config.ca_pin is None else parse_ca_pin(config.ca_pin)
    except InvalidJoinTokenError as error:
        raise JoinError(
            "the join token cannot be used", str(error), "make one with `mezctl tokens create --roles=node`"
        ) from None
    return JoinParameters(
        auth_addr=config.auth_addr,
        secret=token.secret,
        ca_pin=pin,
        node_name=node_name,
        labels=dict(config.labels),
        version=__version__,
        now=now,
    )


def _token_text(config: AgentConfig) -> str:
    if config.join_token is not None:
        return config.join_token.reveal()
    if config.join_token_file is None:
        raise JoinError(
            "this agent has not joined a cluster yet",
            "there is no join token",
            "set MEZITE_JOIN_TOKEN to what `mezctl tokens create --roles=node` prints",
        )
    try:
        return Path(config.join_token_file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise JoinError(
            f"cannot read {config.join_token_file}", str(error), "check join_token_file"
        ) from None


async def _renew(agent: Agent, store: IdentityStore) -> NoReturn:
    """Renew at a third of the certificate's life, again and again; at once when its signer is replaced."""
    while True:
        left = _seconds_until_renewal(agent.identity, agent.now())
        if left > 0:
            with trio.move_on_after(min(left, LOOK_SECONDS)) as looking:
                await agent.outdated.wait()
            if looking.cancelled_caught:
                continue
        try:
            await _renew_once(agent, store)
        except (HubApiError, OSError) as error:
            _log.error(
                "renewal failed, trying again",
                extra={"reason": str(error), "retry_in_seconds": RETRY_SECONDS},
            )
            await trio.sleep(RETRY_SECONDS)


async def _renew_once(agent: Agent, store: IdentityStore) -> None:
    tls_public_key, ssh_public_key = public_keys(agent.keys)
    issued = await agent.api.renew(
        enrollment_pb2.RenewAgentIdentityRequest(
            tls_public_key_pem=tls_public_key,
            ssh_public_key=ssh_public_key,
            version=__version__,
            labels=dict(agent.config.labels),
            agent_time_ms=agent.now(),
        )
    )
    renewed = identity_of_response(issued, agent.identity.host_ca_pin)
    store.save(renewed)
    agent.identity = renewed
    _log.info("identity renewed", extra={"generation": issued.generation})


def _seconds_until_renewal(identity: StoredIdentity, now: int) -> float:
    certificate = load_certificates(identity.tls_certificate_pem.encode())[0]
    begin = certificate.not_valid_before_utc.timestamp()
    end = certificate.not_valid_after_utc.timestamp()
    return max(0.0, begin + (end - begin) / 3 - now / 1000)


async def _beat(agent: Agent, store: IdentityStore) -> NoReturn:
    """Say what this agent is and whom it trusts, now and then, and at once when there is news."""
    acknowledging = False
    while True:
        try:
            answer = await agent.api.heartbeat(
                enrollment_pb2.AgentHeartbeatRequest(
                    version=__version__,
                    labels=dict(agent.config.labels),
                    agent_time_ms=agent.now(),
                    trusted_key_ids=key_ids_of(agent.identity),
                )
            )
        except HubApiError as error:
            _log.debug("no heartbeat", extra={"reason": str(error)})
        else:
            # What is new is acknowledged at once, but hubs that disagree do not make an agent run in circles.
            acknowledging = _take_over_cas(agent, store, answer) and not acknowledging
            if is_outdated(agent.identity, answer.signing_key_ids):
                agent.outdated.hear()
            if acknowledging:
                continue
        with trio.move_on_after(HEARTBEAT_SECONDS):
            await agent.news.wait()


def _take_over_cas(agent: Agent, store: IdentityStore, answer: enrollment_pb2.AgentHeartbeatResponse) -> bool:
    """Trust what the hub says, if it says anything; whether it is something new."""
    before = agent.identity
    if not answer.user_ssh_ca or not answer.host_tls_ca_pem:
        return False
    try:
        agent.identity = adopt(
            store,
            before,
            host_tls_ca_pem=tuple(answer.host_tls_ca_pem),
            user_ssh_ca=tuple(answer.user_ssh_ca),
            now=agent.now(),
        )
    except (BadTrustError, OSError) as error:
        _log.error("cannot take over the cluster's CAs", extra={"reason": str(error)})
        return False
    return agent.identity != before
