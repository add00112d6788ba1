# SPDX-License-Identifier: Apache-2.0
"""Configurations of nginx and HAProxy for the ports of a hub, ready to be pasted."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from mezite.net.addresses import split_host_port

__all__ = ["Front", "haproxy_snippet", "nginx_snippet"]


@attrs.frozen(kw_only=True)
class Front:
    """What stands, or should stand, in front of a hub."""

    public: Mapping[str, str]
    """``host:port`` that clients dial, by listener."""
    hub: Mapping[str, str]
    """``host:port`` where the hub listens, by listener."""
    ends_tls: bool
    """Whether the balancer ends TLS, or passes connections on as they are."""

    def ports(self) -> list[tuple[str, int, str]]:
        """Return listener, public port and the hub's own address; ``single`` for listeners that share a port."""
        by_address: dict[str, list[str]] = {}
        for name, address in self.public.items():
            by_address.setdefault(address, []).append(name)
        return [
            (
                names[0] if len(names) == 1 else "single",
                split_host_port(address, 443)[1],
                self.hub.get(names[0], address),
            )
            for address, names in by_address.items()
        ]


def nginx_snippet(front: Front) -> str:
    """Return ``http`` and ``stream`` blocks. PROXY headers of version 1 are what nginx can send."""
    hub_side = (
        "# On the hub: proxy.proxy_protocol: on, and this machine in proxy.proxy_protocol_trusted_cidrs.\n"
    )
    if not front.ends_tls:
        servers = "".join(
            f"  server {{ listen {port}; proxy_pass {hub}; proxy_protocol on; proxy_timeout 1h; }}\n"
            for _name, port, hub in front.ports()
        )
        return f"{hub_side}stream {{\n{servers}}}\n"
    certificate = "ssl_certificate /etc/ssl/mezite.crt; ssl_certificate_key /etc/ssl/mezite.key;"
    blocks, streams = [], []
    for name, port, hub in front.ports():
        if name == "web":
            blocks.append(_NGINX_WEB.format(port=port, hub=hub, certificate=certificate))
        elif name == "auth":
            blocks.append(_NGINX_GRPC.format(port=port, hub=hub, certificate=certificate))
        else:
            streams.append(
                f"  server {{ listen {port} ssl; {certificate}\n    proxy_pass {hub}; proxy_timeout 1h; }}\n"
            )
    return (
        "# On the hub: proxy.tls_mode: off, MEZITE_GRPC_ALLOW_HTTP=true, MEZITE_TRUSTED_IP_HEADER=X-Forwarded-For.\n"
        "# Agents: MEZITE_TLS_WRAP=true.\n"
        f"http {{\n{''.join(blocks)}}}\nstream {{\n{''.join(streams)}}}\n"
    )


_NGINX_WEB = """  server {{ listen {port} ssl; {certificate}
    location / {{
      proxy_pass http://{hub};
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_read_timeout 1h;
    }}
  }}
"""
_NGINX_GRPC = """  server {{ listen {port} ssl http2; {certificate}
    location / {{
      grpc_pass grpc://{hub};
      grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
"""


def haproxy_snippet(front: Front) -> str:
    """Return one ``listen`` section for each port, with PROXY headers of version 2."""
    lines = [
        "# On the hub: proxy.proxy_protocol: on, and this machine in proxy.proxy_protocol_trusted_cidrs."
    ]
    if front.ends_tls:
        lines.append("# And proxy.tls_mode: off, MEZITE_GRPC_ALLOW_HTTP=true. Agents: MEZITE_TLS_WRAP=true.")
    for name, port, hub in front.ports():
        alpn = {"web": " alpn http/1.1", "auth": " alpn h2", "single": " alpn http/1.1"}.get(name, "")
        tls = f" ssl crt /etc/ssl/mezite.pem{alpn}" if front.ends_tls else ""
        lines += [
            f"listen mezite_{name}",
            "  mode tcp",
            f"  bind :{port}{tls}",
            "  timeout connect 5s",
            "  timeout client 1h",
            "  timeout server 1h",
            f"  server hub {hub} send-proxy-v2",
        ]
    return "\n".join(lines) + "\n"
