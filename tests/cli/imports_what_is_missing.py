# SPDX-License-Identifier: Apache-2.0
"""A command module with a mistake, for test_lazy_group."""

import no_such_module_anywhere  # noqa: F401
