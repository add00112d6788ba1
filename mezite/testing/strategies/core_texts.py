# SPDX-License-Identifier: Apache-2.0
"""Names, labels and traits in the grammars of mezite.core."""

from hypothesis import strategies as st

__all__ = [
    "labels",
    "logins",
    "node_names",
    "role_names",
    "traits",
    "user_names",
]


def user_names() -> st.SearchStrategy[str]:
    """What check_user_name allows."""
    return st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,30}", fullmatch=True)


def logins() -> st.SearchStrategy[str]:
    """What check_login allows."""
    return st.from_regex(r"[a-z_][A-Za-z0-9_.@+-]{0,30}\$?", fullmatch=True)


def node_names() -> st.SearchStrategy[str]:
    """What check_node_name allows."""
    return st.from_regex(r"[a-z0-9]([a-z0-9_.-]{0,30}[a-z0-9])?", fullmatch=True)


def role_names() -> st.SearchStrategy[str]:
    """What check_role_name allows."""
    return st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,20}", fullmatch=True)


def labels() -> st.SearchStrategy[dict[str, str]]:
    """What check_labels allows."""
    keys = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}", fullmatch=True)
    characters = st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"], exclude_characters=",")
    values = st.text(characters, max_size=40).map(lambda value: value.strip(" "))
    return st.dictionaries(keys, values, max_size=8)


def traits() -> st.SearchStrategy[dict[str, tuple[str, ...]]]:
    """What encode_traits allows: trait names with lists of any text."""
    names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,20}", fullmatch=True)
    values = st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=4).map(tuple)
    return st.dictionaries(names, values, max_size=4)
