# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for values of mezite.core; import them in tests of what you build on it."""
