# SPDX-License-Identifier: Apache-2.0
"""Security keys: the whole ceremony, and every way in which an answer may be wrong (threat E7)."""

import attrs
import cbor2
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mezite.core.secret import Secret
from mezite.services.errors import (
    ConflictError,
    InvalidRequestError,
    MfaRequiredError,
    NotFoundError,
    TooManyRequestsError,
    UnauthenticatedError,
)
from mezite.services.factors.fresh_proof import FRESH_MS, Proof
from mezite.services.factors.security_keys import CHALLENGE_MS, KeyChallenge
from mezite.services.login.attempts import MAX_ATTEMPTS
from mezite.services.login.password_login import LoginRefusedError
from mezite.storage import factors, users
from mezite.testing.software_key import SoftwareKey, from_base64url, to_base64url
from tests.services.login.second_factors import WITH_PASSWORD, add_key, add_totp
from tests.services.world import CLIENT, PASSWORD, WEB_URL


async def begin(world, name="alice"):
    return await world.factors.key_login.begin(name, PASSWORD, client_address=CLIENT)


async def finish(world, asked, credential, client=CLIENT):
    return await world.factors.key_login.finish(asked.id.reveal(), credential, client_address=client)


async def refused(world, asked, credential):
    with pytest.raises(LoginRefusedError):
        await finish(world, asked, credential)
    event = (await world.events("user.login.failed"))[-1]
    assert event["client_ip"] == "192.0.2.7"
    return event["error_message"]


async def test_enrol_and_log_in(world):
    key = await add_key(world, await world.user("alice"))
    for counter in (1, 2):
        asked = await begin(world)
        assert asked.options["rpId"] == "hub.example.com"
        assert asked.options["userVerification"] == "required"
        assert [each["id"] for each in asked.options["allowCredentials"]] == [to_base64url(key.credential_id)]
        started = await finish(world, asked, key.get(asked.options))
        assert started.user.name == "alice"
        (row,) = await world.database.read(factors.list_of_user, user_name="alice")
        assert (row.sign_count, row.last_used_at) == (counter, world.clock.now)
    assert (await world.events("user.login"))[-1]["factor"] == "webauthn"
    (event,) = await world.events("user.mfa.added")
    assert (event["factor"], event["factor_name"]) == ("webauthn", "security key")


async def test_what_the_browser_is_asked_for(world):
    alice = await world.user("alice")
    key = await add_key(world, alice)
    asked = await world.factors.own.begin_key(alice, Proof(), client_address=CLIENT)
    options = asked.options
    assert options["rp"] == {"id": "hub.example.com", "name": "test"}
    assert options["attestation"] == "none"
    assert [each["id"] for each in options["excludeCredentials"]] == [to_base64url(key.credential_id)]
    assert options["authenticatorSelection"]["userVerification"] == "preferred"
    assert [each["alg"] for each in options["pubKeyCredParams"]] == [-7, -8, -257]
    # A key that is lost and found tells nobody's name.
    assert b"alice" not in from_base64url(options["user"]["id"])
    assert len(from_base64url(options["challenge"])) == 32


async def test_a_packed_self_attestation(world):
    alice = await world.user("alice")
    key = SoftwareKey(origin=WEB_URL)
    asked = await world.factors.own.begin_key(alice, WITH_PASSWORD, client_address=CLIENT)
    credential = key.create(asked.options, attestation="packed")
    await world.factors.own.finish_key(
        alice, asked.id.reveal(), credential, "blue key", client_address=CLIENT
    )
    asked = await begin(world)
    await finish(world, asked, key.get(asked.options))


def on_p384():
    numbers = ec.generate_private_key(ec.SECP384R1()).public_key().public_numbers()
    return {1: 2, 3: -7, -1: 2, -2: numbers.x.to_bytes(48, "big"), -3: numbers.y.to_bytes(48, "big")}


def rsa_of(bits):
    numbers = rsa.generate_private_key(public_exponent=65537, key_size=bits).public_key().public_numbers()
    return {1: 3, 3: -257, -1: numbers.n.to_bytes(bits // 8, "big"), -2: b"\x01\x00\x01"}


def other_key_of(key):
    return attrs.evolve(key, private=ec.generate_private_key(ec.SECP256R1()))


CREATIONS = {
    "another origin": lambda key, options: key.create(options, client={"origin": "https://evil.example"}),
    "another port": lambda key, options: key.create(options, client={"origin": WEB_URL + ":444"}),
    "cleartext": lambda key, options: key.create(options, client={"origin": "http://hub.example.com"}),
    "a subdomain": lambda key, options: key.create(options, client={"origin": "https://x.hub.example.com"}),
    "an origin that cannot be stored": lambda key, options: key.create(
        options, client={"origin": "\ud800\0\x1b[2J"}
    ),
    "no origin": lambda key, options: key.create(options, client={"origin": None}),
    "another relying party": lambda key, options: key.create(options, rp_id="evil.example"),
    "the parent domain": lambda key, options: key.create(options, rp_id="example.com"),
    "an assertion's type": lambda key, options: key.create(options, client={"type": "webauthn.get"}),
    "no type": lambda key, options: key.create(options, client={"type": None}),
    "another challenge": lambda key, options: key.create(
        options, client={"challenge": to_base64url(bytes(32))}
    ),
    "an empty challenge": lambda key, options: key.create(options, client={"challenge": ""}),
    "a frame": lambda key, options: key.create(options, client={"crossOrigin": True}),
    "a frame's top": lambda key, options: key.create(options, client={"topOrigin": "https://evil.example"}),
    "nobody there": lambda key, options: key.create(options, present=False),
    "an attestation nobody asked for": lambda key, options: key.create(options, attestation="fido-u2f"),
    "an attestation of no kind": lambda key, options: key.create(options, attestation="trust me"),
    "a packed one without a signature": lambda key, options: key.create(options) | {"type": "password"},
    "a key on no curve": lambda key, options: key.create(
        options, key={1: 2, 3: -7, -1: 9, -2: b"x", -3: b"y"}
    ),
    "a point on no curve": lambda key, options: key.create(
        options, key={1: 2, 3: -7, -1: 1, -2: bytes(32), -3: bytes(32)}
    ),
    "another curve": lambda key, options: key.create(options, key=on_p384()),
    "a short RSA key": lambda key, options: key.create(options, key=rsa_of(1024)),
    "an algorithm nobody offered": lambda key, options: key.create(
        options, key={1: 3, 3: -65535, -1: b"n", -2: b"e"}
    ),
    "a key that is none": lambda key, options: key.create(options, key={}),
    "another id": lambda key, options: key.create(options, changes={"id": to_base64url(bytes(32))}),
    "other ids": lambda key, options: key.create(
        options, changes={"id": to_base64url(bytes(32)), "rawId": to_base64url(bytes(32))}
    ),
    "a short id": lambda key, options: attrs.evolve(key, credential_id=b"x" * 8).create(options),
    "no response": lambda key, options: key.create(options, changes={"response": {}}),
    "a response that is none": lambda key, options: key.create(options, changes={"response": "x"}),
    "client data that is none": lambda key, options: key.create(
        options, changes={"response": {"clientDataJSON": "!!", "attestationObject": "x"}}
    ),
    "nested client data": lambda key, options: key.create(
        options,
        changes={"response": {"clientDataJSON": to_base64url(b"[" * 20_000), "attestationObject": "x"}},
    ),
    "nested CBOR": lambda key, options: bent(key.create(options), "attestationObject", b"\x81" * 6_000),
    "endless CBOR": lambda key, options: bent(key.create(options), "attestationObject", b"\x9f" * 100),
    "a gigabyte announced": lambda key, options: bent(
        key.create(options), "attestationObject", b"\x5a\x40\x00\x00\x00"
    ),
    "an array of 2^62 announced": lambda key, options: bent(
        key.create(options), "attestationObject", b"\x9b\x3f" + b"\xff" * 7
    ),
    "a regular expression": lambda key, options: bent(
        key.create(options), "attestationObject", cbor2.dumps(cbor2.CBORTag(35, "(a*)*" * 1000))
    ),
    "more than anybody needs": lambda key, options: bent(
        key.create(options), "attestationObject", bytes(8000)
    ),
    "nothing at all": lambda key, options: {},
}


def bent(credential, member, data):
    credential["response"][member] = to_base64url(data)
    return credential


async def test_keys_that_are_not_enrolled(world):
    alice = await world.user("alice")
    key, own = SoftwareKey(origin=WEB_URL), world.factors.own
    for how, misbehave in CREATIONS.items():
        asked = await own.begin_key(alice, WITH_PASSWORD, client_address=CLIENT)
        try:
            await finish_key(world, alice, asked, misbehave(key, asked.options))
        except InvalidRequestError as refused:
            assert "was not accepted" in str(refused), how
        else:
            pytest.fail(f"enrolled: {how}")
        # The challenge is used up, even for the right answer.
        with pytest.raises(InvalidRequestError, match="is over"):
            await finish_key(world, alice, asked, key.create(asked.options))
    assert await own.listed(alice) == []
    assert await world.events("user.mfa.added") == []


async def finish_key(world, identity, asked, credential):
    return await world.factors.own.finish_key(
        identity, asked.id.reveal(), credential, "", client_address=CLIENT
    )


ASSERTIONS = {
    "another origin": lambda key, options: key.get(options, client={"origin": "https://evil.example"}),
    "another port": lambda key, options: key.get(options, client={"origin": WEB_URL + ":444"}),
    "an origin that begins so": lambda key, options: key.get(
        options, client={"origin": WEB_URL + ".evil.example"}
    ),
    "another relying party": lambda key, options: key.get(options, rp_id="evil.example"),
    "a creation's type": lambda key, options: key.get(options, client={"type": "webauthn.create"}),
    "another challenge": lambda key, options: key.get(options, client={"challenge": to_base64url(bytes(32))}),
    "a frame": lambda key, options: key.get(options, client={"crossOrigin": True}),
    "a frame by another name": lambda key, options: key.get(options, client={"crossOrigin": "false"}),
    "nobody there": lambda key, options: key.get(options, present=False),
    "nobody verified": lambda key, options: key.get(options, verified=False),
    "the counter of before": lambda key, options: key.get(options, counter=5),
    "an older counter": lambda key, options: key.get(options, counter=4),
    "a counter that stopped": lambda key, options: key.get(options, counter=0),
    "another key under this id": lambda key, options: other_key_of(key).get(options),
    "an unknown key": lambda key, options: attrs.evolve(key, credential_id=bytes(32)).get(options),
    "ids that differ": lambda key, options: key.get(options, changes={"rawId": to_base64url(bytes(32))}),
    "no id": lambda key, options: {name: value for name, value in key.get(options).items() if name != "id"},
    "an id that is none": lambda key, options: key.get(options, changes={"id": 7}),
    "an id that cannot be stored": lambda key, options: key.get(options, changes={"id": "\ud800\0"}),
    "a long id": lambda key, options: key.get(options, changes={"id": "A" * 1365}),
    "an origin that cannot be stored": lambda key, options: key.get(
        options, client={"origin": "\ud800\0\x1b[2J"}
    ),
    "a password": lambda key, options: key.get(options, changes={"type": "password"}),
    "another user's handle": lambda key, options: key.get(
        options, response={"userHandle": to_base64url(bytes(32))}
    ),
    "a signature of nothing": lambda key, options: key.get(options, response={"signature": ""}),
    "a signature of something else": lambda key, options: key.get(
        options, response={"signature": to_base64url(key.sign(b"else"))}
    ),
    "short authenticator data": lambda key, options: key.get(
        options, response={"authenticatorData": to_base64url(bytes(36))}
    ),
    "client data changed afterwards": lambda key, options: key.get(
        options,
        response={"clientDataJSON": key.get(options, client={"more": 1})["response"]["clientDataJSON"]},
    ),
    "no response": lambda key, options: key.get(options, changes={"response": None}),
    "nothing at all": lambda key, options: {},
}


async def test_answers_that_let_nobody_in(world):
    key = await add_key(world, await world.user("alice"), counter=5)
    for number, (how, misbehave) in enumerate(ASSERTIONS.items()):
        asked, client = await begin(world), f"192.0.2.{number}:1"
        for credential in (misbehave(key, asked.options), key.get(asked.options)):
            # The second time the challenge is used up, even for the right answer.
            try:
                await finish(world, asked, credential, client)
            except LoginRefusedError:
                continue
            pytest.fail(f"got in: {how}")
        reason, over = [event["error_message"] for event in await world.events("user.login.failed")][-2:]
        assert reason.startswith("security key: "), how
        assert ("may have been copied" in reason) is ("counter" in how), how
        assert over == "wrong second factor", how
        # Five of them would lock the name: that is another test's.
        await world.database.write(users.clear_failed_logins, name="alice")
    asked = await begin(world)
    await finish(world, asked, key.get(asked.options, counter=1000))


async def test_a_challenge_is_good_once(world):
    key = await add_key(world, await world.user("alice"))
    asked = await begin(world)
    credential = key.get(asked.options)
    await finish(world, asked, credential)
    await refused(world, asked, credential)
    await refused(world, asked, key.get(asked.options))


async def test_fifty_with_one_answer(world):
    """Threat E10."""
    key = await add_key(world, await world.user("alice"))
    asked = await begin(world)
    credential, got_in, kept_out = key.get(asked.options), [], []

    async def once(number):
        try:
            got_in.append(await finish(world, asked, credential, f"192.0.2.{number}:1"))
        except LoginRefusedError:
            kept_out.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(once, number)
    assert (len(got_in), len(kept_out)) == (1, 49)


async def test_a_challenge_is_one_users(world):
    """Another's challenge, another's key: neither opens this account."""
    keys = {}
    for name, number in (("alice", 1), ("bob", 2)):
        identity = await world.user(name)
        keys[name] = await add_key(world, identity, credential_id=bytes([number]) * 32)
    asked = {name: await begin(world, name) for name in keys}
    await refused(world, asked["alice"], keys["bob"].get(asked["alice"].options))
    await refused(world, asked["bob"], keys["bob"].get(asked["alice"].options))


async def test_a_challenge_is_for_one_purpose(world):
    """What was signed to enrol or to prove oneself within a session is no login, and the other way round."""
    alice = await world.user("alice")
    key = await add_key(world, alice)
    proof = await world.factors.proof.begin(alice)
    await refused(world, proof, key.get(proof.options))
    adding = await world.factors.own.begin_key(alice, Proof(), client_address=CLIENT)
    await refused(world, adding, key.get({**adding.options, "rpId": "hub.example.com"}))
    asked = await begin(world)
    with pytest.raises(InvalidRequestError):
        await world.factors.own.finish_key(
            alice,
            asked.id.reveal(),
            key.create({**asked.options, **adding.options}),
            "",
            client_address=CLIENT,
        )


async def test_a_challenge_ends(world):
    key = await add_key(world, await world.user("alice"))
    asked = await begin(world)
    world.clock.now += CHALLENGE_MS
    await refused(world, asked, key.get(asked.options))
    assert CHALLENGE_MS == 5 * 60 * 1000


@pytest.mark.parametrize("challenge_id", ["", "0" * 64, "\ud800", "x" * 1000])
async def test_a_challenge_that_never_was(world, challenge_id):
    await add_key(world, await world.user("alice"))
    with pytest.raises(LoginRefusedError):
        await world.factors.key_login.finish(challenge_id, {}, client_address=CLIENT)


@pytest.mark.parametrize("change", ["password", "disabled", "deleted", "removed"])
async def test_what_happens_between_the_password_and_the_key(world, change):
    """Threat E6."""
    alice = await world.user("alice")
    root = await world.user("root", roles=("admin",))
    key = await add_key(world, alice)
    asked = await begin(world)
    if change == "password":
        await world.login.set_password("alice", "another long password")
    elif change == "disabled":
        await world.database.write(users.set_disabled, name="alice", disabled=True, now=world.clock.now)
    elif change == "deleted":
        await world.accounts.delete("alice", by=root, client_address="")
    else:
        (row,) = await world.factors.own.listed(alice)
        await world.factors.own.remove(alice, row.id, Proof(), client_address=CLIENT)
    with pytest.raises(LoginRefusedError):
        await finish(world, asked, key.get(asked.options))


async def test_wrong_answers_lock_the_name(world):
    key = await add_key(world, await world.user("alice"))
    for _ in range(MAX_ATTEMPTS):
        asked = await begin(world)
        await refused(world, asked, key.get(asked.options, client={"origin": "https://evil.example"}))
    with pytest.raises(LoginRefusedError):
        await begin(world)
    assert len(await world.events("user.locked.out")) == 1


async def test_beginning_needs_the_password(world):
    """Threat E17: as at the other door."""
    await add_key(world, await world.user("alice"))
    for name in ("alice", "nobody"):
        with pytest.raises(LoginRefusedError, match="wrong user name or password"):
            await world.factors.key_login.begin(name, "wrong password", client_address=CLIENT)


async def test_beginning_over_and_over_locks_nobody_out(world):
    key = await add_key(world, await world.user("alice"))
    for _ in range(3 * MAX_ATTEMPTS):
        asked = await begin(world)
    await finish(world, asked, key.get(asked.options))


async def test_who_has_no_key(world):
    await world.user("bob")
    with pytest.raises(InvalidRequestError, match="log in without"):
        await begin(world, "bob")
    carol = await world.user("carol")
    await add_totp(world, carol)
    with pytest.raises(MfaRequiredError):
        await begin(world, "carol")
    with pytest.raises(NotFoundError):
        await world.factors.proof.begin(carol)


async def test_a_key_without_a_pin_stays_good(world):
    key = await add_key(world, await world.user("alice"), verifies_user=False, counts=False)
    for _ in range(2):
        asked = await begin(world)
        assert asked.options["userVerification"] == "preferred"
        await finish(world, asked, key.get(asked.options))


async def test_a_key_is_enrolled_once(world):
    alice, bob = await world.user("alice"), await world.user("bob")
    key = await add_key(world, alice)
    own = world.factors.own
    for identity, proof in ((alice, Proof()), (bob, WITH_PASSWORD)):
        asked = await own.begin_key(identity, proof, client_address=CLIENT)
        with pytest.raises(ConflictError):
            await own.finish_key(
                identity, asked.id.reveal(), key.create(asked.options), "", client_address=CLIENT
            )


async def test_enrolling_for_somebody_else(world):
    """The challenge of one session is nothing in another, of whomever."""
    alice, bob = await world.user("alice"), await world.user("bob")
    again = await world.session("alice")
    key, own = SoftwareKey(origin=WEB_URL), world.factors.own
    asked = await own.begin_key(alice, WITH_PASSWORD, client_address=CLIENT)
    for identity in (bob, again):
        with pytest.raises(InvalidRequestError, match="is over"):
            await own.finish_key(
                identity, asked.id.reveal(), key.create(asked.options), "", client_address=CLIENT
            )
    await own.finish_key(alice, asked.id.reveal(), key.create(asked.options), "", client_address=CLIENT)


async def test_a_key_as_the_fresh_proof(world):
    alice = await world.user("alice")
    key = await add_key(world, alice)
    world.clock.now += FRESH_MS
    asked = await world.factors.proof.begin(alice)
    shown = Proof(challenge_id=asked.id.reveal(), credential=key.get(asked.options))
    await world.factors.proof.require(alice, shown, client_address=CLIENT)
    world.clock.now += FRESH_MS
    with pytest.raises(UnauthenticatedError):
        await world.factors.proof.require(alice, shown, client_address=CLIENT)


async def test_guessing_from_one_address_is_limited(world):
    """Threat A11."""
    await add_key(world, await world.user("alice"))
    asked = KeyChallenge(id=Secret("0" * 64), options={})
    for _ in range(30):
        await refused(world, asked, {})
    with pytest.raises(TooManyRequestsError):
        await finish(world, asked, {})
