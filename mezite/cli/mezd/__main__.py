# SPDX-License-Identifier: Apache-2.0
"""``python -m mezite.cli.mezd``."""

from mezite.cli.mezd.program import main

if __name__ == "__main__":
    main()
