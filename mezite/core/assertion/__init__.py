# SPDX-License-Identifier: Apache-2.0
"""Who asks, signed for one application: written by hubs, and verified by whoever stands behind one."""
