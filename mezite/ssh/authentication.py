# SPDX-License-Identifier: Apache-2.0
"""User authentication with certificates (RFC 4252), for the transport's thread; questions may follow.

It takes the place of paramiko's handler, which ends the connection when an agent offers a key of a type it
does not know, and which hands the offered key about as if it were proven (threat A2). Here a grant comes into
being in exactly one place, after the signature over this connection's session id has been verified.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import attrs

from mezite.ssh.errors import AuthenticationRefusedError, PeerProtocolError
from mezite.ssh.limits import SshLimits
from mezite.ssh.login_dialogue import InfoResponse, ProofWanted
from mezite.ssh.policy import Refusal, SshGrant
from mezite.ssh.signatures import CERTIFICATE_ALGORITHMS, verify_possession
from mezite.ssh.wire import WireReader, boolean, string

__all__ = ["Authenticate", "RefusedLogin", "UserAuthentication"]

_log = logging.getLogger("mezite.ssh")

SERVICE_ACCEPT, USERAUTH_REQUEST, FAILURE, SUCCESS, BANNER, PK_OK = 6, 50, 51, 52, 53, 60
#: Longest login name that is looked at; Linux stops at 32, directories at less than this.
LOGIN_CHARACTERS = 256

PUBLICKEY, KEYBOARD = "publickey", "keyboard-interactive"

Authenticate = Callable[[str, bytes], SshGrant | Refusal]


@attrs.frozen
class RefusedLogin:
    """Somebody proved to hold the key of a genuine certificate and was refused."""

    login: str
    message: str


@attrs.frozen
class _KeyRequest:
    login: str
    algorithm: str
    certificate: bytes
    signature: bytes | None


class UserAuthentication:
    """One connection's authentication. ``send`` takes payloads; ``refused`` is told of proven, refused
    logins; ``tell`` of a client that is ready for questions, and of its answers.
    """

    def __init__(
        self,
        authenticate: Authenticate,
        *,
        limits: SshLimits,
        send: Callable[[bytes], None],
        refused: Callable[[RefusedLogin], None],
        tell: Callable[[ProofWanted | InfoResponse], None],
    ) -> None:
        self._authenticate = authenticate
        self._limits = limits
        self._send = send
        self._refused = refused
        self._tell = tell
        self._half_way: SshGrant | None = None
        self._in_dialogue = False
        self._prompts: int | None = None
        self._login: str | None = None
        self._requests = 0
        self._failures = 0
        self._explained: set[str] = set()
        self._service_accepted = False

    def receive_service_request(self, message: WireReader) -> None:
        """Answer SERVICE_REQUEST: only ``ssh-userauth`` exists before authentication."""
        service = message.text()
        message.finish()
        if service != "ssh-userauth":
            raise PeerProtocolError("no such service before authentication")
        self._count_request()
        self._service_accepted = True
        self._send(bytes((SERVICE_ACCEPT,)) + string(service))

    def receive_request(self, message: WireReader, session_id: bytes) -> SshGrant | None:
        """Answer one USERAUTH_REQUEST; the grant when it succeeded (SUCCESS is not sent here).

        :exc:`AuthenticationRefusedError` when attempts are used up.
        """
        if not self._service_accepted:
            raise PeerProtocolError("authentication before its service was requested")
        self._count_request()
        login, service, method = message.text(), message.text(), message.text()
        if service != "ssh-connection":
            raise PeerProtocolError("no such service")
        if self._login not in (None, login):
            raise AuthenticationRefusedError("the login name changed between attempts")
        self._login = login
        if self._half_way is not None:
            self._start_dialogue(method, session_id)
            return None
        if method != PUBLICKEY or not self._plausible(login):
            self._fail(counts=method != "none")
            return None
        signed = message.boolean()
        request = _KeyRequest(login, message.text(), message.string(), message.string() if signed else None)
        message.finish()
        if request.algorithm not in CERTIFICATE_ALGORITHMS:
            self._fail()
        elif request.signature is None:
            self._answer_offer(request)
        else:
            return self._answer_proof(request, session_id)
        return None

    def _start_dialogue(self, method: str, session_id: bytes) -> None:
        """A client that is half way: only questions lead on."""
        if self._in_dialogue:
            raise AuthenticationRefusedError("the questions were left without an answer")
        if method != KEYBOARD:
            self._fail()
            return
        assert self._half_way is not None
        self._in_dialogue = True
        self._tell(ProofWanted(self._half_way, session_id))

    def send_question(self, payload: bytes, *, prompts: int) -> None:
        """Send INFO_REQUEST with so many prompts. From any thread, one question at a time."""
        self._prompts = prompts
        self._send(payload)

    def receive_answers(self, message: WireReader) -> None:
        """Take INFO_RESPONSE, which must answer the question that was asked (RFC 4256 section 3.4)."""
        prompts, self._prompts = self._prompts, None
        if prompts is None:
            raise PeerProtocolError("message 61 answers no question")
        self._count_request()
        if message.uint32() != prompts:
            raise PeerProtocolError("another number of answers than of questions")
        answers = tuple(message.text() for _ in range(prompts))
        message.finish()
        self._tell(InfoResponse(answers))

    @staticmethod
    def _plausible(login: str) -> bool:
        return 0 < len(login) <= LOGIN_CHARACTERS and login.isprintable()

    def _answer_offer(self, request: _KeyRequest) -> None:
        answer = self._ask(request)
        if isinstance(answer, Refusal) and not answer.explain:
            self._fail()
        else:
            # A refusal that may be explained is explained only to the key's holder: let the client prove it.
            self._send(bytes((PK_OK,)) + string(request.algorithm) + string(request.certificate))

    def _answer_proof(self, request: _KeyRequest, session_id: bytes) -> SshGrant | None:
        assert request.signature is not None
        signed = b"".join(
            (
                string(session_id),
                bytes((USERAUTH_REQUEST,)),
                string(request.login),
                string("ssh-connection"),
                string("publickey"),
                boolean(True),
                string(request.algorithm),
                string(request.certificate),
            )
        )
        if not verify_possession(request.algorithm, request.certificate, request.signature, signed):
            self._fail()
            return None
        answer = self._ask(request)
        if isinstance(answer, SshGrant):
            if not answer.needs_proof:
                return answer
            self._half_way = answer
            self._send(bytes((FAILURE,)) + string(KEYBOARD) + boolean(True))
            return None
        if answer.explain:
            self._explain(request.login, answer.message)
        self._fail()
        return None

    def _ask(self, request: _KeyRequest) -> SshGrant | Refusal:
        try:
            return self._authenticate(request.login, request.certificate)
        except Exception:  # noqa: BLE001 - an error in the policy denies, it does not end the connection
            _log.exception("the policy failed; access is denied")
            return Refusal(message="the policy failed")

    def _explain(self, login: str, message: str) -> None:
        self._refused(RefusedLogin(login, message))
        if message not in self._explained:
            self._explained.add(message)
            self._send(bytes((BANNER,)) + string(f"{message}\r\n") + string(""))

    def _count_request(self) -> None:
        self._requests += 1
        if self._requests > self._limits.login_requests:
            raise AuthenticationRefusedError("too many authentication requests")

    def _fail(self, *, counts: bool = True) -> None:
        self._failures += counts
        if self._failures > self._limits.login_failures:
            raise AuthenticationRefusedError("too many authentication failures")
        methods = PUBLICKEY if self._half_way is None else KEYBOARD
        self._send(bytes((FAILURE,)) + string(methods) + boolean(False))
