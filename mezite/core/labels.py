# SPDX-License-Identifier: Apache-2.0
"""Labels of nodes and applications: ``env=prod,team=platform`` as typed by operators and agents.

No escaping exists: a value cannot hold a comma, so text and mapping say the same in one spelling.
"""

import re
import unicodedata
from collections.abc import Mapping

__all__ = ["MAX_LABELS", "InvalidLabelsError", "check_labels", "format_labels", "parse_labels"]

KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}", re.ASCII)

MAX_LABELS = 64
"""Kubernetes objects carry about ten; every label is matched on each decision and printed in listings."""

MAX_VALUE = 255
"""Longer values are descriptions, which belong into a field of their own."""

MAX_TOTAL = 8 * 1024
"""Bytes of all keys and values together in UTF-8. They stand in every audit event about the node, whose JSON escapes
a character of two bytes with six: with a command of 4,096 such characters that stays under an event's 64 KiB."""

UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that could forge lines or directions in a listing: controls, formats, separators."""


class InvalidLabelsError(ValueError):
    """The labels break the grammar; the message names the label and the rule."""


def check_label(key: str, value: str) -> None:
    if KEY.fullmatch(key) is None:
        raise InvalidLabelsError(
            f"{key!r} is not a label name: letters, digits and . _ / -, at most 63, first a letter or digit"
        )
    if len(value) > MAX_VALUE:
        raise InvalidLabelsError(
            f"the value of label {key!r} has {len(value)} characters; at most {MAX_VALUE} are allowed"
        )
    if (
        "," in value
        or value != value.strip(" ")
        or any(unicodedata.category(c) in UNPRINTABLE for c in value)
    ):
        raise InvalidLabelsError(
            f"the value of label {key!r} is not allowed: no comma, outer space or control character"
        )


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of ``labels`` sorted by key.

    Raises InvalidLabelsError: a bad key or value, more than 64 labels or 8 KiB.
    """
    if len(labels) > MAX_LABELS:
        raise InvalidLabelsError(
            f"there are {len(labels)} labels, more than the {MAX_LABELS} that are allowed"
        )
    for key, value in labels.items():
        check_label(key, value)
    size = sum(len(key) + len(value.encode()) for key, value in labels.items())
    if size > MAX_TOTAL:
        raise InvalidLabelsError(f"the labels have {size} bytes, more than the {MAX_TOTAL} that are allowed")
    return dict(sorted(labels.items()))


def parse_labels(text: str) -> dict[str, str]:
    """Labels of ``key=value,key=value``, sorted by key; empty text is no labels.

    Spaces round a key or value are dropped; a value may be empty and may hold ``=``.

    Raises InvalidLabelsError: a part without ``=`` (an extra comma makes an empty part), a key given twice,
    and everything check_labels refuses.
    """
    labels: dict[str, str] = {}
    for part in text.split(",") if text.strip(" ") else ():
        key, equals, value = part.partition("=")
        key = key.strip(" ")
        if not equals:
            what = f"{key!r} has no value" if key else "there is nothing between two commas"
            raise InvalidLabelsError(f"{what}: labels are written key=value,key=value")
        if key in labels:
            raise InvalidLabelsError(f"label {key!r} is given twice")
        labels[key] = value.strip(" ")
    return check_labels(labels)


def format_labels(labels: Mapping[str, str]) -> str:
    """``key=value,key=value`` sorted by key; the inverse of parse_labels. Raises InvalidLabelsError."""
    return ",".join(f"{key}={value}" for key, value in check_labels(labels).items())
