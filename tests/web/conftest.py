# SPDX-License-Identifier: Apache-2.0
"""The services' own world serves here too."""

from tests.services.conftest import database_path, world, world_template

__all__ = ["database_path", "world", "world_template"]
