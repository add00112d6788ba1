# SPDX-License-Identifier: Apache-2.0
import inspect

from mezite.storage import errors
from mezite.storage.errors import AlreadyExistsError, NameTakenError, NotFoundError, StorageError


def test_all_are_storage_errors_and_public():
    classes = {
        name
        for name, thing in vars(errors).items()
        if inspect.isclass(thing) and thing.__module__ == errors.__name__
    }
    assert classes == set(errors.__all__)
    assert all(issubclass(getattr(errors, name), StorageError) for name in classes)


def test_the_tree_in_the_docstring_is_complete():
    assert all(name in errors.__doc__ for name in errors.__all__)


def test_errors_about_rows_know_which():
    taken = NameTakenError("web-1", "agent-7")
    assert (taken.what, taken.key, taken.owner) == ("node", "web-1", "agent-7")
    assert isinstance(taken, AlreadyExistsError)
    assert str(AlreadyExistsError("user", "bob")) == "user 'bob' already exists"
    missing = NotFoundError("agent", "a-1")
    assert (missing.what, missing.key, str(missing)) == ("agent", "a-1", "agent 'a-1' does not exist")
