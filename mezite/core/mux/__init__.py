# SPDX-License-Identifier: Apache-2.0
"""The mux protocol of docs/mux-protocol.md: many two-way channels over one byte stream, without I/O."""
