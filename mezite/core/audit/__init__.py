# SPDX-License-Identifier: Apache-2.0
"""The closed vocabulary of audit events, their JSON form and the hash chain."""
