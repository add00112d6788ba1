# SPDX-License-Identifier: Apache-2.0
"""``python -m mezite.cli.msh``."""

from mezite.cli.msh.program import main

if __name__ == "__main__":
    main()
