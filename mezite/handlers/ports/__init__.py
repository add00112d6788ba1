# SPDX-License-Identifier: Apache-2.0
"""What stands behind each port: the first bytes, TLS where it belongs, then the handler of the protocol."""
