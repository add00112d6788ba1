# SPDX-License-Identifier: Apache-2.0
"""Ask the hub's own access rules without a hub: who may log in where, why, and what would change the answer."""

from mezite import NodeRequest, evaluate, find_flip, flip_text, parse_role

DEVELOPER = parse_role(
    {
        "kind": "role",
        "version": "v1",
        "metadata": {"name": "developer"},
        "spec": {
            "allow": {
                "node_labels": {"env": ["staging", "development"], "team": "^eng-.*$"},
                "logins": ["ubuntu", "{{internal.logins}}"],
            },
            "deny": {"logins": ["root"]},
        },
    }
)
ALICE = {"logins": ("alice",)}


def main() -> None:
    """Decide four requests."""
    for login, labels in (
        ("alice", {"env": "staging", "team": "eng-web"}),
        ("root", {"env": "staging", "team": "eng-web"}),
        ("deploy", {"env": "staging", "team": "eng-web"}),
        ("alice", {"env": "production", "team": "eng-web"}),
    ):
        request = NodeRequest(labels=labels, login=login, traits=ALICE)
        decision = evaluate([DEVELOPER], request)
        answer = "yes" if decision.allowed else "no"
        print(f"{login} on {labels['env']}: {answer}, {decision.reason}")
        print(f"  to flip it: {flip_text(find_flip([DEVELOPER], request))}")


if __name__ == "__main__":
    main()
