# SPDX-License-Identifier: Apache-2.0
"""The agent's calls to the hub.

After joining, everything goes through the tunnel itself: the agent opens a channel of kind `api` and speaks gRPC in
it, authenticated by the certificate of the tunnel's handshake. There is no second connection to keep alive, and
where the tunnel gets through, so do the calls.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import attrs
import trio
from google.protobuf.message import Message

from mezite.api.client import ApiClient, RpcError, StatusCode
from mezite.api.pb.mezite.v1 import enrollment_pb2 as pb
from mezite.api.pb.mezite.v1 import session_proofs_pb2

__all__ = ["HubApi", "HubApiError"]

_SERVICE = "/mezite.v1.EnrollmentService/"
_PROOFS = "/mezite.v1.LoginProofService/"

WAIT_SECONDS = 10
"""How long a call waits for a tunnel when there is none: a hub restart takes a few seconds."""

_Response = TypeVar("_Response", bound=Message)


class HubApiError(Exception):
    """A call could not be made or was refused; the text is the hub's."""

    is_wrong_answer = False
    """What the person has shown is not good: they may try again."""


@attrs.define(eq=False)
class HubApi:
    """The API of whichever hub holds the tunnel now."""

    _client: ApiClient | None = None
    _attached: trio.Event = attrs.field(factory=trio.Event)
    _spent: trio.Event = attrs.field(factory=trio.Event)
    _wanted: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    _expecting: int = 0
    _used_at: float = -math.inf

    @contextmanager
    def expecting_calls(self) -> Iterator[None]:
        """Have an API channel opened if there is none, and kept until the end of the block."""
        self._expecting += 1
        self._wanted.unpark_all()
        try:
            yield
        finally:
            self._expecting -= 1
            self._used_at = trio.current_time()

    async def wait_wanted(self) -> None:
        """Until some call is expected."""
        while not self._expecting:
            await self._wanted.park()

    async def wait_unused(self, spent: trio.Event, *, idle_seconds: float) -> None:
        """Until `spent` is set or no call has been expected for so long."""
        self._used_at = trio.current_time()
        while not spent.is_set():
            now = trio.current_time()
            if self._expecting:
                self._used_at = now
            idle_at = self._used_at + idle_seconds
            if now >= idle_at:
                return
            with trio.move_on_at(idle_at):
                await spent.wait()

    def attach(self, client: ApiClient) -> trio.Event:
        """Use the API channel of a tunnel from now on.

        The event that is returned is set when a call finds `client` unusable: a hub ends connections that are idle or
        old, and the tunnel may then offer another one.
        """
        self._client = client
        self._spent = trio.Event()
        self._attached.set()
        return self._spent

    def detach(self, client: ApiClient) -> None:
        """Stop using the API channel of a tunnel that ends, unless a newer one has taken its place."""
        if self._client is client:
            self._client = None
            self._attached = trio.Event()

    async def renew(self, request: pb.RenewAgentIdentityRequest) -> pb.AgentIdentity:
        """Get the next generation of certificates. :raises HubApiError: refused or no hub."""
        return await self._call("RenewAgentIdentity", request, pb.AgentIdentity)

    async def heartbeat(self, request: pb.AgentHeartbeatRequest) -> pb.AgentHeartbeatResponse:
        """Say what this agent is, learn whom to trust. :raises HubApiError: refused or no hub."""
        return await self._call("AgentHeartbeat", request, pb.AgentHeartbeatResponse)

    async def report_session_start(self, request: pb.ReportSessionStartRequest) -> None:
        """:raises HubApiError: the session must not begin."""
        await self._call("ReportSessionStart", request, pb.ReportSessionStartResponse)

    async def report_session_end(self, request: pb.ReportSessionEndRequest) -> None:
        """:raises HubApiError: refused or no hub."""
        await self._call("ReportSessionEnd", request, pb.ReportSessionEndResponse)

    async def report_refusal(self, request: pb.ReportRefusalRequest) -> None:
        """:raises HubApiError: refused or no hub."""
        await self._call("ReportRefusal", request, pb.ReportRefusalResponse)

    async def begin_login_proof(
        self, request: session_proofs_pb2.BeginLoginProofRequest
    ) -> session_proofs_pb2.PendingProof:
        """:raises HubApiError: the login must not go on."""
        return await self._call("BeginLoginProof", request, session_proofs_pb2.PendingProof, _PROOFS)

    async def answer_login_proof(
        self, request: session_proofs_pb2.AnswerLoginProofRequest
    ) -> session_proofs_pb2.ProofState:
        """:raises HubApiError: the code is wrong, which it says, or refused or no hub."""
        return await self._call("AnswerLoginProof", request, session_proofs_pb2.ProofState, _PROOFS)

    async def await_login_proof(
        self, request: session_proofs_pb2.AwaitLoginProofRequest
    ) -> session_proofs_pb2.ProofState:
        """:raises HubApiError: refused or no hub."""
        return await self._call("AwaitLoginProof", request, session_proofs_pb2.ProofState, _PROOFS)

    async def _call(
        self, name: str, request: Message, response_type: type[_Response], service: str = _SERVICE
    ) -> _Response:
        with self.expecting_calls():
            client = await self._usable_client(name)
            try:
                return await client.unary(service + name, request, response_type)
            except RpcError as error:
                failure = HubApiError(error.message or str(error))
                failure.is_wrong_answer = error.status is StatusCode.UNAUTHENTICATED
                raise failure from error

    async def _usable_client(self, name: str) -> ApiClient:
        with trio.move_on_after(WAIT_SECONDS):
            while True:
                client = self._client
                if client is not None and client.is_usable:
                    return client
                if client is not None:
                    self.detach(client)
                    self._spent.set()
                await self._attached.wait()
        raise HubApiError(f"{name}: there has been no tunnel to a hub for {WAIT_SECONDS} s")
