# SPDX-License-Identifier: Apache-2.0
"""Applications as values: names, addresses, options, and what may stand in each of them."""
