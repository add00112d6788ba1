# SPDX-License-Identifier: Apache-2.0
"""`msh app`: applications that the user may use."""

from __future__ import annotations

from mezite.cli.lazy_group import CommandGroup, LazyCommand

__all__ = ["app"]

app = CommandGroup(
    "app",
    help="Reach applications.",
    lazy={
        "ls": LazyCommand("mezite.cli.msh.app_list:ls", "List the applications you may use."),
        "login": LazyCommand("mezite.cli.msh.app_login:login", "Open local ports to TCP applications."),
        "open": LazyCommand("mezite.cli.msh.app_list:open_app", "Open a web application in the browser."),
    },
)
