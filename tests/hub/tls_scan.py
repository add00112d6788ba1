# SPDX-License-Identifier: Apache-2.0
"""Scan TLS ports with sslyze and print, as JSON, what Mozilla's profiles find wrong with each.

Runs in a virtual environment of its own, which `bin/prepare scanner` makes: sslyze wants an older cryptography than
mezite does (threat P26). Arguments: the file with the roots to trust, then `PROFILE=PORT` for each port of localhost.
"""

import json
import sys
from pathlib import Path

from sslyze import (
    CertificateInfoExtraArgument,
    ScanCommandsExtraArguments,
    Scanner,
    ServerNetworkLocation,
    ServerScanRequest,
)
from sslyze.mozilla_tls_profile.tls_config_checker import (
    SCAN_COMMANDS_NEEDED_BY_MOZILLA_CHECKER,
    MozillaTlsConfiguration,
    ServerNotCompliantWithTlsConfiguration,
    TlsConfigurationEnum,
    check_server_against_tls_configuration,
)

CURVES_OF_PYTHON = {"X448", "secp521r1"}
"""The one exception: Python's `ssl` can restrict a server to one curve but not to three; see docs/listeners.md."""

CONNECTIONS = 20
"""To each port at once; what takes the time is waiting, not computing."""


def main(roots: str, wanted: list[str]) -> None:
    profiles = {int(port): profile for profile, port in (each.split("=") for each in wanted)}
    scanner = Scanner(per_server_concurrent_connections_limit=CONNECTIONS)
    scanner.queue_scans(
        [
            ServerScanRequest(
                server_location=ServerNetworkLocation("localhost", port, ip_address="127.0.0.1"),
                scan_commands=SCAN_COMMANDS_NEEDED_BY_MOZILLA_CHECKER,
                scan_commands_extra_arguments=ScanCommandsExtraArguments(
                    certificate_info=CertificateInfoExtraArgument(custom_ca_file=Path(roots))
                ),
            )
            for port in profiles
        ]
    )
    issues = {}
    for result in scanner.get_results():
        port = result.server_location.port
        profile = MozillaTlsConfiguration.get(TlsConfigurationEnum(profiles[port]))
        profile.tls_curves |= CURVES_OF_PYTHON
        try:
            check_server_against_tls_configuration(result, profile)
            issues[port] = {}
        except ServerNotCompliantWithTlsConfiguration as found:
            issues[port] = found.issues
    print(json.dumps(issues))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
