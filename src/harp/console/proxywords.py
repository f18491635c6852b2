# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the proxy's doctor says in English: findings, and what to do, a line each. Pure.

Configuration to write down stays as it is in every language.
"""

SENTENCES = (
    # the names of checks
    "control address",
    "shared key",
    "control API",
    "version",
    "Nextcloud's key",
    "public address",
    "path",
    "trusted proxies",
    "FRP's authority",
    "app %(name)s",
    "engine %(name)s",
    "port of %(name)s",
    "control port",
    "metrics port",
    # how an address is not reached
    "%(address)s refuses the connection: nobody listens there, or a firewall rejects it",
    "%(address)s does not answer: packets are dropped on the way",
    "%(address)s takes the connection and says nothing",
    "%(address)s cannot be reached: a machine on the way, or this one, says so",
    "%(address)s is not there",
    "%(address)s is for others",
    "%(address)s has a name that does not resolve",
    "%(address)s has a certificate that is out of date",
    "%(address)s has a certificate that is not valid yet",
    "%(address)s has a certificate for another name",
    "%(address)s has a certificate that vouches for itself",
    "%(address)s has a certificate from an authority that is unknown here",
    (
        "%(address)s has a certificate whose signer is unknown here: the chain is incomplete, or the "
        "authority is private"
    ),
    "%(address)s speaks http, and https is asked for",
    "%(address)s speaks https, and http is asked for",
    "%(address)s breaks the connection off",
    "%(address)s refuses: a socket is there, and no engine behind it",
    "%(address)s speaks TLS, which Harp does not speak to engines",
    # what to do about that
    "start what should listen there, or correct the address and its port",
    (
        "a firewall in between: `nft list ruleset` and `ufw status` on both machines, and the provider's own; "
        "let the one reach that port of the other"
    ),
    "is it overloaded? Look at its own log",
    "start what should make that socket",
    "put the user of harp proxy into the group of that socket",
    "correct the name, or the DNS: `getent hosts NAME`",
    "renew it, reload the web server, and look at the clock",
    "set the clock of this machine: `timedatectl`",
    "use the name of the certificate in NC_INSTANCE_URL, or get a certificate for this one",
    (
        "get one from an authority; or take it for one: set HP_CA_FILE to the PEM file of its authority, and "
        "restart harp proxy"
    ),
    "set HP_CA_FILE to the PEM file of its authority, and restart harp proxy",
    (
        "a public authority: serve the full chain (nginx `ssl_certificate fullchain.pem;`, Apache "
        "`SSLCertificateFile fullchain.pem`, Caddy `tls fullchain.pem key.pem`, Traefik `certFile: "
        "fullchain.pem`); a private one: set HP_CA_FILE to the PEM file of its authority, and restart harp "
        "proxy"
    ),
    "correct http:// and https:// in the address, or its port",
    "is it http where https is meant, or the other way round?",
    "`systemctl start docker`, or correct its place in HP_DOCKER_ENGINES",
    (
        "put the user of harp proxy into the group of that socket (`usermod -aG docker harp`) and restart the "
        "service; in Docker: `group_add` with the number that `stat -c %%g` says of the socket"
    ),
    "`systemctl restart docker`; `journalctl -u docker` tells why it ended",
    "name the engine's Unix socket in HP_DOCKER_ENGINES, or bring a remote engine here through FRP",
    # Nextcloud's way to Harp, and Harp's to Nextcloud
    "what runs has another key than HP_SHARED_KEY here, which AppAPI takes",
    "restart harp proxy: it runs with an older one",
    "HP_SHARED_KEY here is neither the key of what runs nor AppAPI's",
    "ask with the settings of the service: its environment, or proxy.env in its home",
    "what runs has another key than HP_SHARED_KEY here",
    "restart harp proxy after a change; ask with the settings of the service: its environment, or proxy.env",
    "the control API refuses: this way leads through a proxy",
    "this address is banned",
    "/exapps/app_api/info answers %(status)s",
    "register harp's own HOST:8780",
    "the control API takes it",
    "%(version)s is new enough for AppAPI",
    "%(version)s is too old for AppAPI",
    "no version is too old for AppAPI",
    "install %(least)s or newer",
    "no app is known, and %(count)s times somebody came with another key: AppAPI, it seems",
    (
        "give AppAPI the key that HP_SHARED_KEY has: `occ app_api:daemon:unregister NAME`, then `occ "
        "app_api:daemon:register` with `--harp_shared_key`"
    ),
    "AppAPI has another key than Harp",
    "AppAPI does not take HP_SHARED_KEY either",
    "look at `shared key` first",
    "AppAPI takes it",
    "AppAPI answers %(status)s",
    "occ app:enable app_api; NC_INSTANCE_URL has to be Nextcloud's own address, with its folder",
    # the browsers' way
    "%(address)s takes connections",
    "the web server in front waits for Harp, and gets no answer: packets between them are dropped",
    "the web server in front does not reach Harp, and answers %(status)s",
    "%(address)s answers 400 to http: it speaks https, it seems",
    "the web server in front takes /exapps/ away from the path",
    "the web server in front puts something before /exapps/",
    "/exapps/ does not arrive at this harp: the answer was %(status)s",
    "/exapps/ arrives as it was sent",
    "upgraded",
    "the upgrade is not passed on",
    "events come at once",
    "events are held back",
    "no X-Forwarded-For arrives: all people are one client",
    "HP_TRUSTED_PROXY_IPS is empty: behind the web server in front all people are one client",
    "HP_TRUSTED_PROXY_IPS=ADDRESS of that web server",
    "the person at %(address)s counts as %(counted)s",
    "add %(address)s to HP_TRUSTED_PROXY_IPS, if that is the web server in front",
    "a person counts as %(address)s",
    "let the web server's machine reach port 8780 of Harp's: `nft list ruleset`, `ufw status`",
    # a line for each web server
    "nginx: the address behind `proxy_pass http://` has to be where HP_EXAPPS_ADDRESS listens",
    "Apache: both addresses of `ProxyPass /exapps/` have to be where HP_EXAPPS_ADDRESS listens",
    "Caddy: the address behind `reverse_proxy` has to be where HP_EXAPPS_ADDRESS listens",
    "Traefik: the `url` of the service's server has to be where HP_EXAPPS_ADDRESS listens",
    "nginx: in `location /exapps/`: `proxy_pass http://HARP:8780;` with no path and no `/` behind the port",
    "Apache: `ProxyPass /exapps/ http://HARP:8780/exapps/`: the path stands on both sides",
    "Caddy: `handle /exapps/*` instead of `handle_path /exapps/*`, and no `uri strip_prefix`",
    "Traefik: take the `stripPrefix` or `replacePath` middleware away from the router of `/exapps/`",
    "nginx: `proxy_pass http://HARP:8780;` with no path behind the port, and no `rewrite` for `/exapps/`",
    "Apache: `ProxyPass /exapps/ http://HARP:8780/exapps/` with nothing before `/exapps/`, and no `RewriteRule`",
    "Caddy: no `rewrite` for `/exapps/*` in front of `reverse_proxy HARP:8780`",
    "Traefik: take the `addPrefix` or `replacePath` middleware away from the router of `/exapps/`",
    "nginx: `location /exapps/ { proxy_pass http://HARP:8780; }`",
    "Apache: `ProxyPass /exapps/ http://HARP:8780/exapps/`, before any other `ProxyPass` and `RewriteRule`",
    "Caddy: `handle /exapps/* { reverse_proxy HARP:8780 }`, and the rest of the site in a `handle` of its own",
    "Traefik: a router with ``rule: Host(`CLOUD`) && PathPrefix(`/exapps/`)`` whose service is `http://HARP:8780`",
    (
        "nginx: `proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "
        "$connection_upgrade;` in `location /exapps/`, and the `map` of that variable"
    ),
    "Apache: `upgrade=websocket` at the end of the `ProxyPass` line (2.4.47 or newer)",
    "Caddy: `reverse_proxy HARP:8780` upgrades by itself: remove any `header_up` for Connection or Upgrade",
    "Traefik: it upgrades by itself: remove a `headers` middleware that sets Connection or Upgrade",
    "nginx: `proxy_buffering off;` and `gzip off;` in `location /exapps/`",
    ("Apache: `flushpackets=on` at the end of the `ProxyPass` line; it holds nothing back itself: what is before it?"),
    ("Caddy: `flush_interval -1` inside `reverse_proxy`, and no `response_buffers` (before 2.7: `buffer_responses`)"),
    "Traefik: take the `buffering` middleware away from the router of `/exapps/`",
    "nginx: `proxy_set_header X-Forwarded-For $remote_addr;` in `location /exapps/`",
    "Apache: `ProxyAddHeaders On` (its default; remove an `Off`)",
    "Caddy: remove `header_up -X-Forwarded-For` (Caddy sends it by itself)",
    (
        "Traefik: remove a `headers` middleware that empties X-Forwarded-For, and `notAppendXForwardedFor` of the entry"
        " point (Traefik sends it by itself)"
    ),
    # other machines
    "there is no frps, nor any need of it: apps on other machines could not come",
    "frps not found: FRP daemons cannot be used, and the engine %(engines)s is elsewhere",
    (
        "install frps (frp 0.52 or newer) on PATH and restart harp proxy, or register the daemon with "
        "--harp_exapp_direct in a network that reaches there"
    ),
    "frps does not listen on %(address)s",
    "look at harp's log for what it said; it is started again and again",
    "frps listens on %(address)s",
    "its certificate ends in %(days)s days: nobody comes through FRP any more then",
    "its certificate has ended: nobody comes through FRP any more then",
    (
        "move its folder away (HP_FRP_DIR), restart harp proxy, give engines elsewhere the new ca.crt, "
        "client.crt and client.key, and update each app there"
    ),
    # apps and their containers
    "%(address)s refuses: the app is not running, or has not come through FRP",
    "start it; its log says whether frpc was let in",
    "%(address)s refuses: the app is not running, or listens on 127.0.0.1 inside its container",
    "start it; it has to listen on APP_HOST (0.0.0.0) and APP_PORT of its environment",
    "it has to listen on APP_HOST (0.0.0.0) and APP_PORT of its environment",
    "its container %(name)s does not run: %(how)s",
    "`docker logs %(name)s` tells why; `docker start %(same)s`, or enable the app again in Nextcloud",
    "nothing listens on port %(port)s in its container %(name)s",
    (
        "`docker logs %(name)s`: is it still starting? it has to listen on APP_HOST (0.0.0.0) and APP_PORT of "
        "its environment"
    ),
    "it listens on 127.0.0.1:%(port)s inside its container %(name)s: nobody reaches that",
    "it listens on port %(port)s, and something on the way to %(name)s refuses",
    # engines, and what the world reaches
    "there is no %(address)s, and HP_DOCKER_ENGINES names none: apps are installed by hand alone",
    "what answers at %(address)s is no Docker Engine that helps: %(said)s",
    "correct its place in HP_DOCKER_ENGINES",
    "%(address)s is Docker %(version)s, which is too old",
    "install Docker Engine 20.10 or newer",
    "%(address)s answers anybody at an address of the Internet: who reaches it is root there",
    "`dockerd -H unix:///var/run/docker.sock` without `-H tcp://`; a remote engine comes through FRP",
    "%(address)s is Docker %(version)s",
    "its container %(name)s is published at %(addresses)s: people come to it without Harp",
    "make %(name)s without `-p`/`ports:`: Harp reaches it in its own network, and firewalls do not stop Docker",
    "it is in the host's network and listens on port %(port)s of all addresses, not on APP_HOST alone",
    "it has to listen on APP_HOST of its environment (127.0.0.1), or be registered with `--net bridge`",
    "%(port)s of Harp's container is published at %(addresses)s",
    "in compose.yaml: `127.0.0.1:%(port)s:%(same)s`, or an address of a private network before it",
    "%(port)s is open at %(addresses)s, an address of the Internet",
    "`%(setting)s=127.0.0.1:%(port)s`, or an address of a private network that Nextcloud is in too; then restart",
    "%(port)s was found open at no address of the Internet",
)
