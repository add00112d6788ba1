# SPDX-License-Identifier: Apache-2.0
"""Signing in through a connector, with a browser or for a program."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import attrs
import quart

from mezite.core.cookies import read_cookie, write_cookie
from mezite.core.oidc.connector import CALLBACK_PATHS, ConnectorKind
from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.errors import InvalidRequestError
from mezite.services.sso.assembly import SsoServices
from mezite.services.sso.clients import ClientRequest
from mezite.services.sso.connectors import LOCAL
from mezite.services.sso.login import ROUND_TRIP_MS, CameBack
from mezite.storage.web_sessions import WebSessionKind
from mezite.web import browser_session, sso_pages
from mezite.web.certificate_answers import certificates_answer
from mezite.web.json_body import read_fields
from mezite.web.login_answers import LoginAnswers
from mezite.web.route_table import RouteTable, client_address

__all__ = ["SsoRoutes"]

COOKIE = "__Host-mezite_sso"
"""Ties a browser to its round trips. The prefix keeps other hosts of the same domain from setting it."""

API = "/v1/webapi/sso"


@attrs.frozen(kw_only=True)
class SsoRoutes:
    """`sso/NAME/start`, the callbacks, and what programs and the people in front of them need."""

    sso: SsoServices
    answers: LoginAnswers
    authorities: CertificateAuthorities

    def add_to(self, table: RouteTable) -> None:
        """Declare the routes."""
        for method, path, handler, verb in (
            ("GET", f"{API}/<name>/start", self._start, "account.sso.start"),
            (
                "GET",
                CALLBACK_PATHS[ConnectorKind.OIDC],
                partial(self._callback, ConnectorKind.OIDC),
                "account.sso.callback",
            ),
            (
                "GET",
                CALLBACK_PATHS[ConnectorKind.GITHUB],
                partial(self._callback, ConnectorKind.GITHUB),
                "account.sso.callback",
            ),
            ("GET", "/sso/device", self._device, "account.sso.device"),
            ("POST", f"{API}/device/decide", self._decide, "account.sso.device"),
        ):
            table.answering(method, path, partial(sso_pages.as_page, handler), verb, "account")
        table.public("POST", f"{API}/client/begin", self._client_begin, "account.sso.client", "account")
        table.public("POST", f"{API}/client/finish", self._client_finish, "account.sso.client", "account")

    async def _start(self) -> quart.Response:
        """To the provider, for this browser itself or for a program."""
        name, client_login = (quart.request.view_args or {})["name"], None
        handle, code = quart.request.args.get("login"), quart.request.args.get("code")
        if handle is not None:
            connector, client_login = await self.sso.clients.connector_of(handle)
        elif code is not None:
            question, client_login = await self.sso.clients.look_up(code, client_address=client_address())
            connector = question.connector
        else:
            connector = name
        if connector != name:
            raise InvalidRequestError("this sign-in belongs to another connector: begin again")
        begun = await self.sso.login.begin(
            name,
            return_to=quart.request.args.get("return_to", "/"),
            client_login=client_login,
            browser_secret=_cookie_secret() or None,
            client_address=client_address(),
        )
        response = _redirect(begun.url)
        line = write_cookie(
            COOKIE, begun.browser_secret.reveal(), max_age=ROUND_TRIP_MS // 1000, same_site="Lax"
        )
        response.headers.add("set-cookie", line)
        return response

    async def _callback(self, kind: ConnectorKind) -> quart.Response:
        """Back from the provider."""
        secret = _cookie_secret()
        came_back = await self.sso.login.come_back(
            kind,
            list(quart.request.args.items(multi=True)),
            browser_secret=secret,
            client_address=client_address(),
        )
        if came_back.client_login is None:
            return await self._sign_in(came_back)
        arrived = await self.sso.clients.arrived(came_back, secret)
        return _redirect(arrived) if isinstance(arrived, str) else sso_pages.ask_to_allow(arrived)

    async def _sign_in(self, came_back: CameBack) -> quart.Response:
        user = came_back.signed_in.user
        started = await self.sso.login.start_session(
            user.name,
            WebSessionKind.WEB,
            connector=came_back.connector,
            client_address=client_address(),
        )
        # Puts the secret into the cookie, and ends the session that this browser had before.
        await self.answers.started(started, WebSessionKind.WEB)
        return sso_pages.came_in(user.name, came_back.return_to)

    async def _device(self) -> quart.Response:
        """Where a person enters the code of a program."""
        code = quart.request.args.get("code")
        if code is None:
            return sso_pages.ask_for_code()
        question, _ = await self.sso.clients.look_up(code, client_address=client_address())
        if question.connector == LOCAL:
            return _redirect("/program")
        return sso_pages.ask_to_sign_in(question)

    async def _decide(self) -> quart.Response:
        """The answer to whether a program may act for somebody."""
        browser_session.check_same_origin()
        fields = await _form("token", "answer")
        allowed = fields["answer"] == "allow"
        question = await self.sso.clients.decide(
            fields["token"], _cookie_secret(), allowed=allowed, client_address=client_address()
        )
        return sso_pages.decided(question, allowed=allowed)

    async def _client_begin(self) -> dict[str, Any]:
        fields = await read_fields(
            {"connector": str, "challenge": str, "ssh_public_key": str, "tls_public_key_pem": str},
            optional={"ttl_seconds": int, "callback_url": str},
        )
        begun = await self.sso.clients.begin(ClientRequest(**fields), client_address=client_address())
        web_url, handle = self.sso.login.addresses.web_url(), begun.handle.reveal()
        if fields["connector"] == LOCAL:
            # The page asks for a login by itself. What stands behind # is not sent to anybody (threat D23).
            with_code, with_browser = f"{web_url}/program", f"{web_url}/program#{handle}"
        else:
            with_code = f"{web_url}/sso/device"
            with_browser = f"{web_url}{API}/{fields['connector']}/start?login={handle}"
        return {
            "login": handle,
            "url": with_code if begun.user_code else with_browser,
            "user_code": begun.user_code,
            "expires_at_ms": begun.expires_at,
            "interval_seconds": 2,
        }

    async def _client_finish(self) -> dict[str, Any]:
        fields = await read_fields({"login": str, "verifier": str}, optional={"code": str})
        issued = await self.sso.clients.finish(
            fields["login"], fields["verifier"], fields.get("code", ""), client_address=client_address()
        )
        if issued is None:
            return {"status": "pending"}
        return {"status": "done", **certificates_answer(issued, self.authorities)}


def _redirect(url: str) -> quart.Response:
    return quart.Response("", status=303, headers={"location": url})


def _cookie_secret() -> str:
    """The secret that ties this browser to its round trips; empty when it has none of ours."""
    fields = [value.encode("latin-1", "replace") for value in quart.request.headers.getlist("cookie")]
    secret = read_cookie(fields, COOKIE) or ""
    return secret if len(secret) == 64 else ""


async def _form(*names: str) -> dict[str, str]:
    """The fields of a form, each once and no others."""
    if quart.request.mimetype != "application/x-www-form-urlencoded":
        raise InvalidRequestError("this is for the form of the hub's own page")
    body = str(await quart.request.get_data(as_text=True))
    try:
        pairs = parse_qsl(body, strict_parsing=True, max_num_fields=len(names))
    except ValueError:
        pairs = []
    if sorted(name for name, _ in pairs) != sorted(names):
        raise InvalidRequestError("this is for the form of the hub's own page")
    return dict(pairs)
