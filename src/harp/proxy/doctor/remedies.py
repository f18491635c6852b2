# SPDX-License-Identifier: AGPL-3.0-or-later
"""What to change where something is not as it should be; in the web server in front, a line for each of four.

docs/how-to/outer-proxy.md has the four as a whole. Pure.
"""

from harp.proxy.doctor.seen import Reach

_CHAIN = (
    "nginx `ssl_certificate fullchain.pem;`, Apache `SSLCertificateFile fullchain.pem`,"
    " Caddy `tls fullchain.pem key.pem`, Traefik `certFile: fullchain.pem`"
)
_AUTHORITY = "set HP_CA_FILE to the PEM file of its authority, and restart harp proxy"
FIREWALL = (
    "a firewall in between: `nft list ruleset` and `ufw status` on both machines, and the provider's own;"
    " let the one reach that port of the other"
)
FIREWALL_TO_HARP = "let the web server's machine reach port 8780 of Harp's: `nft list ruleset`, `ufw status`"
UNREACHED = {
    Reach.REFUSED: (
        "refuses the connection: nobody listens there, or a firewall rejects it",
        "start what should listen there, or correct the address and its port",
    ),
    Reach.TIMED_OUT: ("does not answer: packets are dropped on the way", FIREWALL),
    Reach.SILENT: ("takes the connection and says nothing", "is it overloaded? Look at its own log"),
    Reach.PROHIBITED: ("cannot be reached: a machine on the way, or this one, says so", FIREWALL),
    Reach.MISSING: ("is not there", "start what should make that socket"),
    Reach.FORBIDDEN: ("is for others", "put the user of harp proxy into the group of that socket"),
    Reach.UNRESOLVED: ("has a name that does not resolve", "correct the name, or the DNS: `getent hosts NAME`"),
    Reach.EXPIRED: ("has a certificate that is out of date", "renew it, reload the web server, and look at the clock"),
    Reach.NOT_YET: ("has a certificate that is not valid yet", "set the clock of this machine: `timedatectl`"),
    Reach.OTHER_NAME: (
        "has a certificate for another name",
        "use the name of the certificate in NC_INSTANCE_URL, or get a certificate for this one",
    ),
    Reach.SELF_SIGNED: (
        "has a certificate that vouches for itself",
        f"get one from an authority; or take it for one: {_AUTHORITY}",
    ),
    Reach.UNTRUSTED: ("has a certificate from an authority that is unknown here", _AUTHORITY),
    Reach.INCOMPLETE: (
        "has a certificate whose signer is unknown here: the chain is incomplete, or the authority is private",
        f"a public authority: serve the full chain ({_CHAIN}); a private one: {_AUTHORITY}",
    ),
    Reach.PLAIN: ("speaks http, and https is asked for", "correct http:// and https:// in the address, or its port"),
    Reach.TLS: ("speaks https, and http is asked for", "correct http:// and https:// in the address, or its port"),
    Reach.BROKEN: ("breaks the connection off", "is it http where https is meant, or the other way round?"),
}
"""What is said of an address, and what to do about it."""

REGISTER = (
    "give AppAPI the key that HP_SHARED_KEY has: `occ app_api:daemon:unregister NAME`,"
    " then `occ app_api:daemon:register` with `--harp_shared_key`"
)
OTHER_KEY_RUNS = {
    True: (
        "what runs has another key than HP_SHARED_KEY here, which AppAPI takes",
        "restart harp proxy: it runs with an older one",
    ),
    False: (
        "HP_SHARED_KEY here is neither the key of what runs nor AppAPI's",
        "ask with the settings of the service: its environment, or proxy.env in its home",
    ),
    None: (
        "what runs has another key than HP_SHARED_KEY here",
        "restart harp proxy after a change; ask with the settings of the service: its environment, or proxy.env",
    ),
}
"""By whether AppAPI takes the key of the settings."""
OTHER_KEY_ASKED = {
    True: ("AppAPI has another key than Harp", REGISTER),
    False: ("AppAPI does not take HP_SHARED_KEY either", "look at `shared key` first"),
}
"""By whether what runs takes the key of the settings."""

LISTEN = "it has to listen on APP_HOST (0.0.0.0) and APP_PORT of its environment"


ENGINE = {
    Reach.MISSING: ("is not there", "`systemctl start docker`, or correct its place in HP_DOCKER_ENGINES"),
    Reach.FORBIDDEN: (
        "is for others",
        "put the user of harp proxy into the group of that socket (`usermod -aG docker harp`) and restart the service;"
        " in Docker: `group_add` with the number that `stat -c %g` says of the socket",
    ),
    Reach.REFUSED: (
        "refuses: a socket is there, and no engine behind it",
        "`systemctl restart docker`; `journalctl -u docker` tells why it ended",
    ),
    Reach.TLS: (
        "speaks TLS, which Harp does not speak to engines",
        "name the engine's Unix socket in HP_DOCKER_ENGINES, or bring a remote engine here through FRP",
    ),
}
"""What is said of an engine, where that is more than of any address."""
ENGINE_IN_PUBLIC = "`dockerd -H unix:///var/run/docker.sock` without `-H tcp://`; a remote engine comes through FRP"
HOST_NETWORK = "it has to listen on APP_HOST of its environment (127.0.0.1), or be registered with `--net bridge`"


def unpublish(container: str) -> str:
    return (
        f"make {container} without `-p`/`ports:`: Harp reaches it in its own network, and firewalls do not stop Docker"
    )


def close(setting: str, port: int) -> str:
    return f"`{setting}=127.0.0.1:{port}`, or an address of a private network that Nextcloud is in too; then restart"


def restart(container: str) -> str:
    return f"`docker logs {container}` tells why; `docker start {container}`, or enable the app again in Nextcloud"


def silent(container: str) -> str:
    return f"`docker logs {container}`: is it still starting? {LISTEN}"


UPSTREAM = {
    "nginx": "the address behind `proxy_pass http://` has to be where HP_EXAPPS_ADDRESS listens",
    "Apache": "both addresses of `ProxyPass /exapps/` have to be where HP_EXAPPS_ADDRESS listens",
    "Caddy": "the address behind `reverse_proxy` has to be where HP_EXAPPS_ADDRESS listens",
    "Traefik": "the `url` of the service's server has to be where HP_EXAPPS_ADDRESS listens",
}
STRIPPED = {
    "nginx": "in `location /exapps/`: `proxy_pass http://HARP:8780;` with no path and no `/` behind the port",
    "Apache": "`ProxyPass /exapps/ http://HARP:8780/exapps/`: the path stands on both sides",
    "Caddy": "`handle /exapps/*` instead of `handle_path /exapps/*`, and no `uri strip_prefix`",
    "Traefik": "take the `stripPrefix` or `replacePath` middleware away from the router of `/exapps/`",
}
PREFIXED = {
    "nginx": "`proxy_pass http://HARP:8780;` with no path behind the port, and no `rewrite` for `/exapps/`",
    "Apache": "`ProxyPass /exapps/ http://HARP:8780/exapps/` with nothing before `/exapps/`, and no `RewriteRule`",
    "Caddy": "no `rewrite` for `/exapps/*` in front of `reverse_proxy HARP:8780`",
    "Traefik": "take the `addPrefix` or `replacePath` middleware away from the router of `/exapps/`",
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
    "Apache": "`flushpackets=on` at the end of the `ProxyPass` line; it holds nothing back itself: what is before it?",
    "Caddy": "`flush_interval -1` inside `reverse_proxy`, and no `response_buffers` (before 2.7: `buffer_responses`)",
    "Traefik": "take the `buffering` middleware away from the router of `/exapps/`",
}
FORWARDED = {
    "nginx": "`proxy_set_header X-Forwarded-For $remote_addr;` in `location /exapps/`",
    "Apache": "`ProxyAddHeaders On` (its default; remove an `Off`)",
    "Caddy": "remove `header_up -X-Forwarded-For` (Caddy sends it by itself)",
    "Traefik": "remove a `headers` middleware that empties X-Forwarded-For, and `notAppendXForwardedFor` of the entry"
    " point (Traefik sends it by itself)",
}


def each(lines: dict[str, str]) -> str:
    """One text for all four, a line each."""
    return "\n".join(f"{server}: {line}" for server, line in lines.items())
