# SPDX-License-Identifier: Apache-2.0
"""Who may ask for what, who may say yes, and what it is worth for how long. The clock is the test's."""

import json
import logging

import attrs
import pytest
import trio
import trio.testing

from mezite.core.access_request import RequestState
from mezite.core.rbac.label_matcher import LabelSelector
from mezite.core.rbac.role_document import role_document
from mezite.core.rbac.role_options import RoleOptions
from mezite.core.rbac.roles import Conditions, Role
from mezite.services.access.authorization import AccessContext, Resource, authorize
from mezite.services.access.live_access import LiveEntry, LiveKind
from mezite.services.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    TooManyRequestsError,
    UnauthenticatedError,
)
from mezite.services.requests.access_requests import MAX_A_DAY, MAX_AT_ONCE, MAX_LIVE, SWEEP_SECONDS
from mezite.services.requests.request_parts import NewRequest
from tests.services.test_audit_log import break_database
from tests.services.world import CLIENT, HOUR, MINUTE, START

PROD = {"env": "prod"}
PEOPLE = {
    "alice": ("developer",),
    "bob": ("reviewer",),
    "carol": ("reviewer", "developer"),
    "root": ("admin",),
    "eve": ("access",),
}


def role(name, *, ttl=4 * 3600, approvals=1, **allow):
    options = RoleOptions(max_session_ttl=ttl, request_approvals=approvals)
    return Role(name=name, options=options, allow=Conditions(**allow))


ROLES = (
    role("ssh-prod", node_labels=LabelSelector.parse(PROD), logins=("{{internal.logins}}",)),
    role("ssh-root", node_labels=LabelSelector.parse(PROD), logins=("root",), ttl=1800, approvals=2),
    role(
        "developer",
        request_roles=("^ssh-.*$",),
        request_resources={"nodes": ("db-1",)},
        logins=("postgres",),
        ttl=2 * 3600,
    ),
    role("idle", request_resources={"nodes": ("db-2",)}),
    role("reviewer", review_roles=("ssh-prod", "ssh-root", "developer")),
    role("ssh-reviewer", review_roles=("*",), request_roles=("*",)),
)


@attrs.define(eq=False)
class Office:
    """The world with people who ask and people who say yes."""

    world: object
    people: dict

    async def ask(self, who="alice", **fields):
        wanted = {"reason": "incident 4711", **fields}
        if not {"roles", "nodes", "extends"} & fields.keys():
            wanted["roles"] = ("ssh-prod",)
        return await self.world.requests.create(self.people[who], NewRequest(**wanted), client_address=CLIENT)

    async def review(self, who, view, *, approve=True, reason="because"):
        return await self.world.requests.review(
            self.people[who], view.row.request_id, approve=approve, reason=reason, client_address=CLIENT
        )

    async def withdraw(self, who, view, reason=""):
        return await self.world.requests.withdraw(
            self.people[who], view.row.request_id, reason=reason, client_address=CLIENT
        )

    async def approved(self, by="bob", **fields):
        return await self.review(by, await self.ask(**fields))

    async def assume(self, *views, who="alice"):
        return await self.world.requests.assume(self.people[who], [view.row.request_id for view in views])

    async def certified(self, *views, ttl_seconds=0):
        """What is issued for approved requests, and who shows it."""
        issued = await self.world.issue(await self.assume(*views), ttl_seconds)
        return issued, await self.world.by_certificate(issued)

    async def put(self, changed):
        document = json.dumps(role_document(changed))
        await self.world.roles.put(document, by="root", client_address=CLIENT)

    def turn(self, milliseconds):
        self.world.clock.now += milliseconds

    async def events(self):
        told = [event for event in await self.world.events() if event["event_type"].startswith("access_req")]
        return [event["event_type"].partition(".")[2] for event in told]


@pytest.fixture
async def office(world):
    office = Office(world, {})
    for each in ROLES:
        await office.put(each)
    for name, roles in PEOPLE.items():
        office.people[name] = await world.user(name, roles)
    return office


def logins(identity, name="web-1", labels=PROD):
    context = AccessContext(client_address=CLIENT, decision_id="d")
    resource = Resource(kind="node", name=name, labels=labels)
    return authorize(identity, "nodes.connect", resource, context).logins


async def test_the_whole_way(office):
    view = await office.ask(ttl_seconds=3600)
    assert (view.state, view.row.reason) == (RequestState.PENDING, "incident 4711")
    assert logins(office.people["alice"]) == ()
    with pytest.raises(InvalidRequestError, match="not an approved one of yours"):
        await office.assume(view)
    office.turn(10 * MINUTE)
    approved = await office.review("bob", view)
    assert approved.state is RequestState.APPROVED
    # The clock starts at the approval.
    assert approved.row.ends_at == START + 70 * MINUTE
    assert [(each.reviewer, each.approves) for each in approved.reviews] == [("bob", True)]
    issued, identity = await office.certified(view)
    assert identity.roles == issued.roles == ("developer", "ssh-prod")
    assert issued.logins == ("ubuntu",)
    assert issued.certificates.expires_at == approved.row.ends_at
    assert logins(identity) == ("ubuntu",)
    by_ssh = await office.world.by_ssh_certificate(issued)
    assert logins(by_ssh) == ("ubuntu",)
    # Certificates without the request are what they were.
    assert logins(await office.world.by_certificate(await office.world.issue(office.people["alice"]))) == ()
    assert await office.events() == ["created", "approved"]
    (told,) = await office.world.events("access_request.approved")
    assert told["user_name"] == "bob"
    assert (told["requester"], told["roles"], told["reason"]) == ("alice", ["ssh-prod"], "incident 4711")
    told = [event["request_ids"] for event in await office.world.events("user.cert.issued")]
    assert told == [[view.row.request_id], []]


async def test_time_ends_it(office):
    view = await office.approved(ttl_seconds=3600)
    issued, _ = await office.certified(view)
    # What is issued for the certificate is for the request too, and no longer (E9).
    again = await office.world.issue(await office.world.by_certificate(issued))
    assert again.certificates.expires_at == view.row.ends_at
    assert logins(await office.world.by_certificate(again)) == ("ubuntu",)
    office.turn(HOUR - 59_000)
    with pytest.raises(UnauthenticatedError, match="about to expire"):
        await office.world.issue(await office.assume(view))
    office.turn(59_000)
    assert (await office.world.requests.get(office.people["alice"], view.row.request_id)).state == "expired"
    with pytest.raises(InvalidRequestError):
        await office.assume(view)
    assert await office.world.requests.expire_due() == 1
    assert await office.world.requests.expire_due() == 0
    assert (await office.events())[-1] == "expired"


async def test_nobody_decided_in_time(office):
    view = await office.ask()
    office.turn(24 * HOUR)
    with pytest.raises(ConflictError, match="not pending any more"):
        await office.review("bob", view)
    assert await office.world.requests.expire_due() == 1


async def test_revoking_counts_at_once(office):
    """The certificate is good for what it was good for before the request (E14)."""
    view = await office.approved()
    issued, identity = await office.certified(view)
    assert logins(identity) == ("ubuntu",)
    ended = await office.withdraw("bob", view, "enough")
    assert (ended.state, ended.row.closed_by, ended.row.closing_reason) == ("revoked", "bob", "enough")
    identity = await office.world.by_certificate(issued)
    assert logins(identity) == ()
    assert identity.roles == ("developer",)
    with pytest.raises(ConflictError, match="revoked already"):
        await office.withdraw("alice", view)


@pytest.mark.parametrize(("approve", "state"), [(False, "cancelled"), (True, "revoked")])
async def test_dropping_ones_own(office, approve, state):
    view = await office.approved() if approve else await office.ask()
    assert (await office.withdraw("alice", view)).state == state
    assert (await office.events())[-1] == state


async def test_denying_needs_a_reason(office):
    view = await office.ask()
    with pytest.raises(InvalidRequestError, match="a reason is needed"):
        await office.review("bob", view, approve=False, reason=" ")
    denied = await office.review("bob", view, approve=False, reason="ask ops")
    assert (denied.state, denied.row.closing_reason, denied.row.closed_by) == ("denied", "ask ops", "bob")
    with pytest.raises(ConflictError):
        await office.review("root", view)
    assert await office.events() == ["created", "denied"]


async def test_nobody_reviews_their_own_request_e18(office):
    for who in ("carol", "root"):
        if who == "root":
            await office.world.accounts.update("root", roles=("admin", "developer"), traits=None, by="root")
            office.people["root"] = await office.world.session("root")
        view = await office.ask(who)
        with pytest.raises(AccessDeniedError, match="nobody reviews a request of their own"):
            await office.review(who, view)
        assert (await office.world.events("authz.denied"))[-1]["verb"] == "requests.review"
        assert (await office.withdraw(who, view)).state == "cancelled"


async def test_who_may_not_review_does_not_know_of_it(office):
    view = await office.ask()
    for who in ("eve", "alice"):
        listed = await office.world.requests.list_requests(office.people[who])
        assert [each.row.request_id for each in listed] == ([view.row.request_id] if who == "alice" else [])
    for attempt in (office.review("eve", view), office.withdraw("eve", view)):
        with pytest.raises(NotFoundError, match="not found, or not yours to see"):
            await attempt
    with pytest.raises(NotFoundError, match="no such access request"):
        await office.world.requests.get(office.people["root"], "../etc")
    for who in ("bob", "root"):
        assert len(await office.world.requests.list_requests(office.people[who])) == 1
    wanted = {"state": RequestState.DENIED}
    assert await office.world.requests.list_requests(office.people["bob"], **wanted) == []


async def test_what_was_granted_grants_no_asking_and_no_reviewing_e18(office):
    """A reviewer's role, got by a request, makes no reviewer; nor does a requester's role make one ask for more."""
    view = await office.approved("root", roles=("ssh-reviewer",))
    _, identity = await office.certified(view)
    assert "ssh-reviewer" in identity.roles
    other = await office.ask("carol")
    with pytest.raises(NotFoundError):
        await office.world.requests.review(
            identity, other.row.request_id, approve=True, reason="", client_address=CLIENT
        )
    with pytest.raises(AccessDeniedError, match="request_roles"):
        await office.world.requests.create(
            identity, NewRequest(roles=("admin",), reason="r"), client_address=CLIENT
        )


async def test_two_reviewers(office):
    view = await office.ask(roles=("ssh-root", "ssh-prod"))
    first = await office.review("bob", view)
    assert first.state is RequestState.PENDING
    with pytest.raises(ConflictError, match="already: one review counts"):
        await office.review("bob", view)
    assert (await office.review("carol", view)).state is RequestState.APPROVED
    assert await office.events() == ["created", "reviewed", "approved"]
    # The strictest of what is asked for.
    assert first.row.ttl_seconds == 1800


async def test_reviewers_at_once_count_once_each_e10(office):
    """Fifty approvals by two reviewers: each is counted once, and it is approved once."""
    view = await office.ask(roles=("ssh-root",))
    results = []

    async def approve(who):
        try:
            results.append((await office.review(who, view)).state)
        except ConflictError:
            results.append(None)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(approve, ("bob", "carol")[number % 2])
    assert len([state for state in results if state is not None]) == 2
    events = await office.events()
    assert events == ["created", "reviewed", "approved"]


async def test_a_threshold_of_now_counts(office):
    """An administrator who asks for a second reviewer means the requests under way too."""
    view = await office.ask()
    await office.put(attrs.evolve(ROLES[0], options=RoleOptions(request_approvals=2)))
    assert (await office.review("bob", view)).state is RequestState.PENDING


async def test_a_named_node(office):
    view = await office.ask(nodes=("db-1",), ttl_seconds=600)
    assert (await office.review("bob", view)).state is RequestState.APPROVED
    issued, identity = await office.certified(view)
    assert issued.logins == ("postgres",)
    assert logins(identity, "db-1", {"env": "prod"}) == ("postgres",)
    assert logins(identity, "db-2", {"env": "prod"}) == ()
    by_ssh = await office.world.by_ssh_certificate(issued)
    assert logins(by_ssh, "db-1", {}) == ("postgres",)
    context = AccessContext(client_address=CLIENT, decision_id="d", login="postgres")
    on_node = Resource(kind="node", name="db-1", labels=PROD)
    assert authorize(by_ssh, "nodes.connect", on_node, context).allowed
    elsewhere = Resource(kind="node", name="db-2", labels=PROD)
    assert not authorize(by_ssh, "nodes.connect", elsewhere, context).allowed


async def test_who_may_not_ask_any_more_has_nothing(office):
    """Roles are asked about at each use (E6)."""
    view = await office.approved(roles=("ssh-prod",), nodes=("db-1",))
    issued, _ = await office.certified(view)
    await office.world.accounts.update("alice", roles=("access",), traits={}, by="root")
    identity = await office.world.by_certificate(issued)
    assert identity.roles == ("access",)
    assert identity.requested.nodes == frozenset()


async def test_another_users_request_is_worth_nothing(office):
    view = await office.approved()
    with pytest.raises(InvalidRequestError, match="not an approved one of yours"):
        await office.assume(view, who="carol")


async def test_extending(office):
    view = await office.approved(ttl_seconds=3600)
    office.turn(30 * MINUTE)
    longer = await office.ask(extends=view.row.request_id, ttl_seconds=1800, reason="not done yet")
    assert (longer.row.roles, longer.row.extends) == (("ssh-prod",), view.row.request_id)
    approved = await office.review("bob", longer)
    assert approved.row.ends_at == view.row.ends_at + 30 * MINUTE
    # When it comes too late the time starts now.
    late = await office.ask(extends=view.row.request_id, ttl_seconds=1800)
    office.turn(2 * HOUR)
    approved = await office.review("bob", late)
    assert approved.row.ends_at == office.world.clock.now + 30 * MINUTE
    with pytest.raises(NotFoundError, match="not an approved one of yours"):
        await office.ask(extends=view.row.request_id)
    with pytest.raises(InvalidRequestError, match="name no roles and nodes"):
        await office.ask(extends=late.row.request_id, roles=("ssh-root",))
    with pytest.raises(NotFoundError):
        await office.ask("carol", extends=late.row.request_id)


@pytest.mark.parametrize(
    ("fields", "error", "why"),
    [
        ({"roles": ()}, InvalidRequestError, "at least one"),
        ({"roles": ("a",) * 17}, InvalidRequestError, "at most 16"),
        ({"roles": ("A b",)}, InvalidRequestError, "role name"),
        ({"nodes": ("*",)}, InvalidRequestError, "node name"),
        ({"roles": ("ssh-prod", "ssh-prod")}, InvalidRequestError, "twice"),
        ({"roles": ("admin",)}, AccessDeniedError, "request_roles"),
        ({"nodes": ("db-2",)}, AccessDeniedError, "request_resources"),
        ({"roles": ("ssh-nowhere",)}, InvalidRequestError, "does not exist"),
        ({"reason": "  "}, InvalidRequestError, "a reason is needed"),
        ({"reason": "x" * 1025}, InvalidRequestError, "at most 1024"),
        ({"reason": "two\nlines"}, InvalidRequestError, "one line"),
        ({"ttl_seconds": 59}, InvalidRequestError, "at least 1m and at most 4h"),
        ({"ttl_seconds": -1}, InvalidRequestError, "at least 1m"),
        ({"ttl_seconds": 4 * 3600 + 1}, InvalidRequestError, "at most 4h"),
        ({"roles": ("ssh-prod",), "nodes": ("db-1",), "ttl_seconds": 7201}, InvalidRequestError, "most 2h"),
    ],
)
async def test_what_cannot_be_asked_for(office, fields, error, why):
    with pytest.raises(error, match=why):
        await office.ask(**fields)
    assert await office.events() == []


async def test_what_one_has_or_could_not_use(office):
    await office.world.accounts.update("eve", roles=("ssh-prod", "developer", "idle"), traits={}, by="root")
    office.people["eve"] = await office.world.session("eve")
    with pytest.raises(InvalidRequestError, match="you have the role ssh-prod already"):
        await office.ask("eve")
    with pytest.raises(InvalidRequestError, match="add logins to idle"):
        await office.ask("eve", nodes=("db-2",))


async def test_limits(office):
    for _ in range(MAX_LIVE):
        view = await office.ask()
    with pytest.raises(TooManyRequestsError, match="drop one"):
        await office.ask()
    await office.withdraw("alice", view)
    await office.ask()
    with pytest.raises(InvalidRequestError, match="at most 16"):
        await office.world.requests.assume(office.people["alice"], map(str, range(MAX_AT_ONCE + 1)))
    assert await office.world.requests.assume(office.people["alice"], []) is office.people["alice"]


async def test_asking_and_dropping_has_an_end(office, monkeypatch):
    """It leaves nothing pending, but rows (threat D15)."""
    assert MAX_A_DAY == 100
    monkeypatch.setattr("mezite.services.requests.access_requests.MAX_A_DAY", 5)
    for _ in range(5):
        office.turn(1)
        await office.withdraw("alice", await office.ask())
    with pytest.raises(TooManyRequestsError, match="ask again tomorrow"):
        await office.ask()
    office.turn(24 * HOUR - 4)
    await office.ask()


async def test_nobody_buries_what_others_wait_for(office, monkeypatch):
    monkeypatch.setattr("mezite.services.requests.request_views.MAX_LISTED", 3)
    office.turn(1)
    wanted = await office.ask("carol")
    for _ in range(5):
        office.turn(1)
        await office.withdraw("alice", await office.ask())
    listed = await office.world.requests.list_requests(office.people["bob"])
    assert wanted.row.request_id in [view.row.request_id for view in listed]
    assert len(listed) == 4


async def test_what_is_taken_back_takes_its_extension_along(office):
    """Threat E14: whoever revokes access that was extended means all of it."""
    view = await office.approved(ttl_seconds=3600)
    longer = await office.review("bob", await office.ask(extends=view.row.request_id))
    longest = await office.review("bob", await office.ask(extends=longer.row.request_id))
    wanted = await office.ask(extends=longest.row.request_id)
    other = await office.approved()
    await office.withdraw("bob", view, "enough")
    for each in (longer, longest):
        with pytest.raises(InvalidRequestError, match="not an approved one of yours"):
            await office.assume(each)
    states = {
        one.row.request_id: one.state
        for one in await office.world.requests.list_requests(office.people["alice"])
    }
    assert states[wanted.row.request_id] is RequestState.CANCELLED
    assert states[other.row.request_id] is RequestState.APPROVED
    told = await office.events()
    assert (told.count("revoked"), told.count("cancelled")) == (3, 1)


async def test_a_deleted_users_requests_are_gone(office):
    view = await office.approved()
    await office.world.accounts.delete("alice", by=office.people["root"], client_address=CLIENT)
    await office.world.user("alice", ("developer",))
    office.people["alice"] = await office.world.session("alice")
    with pytest.raises(InvalidRequestError):
        await office.assume(view)


async def test_a_deleted_role_is_for_administrators_to_review(office):
    view = await office.ask()
    await office.world.roles.delete("ssh-prod", by="root", client_address=CLIENT)
    with pytest.raises(NotFoundError):
        await office.review("bob", view)
    assert (await office.review("root", view)).state is RequestState.APPROVED
    assert (await office.assume(view)).requested.definitions == ()


async def test_listeners_hear_of_each_change(office):
    heard = []

    async def listen(row, event):
        heard.append((row.state.value, event.type_name))

    office.world.requests.on_change(listen)
    await office.withdraw("alice", await office.approved())
    assert heard == [
        ("pending", "access_request.created"),
        ("approved", "access_request.approved"),
        ("revoked", "access_request.revoked"),
    ]


class Noticing(logging.Handler):
    """Sets an event when something is logged."""

    def __init__(self):
        super().__init__()
        self.noticed = trio.Event()

    def emit(self, record):
        if record.getMessage() == "cannot close what has run out":
            self.noticed.set()


async def test_the_sweep_survives_a_database_that_is_away(office, mock_clock):
    await break_database(office.world, "DROP TABLE access_requests")
    handler = Noticing()
    logger = logging.getLogger("mezite.requests")
    logger.addHandler(handler)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(office.world.requests.run)
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(SWEEP_SECONDS)
            await handler.noticed.wait()
            nursery.cancel_scope.cancel()
    finally:
        logger.removeHandler(handler)


async def test_the_sweep_goes_on(office, mock_clock):
    expired = trio.Event()

    async def listen(row, event):
        if row.state is RequestState.EXPIRED:
            expired.set()

    await office.ask()
    office.turn(24 * HOUR)
    office.world.requests.on_change(listen)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(office.world.requests.run)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(SWEEP_SECONDS)
        await expired.wait()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["revoked", "over"])
async def test_what_runs_on_granted_access_ends_with_it(office, how):
    """Threat E14: by the same way as a lock."""
    world = office.world
    view = await office.approved(ttl_seconds=3600)
    _issued, identity = await office.certified(view)
    entry = LiveEntry(
        kind=LiveKind.SSH,
        identity=identity,
        verb="nodes.connect",
        resource=Resource(kind="node", name="web-1", labels=PROD),
        context=world.authenticator.context(CLIENT),
    )
    with world.live.hold(entry):
        await world.watch.look()
        assert entry.reason == ""
        if how == "revoked":
            await office.withdraw("bob", view)
        else:
            office.turn(HOUR + 1)
        await world.watch.look()
        await trio.sleep_forever()
    assert "no role" in entry.reason
