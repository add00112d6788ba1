# SPDX-License-Identifier: Apache-2.0
"""Claim: any text is either refused or gives labels whose text form reads back as the same labels.

Allowed exceptions: InvalidLabelsError, from ``parse_labels``.
"""

from mezite.core.labels import InvalidLabelsError, format_labels, parse_labels


def check(data: bytes) -> None:
    """``data`` is UTF-8 text; lone surrogates stand for what is not."""
    try:
        labels = parse_labels(data.decode("utf-8", "surrogateescape"))
    except InvalidLabelsError:
        return
    assert parse_labels(format_labels(labels)) == labels
    assert all("," not in value and "\n" not in value for value in labels.values())
