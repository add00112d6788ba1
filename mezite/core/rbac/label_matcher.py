# SPDX-License-Identifier: Apache-2.0
"""What a label selector matches: keys are AND, values of a key are OR, ``*`` is any value of a key that
exists, ``^…$`` is a regular expression.

``{"*": "*"}`` matches everything, also what has no labels. An empty selector matches nothing. Nothing is
folded or trimmed.
"""

from collections.abc import Mapping, Sequence

import attrs

from mezite.core.rbac.value_pattern import InvalidPatternError, ValuePattern, is_pattern

__all__ = ["NOTHING", "InvalidSelectorError", "LabelSelector", "ValueCondition"]

ANY = "*"

MAX_KEYS = 64
"""As many as a resource has labels."""

MAX_VALUES = 256
"""Each is compared on each decision."""


class InvalidSelectorError(ValueError):
    """A selector is not one; the message names the key and the rule."""


@attrs.frozen
class ValueCondition:
    """What the values of one key may be."""

    exact: frozenset[str]
    patterns: tuple[ValuePattern, ...] = ()

    def admits(self, value: str) -> bool:
        """Whether ``value`` is one of them."""
        return ANY in self.exact or value in self.exact or any(each.matches(value) for each in self.patterns)

    def texts(self) -> tuple[str, ...]:
        """The values as a role lists them, sorted."""
        return tuple(sorted([*self.exact, *(each.text for each in self.patterns)]))


@attrs.frozen
class LabelSelector:
    """A selector, checked when it is made by ``parse``; the bare constructor gives the one that matches
    nothing.
    """

    conditions: Mapping[str, ValueCondition] = attrs.field(factory=dict)

    @classmethod
    def parse(cls, selector: Mapping[str, str | Sequence[str]]) -> "LabelSelector":
        """A selector from its form in a role document: a value or a list of values for each key.

        Raises InvalidSelectorError: a key without values, a key ``*`` with other values than ``*``, a bad
        regular expression, or too many keys or values.
        """
        if len(selector) > MAX_KEYS:
            raise InvalidSelectorError(f"{len(selector)} label keys are more than the {MAX_KEYS} allowed")
        return cls({key: parse_values(key, values) for key, values in selector.items()})

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a resource with ``labels`` is selected."""
        if not self.conditions:
            return False
        return all(key_admits(key, condition, labels) for key, condition in self.conditions.items())

    def unmatched(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        """The keys whose condition a resource with ``labels`` does not meet."""
        return tuple(
            key for key, condition in self.conditions.items() if not key_admits(key, condition, labels)
        )

    def document(self) -> dict[str, list[str]]:
        """The selector as a role document has it: a sorted list of values for each key, sorted."""
        return {key: list(condition.texts()) for key, condition in sorted(self.conditions.items())}


NOTHING = LabelSelector()
"""The empty selector."""


def parse_values(key: str, values: str | Sequence[str]) -> ValueCondition:
    listed = frozenset([values] if isinstance(values, str) else values)
    if not key or not listed:
        raise InvalidSelectorError(f"label key {key!r} or its list of values is empty")
    if len(listed) > MAX_VALUES:
        raise InvalidSelectorError(f"label {key!r} lists {len(listed)} values; {MAX_VALUES} are allowed")
    if key == ANY and listed != {ANY}:
        raise InvalidSelectorError(f"label key '*' goes with the value '*' only, not with {sorted(listed)}")
    try:
        patterns = tuple(ValuePattern(value) for value in sorted(listed) if is_pattern(value))
    except InvalidPatternError as error:
        raise InvalidSelectorError(f"label {key!r}: {error}") from None
    return ValueCondition(listed - {each.text for each in patterns}, patterns)


def key_admits(key: str, condition: ValueCondition, labels: Mapping[str, str]) -> bool:
    if key == ANY:
        return True
    return key in labels and condition.admits(labels[key])
