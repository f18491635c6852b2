# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which line to change in the web server in front, for each of four. docs/how-to/outer-proxy.md has it whole."""

STRIPPED = {
    "nginx": "in `location /exapps/`: `proxy_pass http://HARP:8780;` with no path and no `/` behind the port",
    "Apache": "`ProxyPass /exapps/ http://HARP:8780/exapps/`: the path stands on both sides",
    "Caddy": "`handle /exapps/*` instead of `handle_path /exapps/*`, and no `uri strip_prefix`",
    "Traefik": "take the `stripPrefix` middleware away from the router of `/exapps/`",
}
PREFIXED = {
    "nginx": "`proxy_pass http://HARP:8780;` with no path behind the port, and no `rewrite` for `/exapps/`",
    "Apache": "`ProxyPass /exapps/ http://HARP:8780/exapps/` with nothing before `/exapps/`, and no `RewriteRule`",
    "Caddy": "no `rewrite` for `/exapps/*` in front of `reverse_proxy HARP:8780`",
    "Traefik": "take the `addPrefix` middleware away from the router of `/exapps/`",
}
NOT_PASSED = {
    "nginx": "`location /exapps/ { proxy_pass http://HARP:8780; }`",
    "Apache": "`ProxyPass /exapps/ http://HARP:8780/exapps/`, before any other `ProxyPass` and `RewriteRule`",
    "Caddy": "`handle /exapps/* { reverse_proxy HARP:8780 }`, and the rest of the site in a `handle` of its own",
    "Traefik": "a router with ``rule: Host(`CLOUD`) && PathPrefix(`/exapps/`)`` whose service is `http://HARP:8780`",
}
WEBSOCKET = {
    "nginx": "`proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;"
    " proxy_set_header Connection $connection_upgrade;` in `location /exapps/`, and the `map` of that variable",
    "Apache": "`upgrade=websocket` at the end of the `ProxyPass` line (2.4.47 or newer)",
    "Caddy": "`reverse_proxy HARP:8780` upgrades by itself: remove any `header_up` for Connection or Upgrade",
    "Traefik": "it upgrades by itself: remove a `headers` middleware that sets Connection or Upgrade",
}
BUFFERED = {
    "nginx": "`proxy_buffering off;` and `gzip off;` in `location /exapps/`",
    "Apache": "`flushpackets=on` at the end of the `ProxyPass` line, and no `mod_deflate` or `mod_buffer` for it",
    "Caddy": "`flush_interval -1` inside `reverse_proxy`",
    "Traefik": "take the `buffering` and `compress` middlewares away from the router of `/exapps/`",
}
FORWARDED = {
    "nginx": "`proxy_set_header X-Forwarded-For $remote_addr;` in `location /exapps/`",
    "Apache": "`ProxyAddHeaders On` (its default; remove an `Off`)",
    "Caddy": "remove `header_up -X-Forwarded-For` (Caddy sends it by itself)",
    "Traefik": "remove a `headers` middleware that empties X-Forwarded-For (Traefik sends it by itself)",
}


def each(lines: dict[str, str]) -> str:
    """One text for all four, a line each."""
    return "\n".join(f"{server}: {line}" for server, line in lines.items())
