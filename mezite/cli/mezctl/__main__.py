# SPDX-License-Identifier: Apache-2.0
"""``python -m mezite.cli.mezctl``."""

from mezite.cli.mezctl.program import main

if __name__ == "__main__":
    main()
