# SPDX-License-Identifier: Apache-2.0
"""Roles, label selectors and the decision they make."""
