# SPDX-License-Identifier: Apache-2.0
"""The real services behind a real server, and a client at the other end of a stream in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from mezite.api.access import ApiAccess
from mezite.api.access_explain import AccessExplainApi
from mezite.api.apps import AppsApi
from mezite.api.audit import AuditApi
from mezite.api.auth import AuthApi
from mezite.api.authorities import AuthoritiesApi
from mezite.api.client import ApiClient, ClientOptions, RpcError, open_api_client
from mezite.api.connectors import ConnectorsApi
from mezite.api.devices import DevicesApi
from mezite.api.enrollment import EnrollmentApi
from mezite.api.factors import FactorsApi
from mezite.api.key_login import KeyLoginApi
from mezite.api.locks import LocksApi
from mezite.api.nodes import NodesApi
from mezite.api.requests import AccessRequestsApi
from mezite.api.roles import RolesApi
from mezite.api.rpc import PeerInfo, RpcMethod
from mezite.api.server import GrpcServer
from mezite.api.sessions import SessionsApi
from mezite.api.tokens import TokensApi
from mezite.api.users import UsersApi
from mezite.services.access.explain import AccessExplainer
from mezite.services.apps.launcher import AppLauncher
from mezite.services.public_addresses import PublicAddresses
from mezite.services.sso.connector_trial import ConnectorTrial
from tests.services.authorities.test_rotation import rotation_of
from tests.services.sso.test_connectors import catalog_of
from tests.services.world import CLIENT, World, certificate_der


def all_methods(world: World) -> list[RpcMethod]:
    addresses = PublicAddresses("hub.example.com")
    addresses.bound({"web": "0.0.0.0:3080"})
    apis = (
        AuthApi(
            login=world.login,
            certificates=world.certificates,
            authorities=world.authorities,
            sources=world.sources,
            requests=world.requests,
            password=world.factors.password,
        ),
        KeyLoginApi(key_login=world.factors.key_login),
        AccessRequestsApi(world.requests),
        DevicesApi(world.devices),
        AppsApi(
            catalog=world.apps,
            launcher=AppLauncher(catalog=world.apps, status=world.app_status, web_url=addresses.web_url),
        ),
        EnrollmentApi(
            enrollment=world.enrollment,
            connections=world.connections,
            authorities=world.authorities,
            sources=world.sources,
        ),
        UsersApi(world.accounts, factors=world.factors.administration, invite_url=addresses.invite_url),
        FactorsApi(factors=world.factors, web_url=addresses.web_url),
        RolesApi(world.roles, world.role_trial),
        ConnectorsApi(
            catalog=catalog_of(world),
            trial=ConnectorTrial(catalog=catalog_of(world), sources=world.sources, addresses=addresses),
            web_url=addresses.web_url,
        ),
        AccessExplainApi(
            AccessExplainer(database=world.database, sources=world.sources, locks=world.lock_feed)
        ),
        TokensApi(world.enrollment),
        NodesApi(world.directory),
        LocksApi(world.locks),
        SessionsApi(world.node_sessions, world.login_sessions),
        AuditApi(world.audit),
        AuthoritiesApi(rotation_of(world), world.authorities),
    )
    return [method for api in apis for method in api.methods()]


def make_server(world: World, extra: list[RpcMethod] | None = None) -> GrpcServer:
    access = ApiAccess(
        authenticator=world.authenticator, audit=world.audit, sources=world.sources, refusals=world.refusals
    )
    methods = [*all_methods(world), *(extra or [])]
    return GrpcServer(methods, authenticate=access.authenticate, authorize=access.authorize)


class Caller:
    """Calls methods by their short name: `await call("UserService/GetUser", request)`."""

    def __init__(self, client: ApiClient, server: GrpcServer) -> None:
        self._client = client
        self._server = server

    async def __call__(self, name: str, request=None):
        method = self._server.methods[f"/mezite.v1.{name}"]
        wanted = method.request_type() if request is None else request
        return await self._client.unary(method.path, wanted, method.response_type)

    async def refused(self, name: str, request=None) -> RpcError:
        with pytest.raises(RpcError) as refused:
            await self(name, request)
        return refused.value


@asynccontextmanager
async def calling(
    world: World, *, token: str | None = None, certificate_pem: str | None = None, agent=None, extra=None
) -> AsyncIterator[Caller]:
    """A connection with a session, a client certificate, the tunnel of an agent, or nothing."""
    server = make_server(world, extra)
    ours, theirs = trio.testing.memory_stream_pair()
    der = None if certificate_pem is None else certificate_der(certificate_pem)
    async with trio.open_nursery() as nursery:
        peer = PeerInfo(client_address=CLIENT, certificate_der=der, agent=agent)
        nursery.start_soon(server.serve_connection, theirs, peer)
        async with open_api_client(ours, ClientOptions(authority="hub", token=token)) as client:
            yield Caller(client, server)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def calling_as(
    world: World, name: str = "root", roles=("admin",), logins=("ubuntu",)
) -> AsyncIterator[Caller]:
    """A user who is made and logged in for this."""
    await world.user(name, roles=roles, logins=logins)
    async with calling(world, token=await world.token(name)) as call:
        yield call


@asynccontextmanager
async def calling_as_agent(world: World, enrolled) -> AsyncIterator[Caller]:
    async with calling(world, certificate_pem=enrolled.certificates.tls_certificate_pem) as call:
        yield call
