# SPDX-License-Identifier: Apache-2.0
"""Single sign-on without I/O: connectors as documents, what a provider's answers must be, what claims map to."""
