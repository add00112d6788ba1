# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 as bytes and values: the strict gate before any parser that is lenient."""
