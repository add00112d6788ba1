# SPDX-License-Identifier: Apache-2.0
"""From the agent's process to the user's: account, groups, ids, limits, signals (threats G1, G2).

Runs in the child after fork, in a small interpreter without site-packages: standard library only, and no
import of the rest of the package. Each step that the kernel could ignore is verified afterwards.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import pwd
import resource
import signal
import termios
from typing import NamedTuple

__all__ = [
    "Account",
    "PrivilegeError",
    "become",
    "check_groups",
    "check_user",
    "find_account",
    "own_terminal",
    "reset_limits",
    "reset_signals",
    "take_terminal",
]

UMASK = 0o022
#: What a login gets. A daemon raises its own limit; programs that use select() must not inherit that.
OPEN_FILES = 1024
_FALLBACK_SHELL = "/bin/sh"


class PrivilegeError(Exception):
    """The child must not run; the text is for the user."""


class Account(NamedTuple):
    """What the system's user database says about a login."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


def find_account(login: str) -> Account:
    """The account of ``login``; :exc:`PrivilegeError` when there is none or this process may not become
    it.
    """
    try:
        entry = pwd.getpwnam(login)
    except (KeyError, ValueError):
        raise PrivilegeError(f"login {login!r} does not exist on this node") from None
    effective = os.geteuid()
    if effective not in (0, entry.pw_uid):
        raise PrivilegeError(f"this agent does not run as root and serves only its own login, not {login!r}")
    return Account(
        entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir or "/", entry.pw_shell or _FALLBACK_SHELL
    )


def reset_signals() -> None:
    """All signals to their default action and none blocked: a daemon started by nohup ignores some, and a
    shell with an ignored SIGINT cannot be interrupted.
    """
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def reset_limits() -> None:
    """Umask, priority, the chance to be killed when memory runs out, and the limits a daemon raises for
    itself.

    Needs the daemon's rights, so it comes before :func:`become`.
    """
    os.umask(UMASK)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
        score.write("0")
    _lower_soft_limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    _lower_soft_limit(resource.RLIMIT_CORE, 0)


def _lower_soft_limit(which: int, soft: int) -> None:
    current, hard = resource.getrlimit(which)
    wanted = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
    if current != wanted:
        resource.setrlimit(which, (wanted, hard))


def own_terminal(terminal: int, account: Account) -> None:
    """Give an open terminal to the user, by descriptor: mode 0620, group tty, so that write(1) works.

    An ordinary user's terminal is its own already, and it may not give files away.
    """
    if os.geteuid() != 0:
        return
    try:
        group = grp.getgrnam("tty").gr_gid
    except KeyError:
        group = account.gid
    os.fchown(terminal, account.uid, group)
    os.fchmod(terminal, 0o620)


def take_terminal(terminal: int) -> None:
    """Make the terminal the controlling one of this session, which has none yet."""
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def become(account: Account) -> None:
    """Groups, then group, then user, for good; verified. :exc:`PrivilegeError` when anything is not as it
    must be.

    An ordinary user's process stays as it is: it has nothing to give away.
    """
    if os.geteuid() == 0:
        os.initgroups(account.name, account.gid)
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
        check_groups(account)
    check_user(account)


def check_groups(account: Account) -> None:
    """Raise :exc:`PrivilegeError` unless this process has the account's groups and no other."""
    if os.getresgid() != (account.gid,) * 3:
        raise PrivilegeError("the group id is not the account's")
    if {*os.getgroups(), account.gid} != {*os.getgrouplist(account.name, account.gid), account.gid}:
        raise PrivilegeError("the supplementary groups are not the account's")


def check_user(account: Account) -> None:
    """Raise :exc:`PrivilegeError` unless this process is the user's and cannot go back."""
    if os.getresuid() != (account.uid,) * 3:
        raise PrivilegeError("the user id is not the account's")
    if account.uid != 0 and _can_become_root():
        raise PrivilegeError("root could be regained")


def _can_become_root() -> bool:
    try:
        os.setresuid(0, 0, 0)
    except OSError:
        return False
    return True
