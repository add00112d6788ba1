# SPDX-License-Identifier: Apache-2.0
"""``python -m mezite.cli.mezhub``."""

from mezite.cli.mezhub.program import main

if __name__ == "__main__":
    main()
