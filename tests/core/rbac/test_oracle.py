# SPDX-License-Identifier: Apache-2.0
"""The evaluator against a second implementation that was written from the contract's section 4 and from nothing else.

It is slow and simple on purpose: it reads role documents as they are written, sentence by sentence. Threats E15, T14.
"""

import random
import re

from hypothesis import given
from hypothesis import strategies as st

from mezite.core.rbac.app_grants import AppGrants
from mezite.core.rbac.changes import apply_changes, find_flip
from mezite.core.rbac.evaluator import AppRequest, NodeGrants, NodeRequest, evaluate
from mezite.core.rbac.label_matcher import LabelSelector
from mezite.core.rbac.roles import Conditions, Role

CASES = 100_000
"""Decisions; each round asks about a node and about an application with the same labels."""
KEYS = ("env", "team", "zone")
VALUES = ("prod", "dev", "Prod", "eng-1", "eng-2", "", "*x")
PATTERNS = ("^eng-.*$", "^p.*d$", "^(dev|prod)$", "^$", "^.*$", "^eng-[0-9]|dev$")
NAMES = ("root", "ubuntu", "alice", "bob", "dev-alice")
TEMPLATES = (
    "{{internal.logins}}",
    "{{ internal.logins }}",
    "dev-{{internal.name}}",
    "{{external.username}}",
    "{{external.missing}}",
)


# --- the contract, sentence by sentence -------------------------------------------------------------------------


def value_matches(wanted, value):
    if wanted == "*":
        return True
    if wanted.startswith("^") and wanted.endswith("$"):
        return re.fullmatch(wanted[1:-1], value, re.DOTALL) is not None
    return wanted == value


def selects(selector, labels):
    """Keys are AND, a list is OR, the key must exist; an empty or missing selector matches nothing."""
    if not selector:
        return False
    for key, wanted in selector.items():
        if key == "*" and wanted in ("*", ["*"]):
            continue
        if key not in labels:
            return False
        listed = wanted if isinstance(wanted, list) else [wanted]
        if not [one for one in listed if value_matches(one, labels[key])]:
            return False
    return True


def logins_of(entries, traits, claims):
    """A list trait expands; a missing trait removes the entry."""
    found = set()
    for entry in entries:
        if "{{" not in entry:
            found.add(entry)
            continue
        before, rest = entry.split("{{")
        inside, after = rest.split("}}")
        source, name = inside.strip().split(".")
        for value in {"internal": traits, "external": claims}[source].get(name, ()):
            found.add(before + value + after)
    return found


def contract(roles, kind, labels, login, traits, claims):
    """The names of the roles that grant access; none of them when a role denies it."""
    granting = []
    for role in roles:
        if selects(role["deny"].get(kind), labels):
            return []
        if kind == "node_labels":
            denied = logins_of(role["deny"].get("logins", []), traits, claims)
            if login in denied or "*" in denied:
                return []
        if selects(role["allow"].get(kind), labels) and (
            kind == "app_labels" or login in logins_of(role["allow"].get("logins", []), traits, claims)
        ):
            granting.append(role["name"])
    return granting


# --- random cases -----------------------------------------------------------------------------------------------


def random_selector(rng, empty):
    if rng.random() < empty:
        return {}
    if rng.random() < 0.2:
        return {"*": rng.choice(["*", ["*"]])}
    selector = {}
    for key in rng.sample(KEYS, rng.choice([1, 1, 2, 3])):
        values = [rng.choice([*VALUES, *PATTERNS, "*"]) for _ in range(rng.choice([1, 1, 2, 3]))]
        selector[key] = values[0] if len(values) == 1 and rng.random() < 0.5 else values
    return selector


def random_side(rng, empty, logins):
    side = {}
    for kind in ("node_labels", "app_labels"):
        if rng.random() < 0.9:
            side[kind] = random_selector(rng, empty)
    if rng.random() < 0.9:
        side["logins"] = [rng.choice(logins) for _ in range(rng.choice([0, 1, 1, 2, 4]))]
    return side


def random_role(rng, number):
    deny_logins = (
        [*NAMES, *TEMPLATES, "*"] if rng.random() < 0.2 else ["bob", "dev-alice", "{{external.missing}}"]
    )
    return {
        "name": f"role-{number}",
        "allow": random_side(rng, 0.1, [*NAMES, *TEMPLATES]),
        "deny": random_side(rng, 0.75, deny_logins),
    }


def built(document):
    return Role(name=document["name"], allow=conditions(document["allow"]), deny=conditions(document["deny"]))


def conditions(side):
    selectors = {
        kind: LabelSelector.parse(side[kind]) for kind in ("node_labels", "app_labels") if kind in side
    }
    return Conditions(**selectors, logins=tuple(side.get("logins", ())))


def random_names(rng):
    return tuple(rng.sample(NAMES, rng.choice([0, 1, 2])))


def random_case(rng, pool):
    chosen = rng.sample(pool, rng.choice([0, 1, 1, 1, 2, 2, 3]))
    labels = {key: rng.choice(VALUES) for key in KEYS if rng.random() < 0.8}
    traits = {"logins": random_names(rng), "name": ("alice",)} if rng.random() < 0.8 else {}
    claims = {"username": random_names(rng)} if rng.random() < 0.5 else {}
    return chosen, labels, rng.choice(NAMES), traits, claims


def compare(chosen, labels, login, traits, claims):
    documents, roles = [document for document, _ in chosen], [role for _, role in chosen]
    expected = contract(documents, "node_labels", labels, login, traits, claims)
    request = NodeRequest(labels=labels, login=login, traits=traits, claims=claims)
    decision = evaluate(roles, request)
    assert (decision.allowed, list(decision.granting_roles)) == (bool(expected), expected)
    app = evaluate(roles, AppRequest(labels=labels))
    wanted = contract(documents, "app_labels", labels, None, traits, claims)
    assert (app.allowed, list(app.granting_roles)) == (bool(wanted), wanted)
    assert AppGrants(roles).decide(labels) == app
    return decision.effect, app.effect


def compare_listing(chosen, labels, login, traits, claims):
    """The list of logins on a node, and of logins anywhere, are about the same question."""
    documents, roles = [document for document, _ in chosen], [role for _, role in chosen]
    grants = NodeGrants(roles, traits, claims)
    expected = {name for name in NAMES if contract(documents, "node_labels", labels, name, traits, claims)}
    assert grants.logins(labels) & set(NAMES) == expected
    assert grants.logins(labels) <= grants.everywhere()


def test_a_hundred_thousand_cases():
    """Seeded and fast; every kind of answer must be among them often, or the generator proves nothing."""
    rng = random.Random(20261123)
    pool = [(document, built(document)) for document in (random_role(rng, n) for n in range(600))]
    seen = {}
    for number in range(CASES // 2):
        case = random_case(rng, pool)
        try:
            node, app = compare(*case)
            if number % 10 == 0:
                compare_listing(*case)
        except AssertionError:
            documents = [document for document, _ in case[0]]
            raise AssertionError(f"case {number}: {documents} {case[1:]}") from None
        seen[node] = seen.get(node, 0) + 1
        seen[app] = seen.get(app, 0) + 1
    assert len(seen) == 5
    assert min(seen.values()) > CASES // 50, seen


@given(st.integers(0, 2**32), st.integers(0, 5), st.data())
def test_small_cases_that_shrink(seed, count, data):
    """The same, by Hypothesis: what fails here fails in a readable size."""
    rng = random.Random(seed)
    documents = [random_role(rng, number) for number in range(count)]
    labels = data.draw(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES)))
    traits = data.draw(
        st.dictionaries(st.sampled_from(["logins", "name"]), st.sampled_from([("alice",), ()]))
    )
    login = data.draw(st.sampled_from(NAMES))
    chosen = [(document, built(document)) for document in documents]
    compare(chosen, labels, login, traits, {})
    compare_listing(chosen, labels, login, traits, {})


def test_what_would_flip_flips_by_the_contract_too():
    """Every answer to "what would flip it" is applied; all of it is needed and enough."""
    rng = random.Random(4)
    pool = [(document, built(document)) for document in (random_role(rng, n) for n in range(200))]
    for _ in range(1_000):
        chosen, labels, login, traits, claims = random_case(rng, pool)
        roles = [role for _, role in chosen]
        for request in (
            NodeRequest(labels=labels, login=login, traits=traits, claims=claims),
            AppRequest(labels=labels),
        ):
            before, changes = evaluate(roles, request).allowed, find_flip(roles, request)
            assert changes
            assert evaluate(*apply_changes(changes, roles, request)).allowed is not before
            for left_out in changes:
                fewer = [change for change in changes if change != left_out]
                assert evaluate(*apply_changes(fewer, roles, request)).allowed is before
