# SPDX-License-Identifier: Apache-2.0
"""One module for each revision. A revision that was released is never edited."""
