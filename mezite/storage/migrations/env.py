# SPDX-License-Identifier: Apache-2.0
"""Run by Alembic.

The connection comes from the caller, in a transaction that already holds the migration lock.
"""

from alembic import context

from mezite.storage.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
