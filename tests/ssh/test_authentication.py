# SPDX-License-Identifier: Apache-2.0
"""Who is taken for whom: certificates, proofs, attempts."""

import io
import os

import paramiko
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
)
from hypothesis import given
from hypothesis import strategies as st

from mezite.ssh.authentication import RefusedLogin, UserAuthentication
from mezite.ssh.errors import AuthenticationRefusedError, PeerProtocolError
from mezite.ssh.limits import SshLimits
from mezite.ssh.login_dialogue import InfoResponse, ProofWanted
from mezite.ssh.policy import Refusal, SshGrant
from mezite.ssh.wire import WireReader, boolean, string, uint32
from tests.ssh.peers import ME, Authority, blob_of, issue, run, running_node
from tests.ssh.raw_client import certified_key, raw_client

SESSION = b"session id"
ED25519 = "ssh-ed25519-cert-v01@openssh.com"
FAILURE, BANNER, PK_OK = 51, 53, 60


class Attempt:
    """One connection's authentication without a connection."""

    def __init__(self, **limits) -> None:
        self.authority = Authority()
        self.policy = self.authority.policy()
        self.sent: list[bytes] = []
        self.refused: list[RefusedLogin] = []
        self.told: list[ProofWanted | InfoResponse] = []
        self.key = ed25519.Ed25519PrivateKey.generate()
        self.certificate = blob_of(issue(self.authority.ca, self.key, [ME]))
        self.machine = UserAuthentication(
            self.policy.authenticate,
            limits=SshLimits(**limits),
            send=self.sent.append,
            refused=self.refused.append,
            tell=self.told.append,
        )

    def start(self):
        self.machine.receive_service_request(WireReader(string("ssh-userauth")))
        self.sent.clear()
        return self

    def ask(self, *fields: bytes, login: str = ME, service: str = "ssh-connection") -> SshGrant | None:
        message = b"".join((string(login), string(service), *fields))
        return self.machine.receive_request(WireReader(message), SESSION)

    def offer(self, certificate: bytes, algorithm: str = ED25519, login: str = ME) -> None:
        fields = (string("publickey"), boolean(False), string(algorithm), string(certificate))
        assert self.ask(*fields, login=login) is None

    def prove(
        self, certificate=None, key=None, *, algorithm: str = ED25519, login: str = ME, session=SESSION
    ):
        certificate = self.certificate if certificate is None else certificate
        fields = (string("publickey"), boolean(True), string(algorithm), string(certificate))
        signed = b"".join((string(session), b"\x32", string(login), string("ssh-connection"), *fields))
        signature = string("ssh-ed25519") + string((key or self.key).sign(signed))
        return self.ask(*fields, string(signature), login=login)

    @property
    def kinds(self) -> list[int]:
        return [payload[0] for payload in self.sent]


def test_offer_then_proof():
    attempt = Attempt().start()
    attempt.offer(attempt.certificate)
    assert attempt.sent == [bytes((PK_OK,)) + string(ED25519) + string(attempt.certificate)]
    grant = attempt.prove()
    assert (grant.user, grant.login) == ("alice", ME)


def test_offered_key_is_not_the_proven_one():
    """A2: a privileged certificate is offered, then another key signs in its name."""
    attempt = Attempt().start()
    other = ed25519.Ed25519PrivateKey.generate()
    attempt.offer(attempt.certificate)
    assert attempt.prove(key=other) is None
    assert attempt.kinds == [PK_OK, FAILURE]


@given(st.lists(st.sampled_from("ABC"), max_size=8), st.sampled_from("ABC"))
def test_identity_is_always_the_key_whose_signature_was_verified(offers, proven):
    """A2, as a property over any order of offers."""
    attempt = Attempt().start()
    keys = {name: ed25519.Ed25519PrivateKey.generate() for name in "ABC"}
    certificates = {}
    for name, key in keys.items():
        builder = SSHCertificateBuilder().public_key(key.public_key()).serial(1).type(SSHCertificateType.USER)
        builder = builder.key_id(name.encode()).valid_principals([ME.encode()])
        builder = builder.valid_after(0).valid_before(2**40)
        certificates[name] = blob_of(builder.sign(attempt.authority.ca))
    for name in offers:
        attempt.offer(certificates[name])
    assert attempt.prove(certificates[proven], keys[proven]).user == proven


@pytest.mark.parametrize("session", [b"", b"another session"])
def test_proof_for_another_connection(session):
    attempt = Attempt().start()
    assert attempt.prove(session=session) is None


def test_reason_is_told_only_after_the_proof():
    attempt = Attempt().start()
    attempt.offer(attempt.certificate, login="daemon")
    assert attempt.kinds == [PK_OK]
    assert attempt.refused == []
    assert attempt.prove(key=ed25519.Ed25519PrivateKey.generate(), login="daemon") is None
    assert attempt.refused == []
    assert attempt.prove(login="daemon") is None
    assert attempt.prove(login="daemon") is None
    assert attempt.kinds == [PK_OK, FAILURE, BANNER, FAILURE, FAILURE]  # explained once
    assert attempt.refused == [RefusedLogin("daemon", "login daemon is not allowed for you")] * 2


KEYBOARD = (string("keyboard-interactive"), string(""), string(""))


def half_way(**limits) -> Attempt:
    """A client whose certificate is good and not enough."""
    attempt = Attempt(**limits)
    attempt.policy.needs_proof = True
    attempt.start()
    assert attempt.prove() is None
    assert attempt.sent == [bytes((FAILURE,)) + string("keyboard-interactive") + boolean(True)]
    attempt.sent.clear()
    return attempt


def answers(*texts: str, count: int | None = None) -> WireReader:
    said = b"".join(string(text) for text in texts)
    return WireReader(uint32(len(texts) if count is None else count) + said)


def test_a_certificate_that_is_not_enough_e8():
    attempt = half_way()
    assert attempt.told == []
    assert attempt.prove() is None  # once more: still half way
    assert attempt.sent == [bytes((FAILURE,)) + string("keyboard-interactive") + boolean(False)]
    assert attempt.ask(*KEYBOARD) is None
    (wanted,) = attempt.told
    assert (wanted.grant.login, wanted.session_id) == (ME, SESSION)
    attempt.machine.send_question(b"question", prompts=1)
    attempt.machine.receive_answers(answers("123456"))
    assert attempt.told[1:] == [InfoResponse(("123456",))]


def test_questions_only_after_the_certificate():
    attempt = Attempt().start()
    assert attempt.ask(*KEYBOARD) is None
    assert attempt.told == []
    assert attempt.kinds == [FAILURE]


@pytest.mark.parametrize(
    ("prompts", "response", "text"),
    [
        (None, answers(), "answers no question"),
        (1, answers(), "another number of answers"),
        (0, answers("123456"), "another number of answers"),
        (1, answers("123456", count=2**32 - 1), "another number of answers"),
        (1, WireReader(uint32(1)), "shorter"),
        (1, WireReader(uint32(1) + string("1") + b"x"), "longer"),
        (1, WireReader(uint32(1) + string(b"\xff")), "UTF-8"),
    ],
)
def test_answers_that_fit_no_question(prompts, response, text):
    attempt = half_way()
    attempt.ask(*KEYBOARD)
    if prompts is not None:
        attempt.machine.send_question(b"question", prompts=prompts)
    with pytest.raises(PeerProtocolError, match=text):
        attempt.machine.receive_answers(response)


def test_each_question_has_one_answer():
    attempt = half_way()
    attempt.ask(*KEYBOARD)
    attempt.machine.send_question(b"question", prompts=0)
    attempt.machine.receive_answers(answers())
    with pytest.raises(PeerProtocolError, match="no question"):
        attempt.machine.receive_answers(answers())


def test_who_leaves_the_questions_is_out():
    attempt = half_way()
    attempt.ask(*KEYBOARD)
    with pytest.raises(AuthenticationRefusedError, match="without an answer"):
        attempt.ask(*KEYBOARD)


@pytest.mark.parametrize(
    "algorithm",
    [
        *("ssh-ed25519", "sk-ssh-ed25519@openssh.com", "sk-ssh-ed25519-cert-v01@openssh.com", "ssh-rsa"),
        *("ssh-rsa-cert-v01@openssh.com", "rsa-sha2-256-cert-v01@openssh.com", "ssh-dss", "", "nonsense"),
    ],
)
def test_other_algorithms_are_one_failed_attempt(algorithm):
    """Stock paramiko ends the connection, so who has such a key in the agent first can never log in."""
    attempt = Attempt().start()
    assert attempt.prove(algorithm=algorithm) is None
    attempt.offer(b"whatever", algorithm)
    assert set(attempt.kinds) == {FAILURE}
    assert attempt.prove() is not None


@pytest.mark.parametrize("certificate", [b"", b"\0", string(ED25519), string(ED25519) + b"x" * 200])
def test_broken_certificates_are_one_failed_attempt(certificate):
    attempt = Attempt().start()
    assert attempt.prove(certificate) is None
    assert attempt.kinds == [FAILURE]


@pytest.mark.parametrize("method", ["none", "password", "keyboard-interactive", "hostbased", ""])
def test_other_methods_fail(method):
    """A2: no fallback method inherits anything."""
    attempt = Attempt().start()
    attempt.offer(attempt.certificate)
    assert attempt.ask(string(method), b"\0" * 20) is None
    assert attempt.sent[-1] == bytes((FAILURE,)) + string("publickey") + b"\0"


def test_policy_that_fails_denies():
    attempt = Attempt().start()
    attempt.policy.offers = None
    assert attempt.prove() is None
    assert attempt.kinds == [FAILURE]


@pytest.mark.parametrize("login", ["", "a\nb", "x" * 300])
def test_implausible_logins_never_reach_the_policy(login):
    attempt = Attempt().start()
    assert attempt.prove(login=login) is None
    assert attempt.policy.offers == []


def test_service_comes_first_and_there_is_only_one():
    with pytest.raises(PeerProtocolError, match="before its service"):
        Attempt().prove()
    with pytest.raises(PeerProtocolError, match="no such service"):
        Attempt().machine.receive_service_request(WireReader(string("ssh-connection")))
    with pytest.raises(PeerProtocolError, match="no such service"):
        Attempt().start().ask(string("none"), service="ssh-userauth")


def test_login_must_not_change():
    attempt = Attempt().start()
    attempt.offer(attempt.certificate)
    with pytest.raises(AuthenticationRefusedError, match="changed"):
        attempt.prove(login="daemon")


def test_attempts_are_counted():
    attempt = Attempt(login_failures=2).start()
    attempt.ask(string("none"))  # every client begins with it; not counted
    for _ in range(2):
        attempt.offer(b"")
    with pytest.raises(AuthenticationRefusedError, match="failures"):
        attempt.offer(b"")
    attempt = Attempt(login_requests=4).start()
    for _ in range(3):
        attempt.offer(attempt.certificate)
    with pytest.raises(AuthenticationRefusedError, match="requests"):
        attempt.offer(attempt.certificate)


def test_policy_refusals_say_nothing_to_strangers():
    assert Refusal(message="x").explain is False


# ---- with clients ---------------------------------------------------------------------------------------


async def test_key_without_a_certificate_and_then_the_certificate():
    async with raw_client() as client:
        await client.handshake()
        with pytest.raises(paramiko.AuthenticationException):
            await client.login(
                paramiko.Ed25519Key.from_private_key(pem_of(ed25519.Ed25519PrivateKey.generate()))
            )
        await client.login(certified_key(client.authority))


def pem_of(key):
    return io.StringIO(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode())


@pytest.mark.e2e
async def test_agent_with_other_keys_first(tmp_path, spawner):
    """Clients offer an agent's keys in its order; files would not do, there certificates go first."""
    async with running_node(tmp_path, spawner) as node:
        other = str(tmp_path / "other")
        await trio.run_process(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", other])
        socket_path = str(tmp_path / "agent")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, ["ssh-agent", "-D", "-a", socket_path])
            environment = {**os.environ, "SSH_AUTH_SOCK": socket_path}
            while not os.path.exists(socket_path):  # noqa: ASYNC240
                await trio.testing.wait_all_tasks_blocked(0.01)
            for path in (other, str(tmp_path / "id")):
                await trio.run_process(["ssh-add", "-q", path], env=environment)
            text = node.config.read_text()
            kept = [line for line in text.splitlines() if not line.strip().startswith(("Ident", "Cert"))]
            node.config.write_text("\n".join(kept) + f"\n  IdentityAgent {socket_path}\n")
            result = await node.ssh("true", options=("-v",))
            nursery.cancel_scope.cancel()
        offers = [line for line in result.stderr.decode().splitlines() if "Offering public key" in line]
        assert result.returncode == 0, result.stderr
        assert " ECDSA " in offers[0]
        assert " ED25519-CERT " in offers[-1]


@pytest.mark.e2e
@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["p256", "p384", "p521", "rsa"],
)
async def test_certificates_for_other_kinds_of_keys(tmp_path, spawner, key):
    async with running_node(tmp_path, spawner) as node:
        node.identity.key = key
        node.identity.write(issue(node.authority.ca, key, [ME]))
        result = await node.ssh("true")
        assert result.returncode == 0, result.stderr
