# SPDX-License-Identifier: Apache-2.0
"""gRPC over HTTP/2, without the I/O: framing, status, metadata, timeouts and the life of one call."""
