# SPDX-License-Identifier: Apache-2.0
"""Claim: any text is either refused without repeating it, or is a token in its one spelling.

Allowed exceptions: InvalidJoinTokenError, from ``parse_join_token``.
"""

from mezite.core.join_token import InvalidJoinTokenError, parse_join_token


def check(data: bytes) -> None:
    """``data`` is UTF-8 text; lone surrogates stand for what is not."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        token = parse_join_token(text)
    except InvalidJoinTokenError as error:
        check_message(text, str(error))
        return
    assert f"mzt_{token.secret}.{token.ca_pin}" == text.strip()
    assert len(token.secret_hash()) == 64
    assert token.secret not in repr(token)


def check_message(text: str, message: str) -> None:
    secret = text.strip().removeprefix("mzt_").partition(".")[0]
    assert len(secret) < 20 or secret not in message
