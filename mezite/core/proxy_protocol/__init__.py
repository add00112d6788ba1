# SPDX-License-Identifier: Apache-2.0
"""The PROXY protocol, versions 1 and 2: where a connection came from before a load balancer.

Stricter than the balancers themselves, which disagree with each other: whatever the specification does not say is
refused. References are to its revision 3.4, "The PROXY protocol, versions 1 & 2".
"""
