# SPDX-License-Identifier: Apache-2.0
"""Claim: any text is either refused without repeating it, or is a token in its one spelling.

Allowed exceptions: InvalidJoinTokenError, from ``parse_join_token``.
"""

from mezite.core.join_token import InvalidJoinTokenError, format_join_token, parse_join_token

GOOD = format_join_token(bytes(range(32)), "0123456789abcdef" * 4)


def check(data: bytes) -> None:
    """A position, how much of a good token to replace there, and what by; or text by itself. It is UTF-8, and lone
    surrogates stand for what is not.
    """
    text = data.decode("utf-8", "surrogateescape")
    check_text(text)
    if len(text) >= 2:
        position, length = ord(text[0]), ord(text[1])
        check_text(GOOD[:position] + text[2:] + GOOD[position + length :])


def check_text(text: str) -> None:
    try:
        token = parse_join_token(text)
    except InvalidJoinTokenError as error:
        check_message(text, str(error))
        return
    assert f"mzt_{token.secret}.{token.ca_pin}" == text.strip(" \t\r\n")
    assert len(token.secret_hash()) == 64
    assert token.secret not in repr(token)


def check_message(text: str, message: str) -> None:
    secret = text.strip(" \t\r\n").removeprefix("mzt_").partition(".")[0]
    assert len(secret) < 20 or secret not in message
