# SPDX-License-Identifier: Apache-2.0
"""SSH and X.509 certificates: issuing them, and the one verifier."""
