# SPDX-License-Identifier: Apache-2.0
"""Who holds a rotation up, for how long, and how that is said (threat F5)."""

import pytest

from mezite.core.rotation import AuthorityState, KeyFacts, Policy
from mezite.core.trust_readiness import (
    HUB_GONE_MS,
    LONGEST_IDENTITY_MS,
    MOST_NAMED,
    Lagging,
    Trustee,
    assess,
)

NOW = 1_800_000_000_000
HOUR = 3_600_000
KEY = KeyFacts(key_id="new", state=AuthorityState.NEXT, created_at=NOW - HOUR, requested=True)
AGENTS = Policy(signs_for_ms=1, agents_trust=True)
HUB = Trustee(name="hub-1", key_ids=frozenset({"new"}), online=True, last_seen=NOW)


def agent(name, *key_ids, online=True, ago=0):
    return Trustee(name=name, key_ids=frozenset(key_ids), online=online, last_seen=NOW - ago)


def readiness(*agents, policy=AGENTS, key=KEY, hubs=(HUB,)):
    return assess(key, policy, agents=agents, hubs=hubs, now=NOW)


def test_all_have_seen_it():
    found = readiness(agent("a", "new", "old"), agent("b", "new", online=False, ago=HOUR))
    assert found.is_ready
    assert found.latest == NOW
    assert found.sentences() == ["2 of 2 agents have seen the new key", "1 of 1 hub has seen the new key"]


def test_the_report_names_who_has_not():
    ready = [agent(f"node-{number:02}", "new") for number in range(37)]
    late = [agent("db-2", "old"), agent("db-1", online=False, ago=2 * HOUR), agent("db-3", "ne")]
    found = readiness(*ready, *late)
    assert not found.is_ready
    assert found.agents_waiting == (
        Lagging(
            name="db-1",
            online=False,
            last_seen=NOW - 2 * HOUR,
            until=NOW - 2 * HOUR + LONGEST_IDENTITY_MS,
        ),
        Lagging(name="db-2", online=True, last_seen=NOW, until=NOW + LONGEST_IDENTITY_MS),
        Lagging(name="db-3", online=True, last_seen=NOW, until=NOW + LONGEST_IDENTITY_MS),
    )
    assert found.sentences()[0] == (
        "37 of 40 agents have seen the new key; these 3 have not: "
        "db-1 (offline since 2027-01-15T06:00:00Z), db-2 (online), db-3 (online)"
    )
    # Those who are online answer at once; the others come back, or cannot any more.
    assert found.latest == NOW - 2 * HOUR + LONGEST_IDENTITY_MS


def test_one_of_one():
    assert readiness(agent("a")).sentences()[0] == (
        "0 of 1 agent has seen the new key; this one has not: a (online)"
    )


def test_many_names_are_cut():
    found = readiness(*(agent(f"n{number:02}") for number in range(MOST_NAMED + 2)))
    assert found.sentences()[0].endswith("n09 (online), and 2 more")
    exactly = readiness(*(agent(f"n{number:02}") for number in range(MOST_NAMED)))
    assert exactly.sentences()[0].endswith("n09 (online)")


@pytest.mark.parametrize(("ago", "counts"), [(LONGEST_IDENTITY_MS - 1, True), (LONGEST_IDENTITY_MS, False)])
def test_an_agent_whose_identity_has_run_out_holds_nothing_up(ago, counts):
    found = readiness(agent("old", online=False, ago=ago), agent("a", "new"))
    assert found.is_ready is not counts
    assert found.agents == 1 + counts


def test_an_agent_that_is_online_counts_whenever_it_was_seen():
    assert not readiness(agent("a", ago=LONGEST_IDENTITY_MS * 2)).is_ready


@pytest.mark.parametrize(("ago", "counts"), [(HUB_GONE_MS - 1, True), (HUB_GONE_MS, False)])
def test_a_hub_that_is_gone_reads_all_keys_when_it_starts(ago, counts):
    other = Trustee(name="hub-2", key_ids=frozenset(), online=False, last_seen=NOW - ago)
    found = readiness(hubs=(HUB, other))
    assert found.is_ready is not counts
    if counts:
        assert found.latest == NOW - ago + HUB_GONE_MS


def test_agents_do_not_matter_where_they_do_not_check():
    found = readiness(agent("a"), policy=Policy(signs_for_ms=1))
    assert found.is_ready
    assert found.sentences() == ["1 of 1 hub has seen the new key"]


@pytest.mark.parametrize(("lead", "is_ready"), [(HOUR, True), (HOUR + 1, False)])
def test_those_who_do_not_say_so_get_time(lead, is_ready):
    found = readiness(policy=Policy(signs_for_ms=1, lead_ms=lead))
    assert found.is_ready is is_ready
    assert found.not_before == KEY.created_at + lead
    assert found.latest == max(NOW, found.not_before)
    if not is_ready:
        assert found.sentences()[-1] == (
            "clients that learned of the keys before may be in use until 2027-01-15T08:00:00Z"
        )


def test_before_a_key_is_published_those_who_are_online_will_see_it():
    policy = Policy(signs_for_ms=1, agents_trust=True, lead_ms=HOUR)
    found = readiness(agent("a"), agent("b", online=False, ago=HOUR), key=None, policy=policy)
    assert [one.name for one in found.agents_waiting] == ["b"]
    assert found.not_before == NOW + HOUR
    assert found.latest == NOW - HOUR + LONGEST_IDENTITY_MS
