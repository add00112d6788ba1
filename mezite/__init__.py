# SPDX-License-Identifier: Apache-2.0
"""Reach servers and internal applications through reverse tunnels."""

__version__ = "0.1.0.dev0"
