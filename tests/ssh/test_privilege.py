# SPDX-License-Identifier: Apache-2.0
"""The steps from the agent's process to the user's, each by itself. test_spawn has them together."""

import os
import pwd
import resource
import signal
import subprocess
import sys

import pytest

from mezite.ssh import privilege
from mezite.ssh.privilege import Account, PrivilegeError

ME = pwd.getpwuid(os.geteuid())


def own_account() -> Account:
    return privilege.find_account(ME.pw_name)


def test_account_of_a_login():
    assert own_account() == Account(ME.pw_name, ME.pw_uid, ME.pw_gid, ME.pw_dir, ME.pw_shell)


@pytest.mark.parametrize("login", ["nobody-here", "", "a\0b", "../root"])
def test_login_that_does_not_exist(login):
    with pytest.raises(PrivilegeError, match="does not exist"):
        privilege.find_account(login)


def test_becoming_oneself_changes_nothing():
    groups = os.getgroups()
    try:
        privilege.become(own_account())
        assert os.getresuid() == (ME.pw_uid,) * 3
    finally:
        if ME.pw_uid == 0:
            os.setgroups(groups)


def test_wrong_identity_is_noticed():
    """G1: what the kernel says counts, not what was asked for."""
    me = own_account()
    with pytest.raises(PrivilegeError, match="user id"):
        privilege.check_user(me._replace(uid=me.uid + 1))
    with pytest.raises(PrivilegeError, match="group id"):
        privilege.check_groups(me._replace(gid=me.gid + 1))


@pytest.mark.root
def test_wrong_groups_are_noticed():
    groups = os.getgroups()
    try:
        os.setgroups([*groups, 12345])
        with pytest.raises(PrivilegeError, match="supplementary groups"):
            privilege.check_groups(own_account())
    finally:
        os.setgroups(groups)


SCRIPT = """
import os, sys
from mezite.ssh import privilege
uid, saved = int(sys.argv[1]), int(sys.argv[2])
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(uid, uid, saved)
try:
    privilege.find_account("root")
except privilege.PrivilegeError as error:
    print(error)
me = privilege.Account("x", uid, 65534, "/", "/bin/sh")
privilege.become(me)
print("done")
"""


def run_as(uid: int, saved: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, str(uid), str(saved)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.root
def test_ordinary_user_serves_only_its_own_login():
    result = run_as(65534, 65534)
    assert "serves only its own login, not 'root'" in result.stdout
    assert result.stdout.endswith("done\n")


@pytest.mark.root
def test_way_back_to_root_is_noticed():
    """G1: a saved uid of root would do for anybody who takes over the process."""
    result = run_as(65534, 0)
    assert "the user id is not the account's" in result.stderr


@pytest.mark.root
def test_root_can_become_root():
    assert privilege._can_become_root()


def test_signals_are_reset():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)}
    every = {number: signal.getsignal(number) for number in signal.valid_signals()}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        privilege.reset_signals()
        assert {signal.getsignal(number) for number in before} == {signal.SIG_DFL}
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in every.items():
            if number not in (signal.SIGKILL, signal.SIGSTOP) and handler is not None:
                signal.signal(number, handler)


def test_limits_are_reset():
    names = (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)
    before = {name: resource.getrlimit(name) for name in names}
    umask = os.umask(0o077)
    try:
        privilege.reset_limits()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(1024, before[names[0]][1])
        assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0
        assert os.umask(0o077) == 0o022
    finally:
        os.umask(umask)
        for name, limits in before.items():
            resource.setrlimit(name, limits)


def test_terminal_is_given_by_descriptor():
    """A14, G3."""
    master, slave = os.openpty()
    try:
        privilege.own_terminal(slave, own_account())
        status = os.fstat(slave)
        assert status.st_uid == ME.pw_uid
        assert status.st_mode & 0o777 == 0o620
    finally:
        os.close(master)
        os.close(slave)
