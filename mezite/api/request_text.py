# SPDX-License-Identifier: Apache-2.0
"""Text in requests that no database can keep is refused before anything is asked of one."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message

from mezite.services.errors import InvalidRequestError

__all__ = ["check_text"]


def check_text(request: Message) -> None:
    """:raises InvalidRequestError: a text has a NUL, which PostgreSQL does not store; the message names the field."""
    for name, text in _texts(request):
        if "\0" in text:
            raise InvalidRequestError(f"{name} has a NUL character: leave it out")


def _texts(message: Message) -> Iterator[tuple[str, str]]:
    """Every text with the name of the field that it is in, through lists, maps and messages inside."""
    for field, value in message.ListFields():
        if isinstance(value, str):
            yield field.name, value
        elif isinstance(value, Message):
            yield from _texts(value)
        elif field.is_repeated and hasattr(value, "items"):
            for key, inside in value.items():
                yield from _inside(field.name, key)
                yield from _inside(field.name, inside)
        elif field.is_repeated:
            for inside in value:
                yield from _inside(field.name, inside)


def _inside(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Message):
        yield from _texts(value)
