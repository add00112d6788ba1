# SPDX-License-Identifier: Apache-2.0
"""What a label selector matches: keys are AND, values of a key are OR, ``*`` is any value of a key that
exists.

``{"*": "*"}`` matches everything, also what has no labels. An empty selector matches nothing. Nothing is
folded or trimmed. Regular expressions (``^…$``) are refused until they can be run in linear time (threat
P10).
"""

from collections.abc import Mapping, Sequence

import attrs

__all__ = ["NOTHING", "InvalidSelectorError", "LabelSelector"]

ANY = "*"

MAX_KEYS = 64
"""As many as a resource has labels."""

MAX_VALUES = 256
"""Each is compared on each decision."""


class InvalidSelectorError(ValueError):
    """A selector is not one; the message names the key and the rule."""


@attrs.frozen
class LabelSelector:
    """A selector, checked when it is made by ``parse``; the bare constructor gives the one that matches
    nothing.
    """

    values_by_key: Mapping[str, frozenset[str]] = attrs.field(factory=dict)

    @classmethod
    def parse(cls, selector: Mapping[str, str | Sequence[str]]) -> "LabelSelector":
        """A selector from its form in a role document: a value or a list of values for each key.

        Raises InvalidSelectorError: a key without values, a key ``*`` with other values than ``*``, a regular
        expression, or too many keys or values.
        """
        if len(selector) > MAX_KEYS:
            raise InvalidSelectorError(f"{len(selector)} label keys are more than the {MAX_KEYS} allowed")
        return cls({key: parse_values(key, values) for key, values in selector.items()})

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a resource with ``labels`` is selected."""
        if not self.values_by_key:
            return False
        return all(key_matches(key, values, labels) for key, values in self.values_by_key.items())


NOTHING = LabelSelector()
"""The empty selector."""


def parse_values(key: str, values: str | Sequence[str]) -> frozenset[str]:
    listed = frozenset([values] if isinstance(values, str) else values)
    if not key or not listed:
        raise InvalidSelectorError(f"label key {key!r} or its list of values is empty")
    if len(listed) > MAX_VALUES:
        raise InvalidSelectorError(f"label {key!r} lists {len(listed)} values; {MAX_VALUES} are allowed")
    for value in listed:
        if value.startswith("^") or value.endswith("$"):
            raise InvalidSelectorError(
                f"value {value!r} of label {key!r} is a regular expression, not supported yet: list values"
            )
    if key == ANY and listed != {ANY}:
        raise InvalidSelectorError(f"label key '*' goes with the value '*' only, not with {sorted(listed)}")
    return listed


def key_matches(key: str, values: frozenset[str], labels: Mapping[str, str]) -> bool:
    if key == ANY:
        return True
    return key in labels and (ANY in values or labels[key] in values)
