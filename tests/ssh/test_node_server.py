# SPDX-License-Identifier: Apache-2.0
"""Stock OpenSSH against the node server."""

import pytest

from tests.ssh.peers import running_node

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("status", [0, 7, 255])
async def test_exit_status_arrives(tmp_path, spawner, status):
    async with running_node(tmp_path, spawner) as node:
        result = await node.ssh(f"echo out; echo err >&2; exit {status}")
        assert (result.returncode, result.stdout, result.stderr) == (status, b"out\n", b"err\n")
