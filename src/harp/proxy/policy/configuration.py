# SPDX-License-Identifier: AGPL-3.0-or-later
"""The text of ``haproxy.cfg`` and of its SPOE file, for HAProxy 2.6 to 3.2. Same shape, same bytes.

A request passes the frontend, where it is told whose it is and what for, then the backend of its app's slot, where its
route is looked up. What is known ends there with ``allow``; only the rest asks the agent. Variables of one request:

    ip, net    the client's address, and what bans count (an IPv6 network of 64 bits)
    key        there if the shared key was right
    rec        the app's record: slot|address|port|version|token's header for nobody
    cred       the credential's key; pending, if nobody knows yet whom it is
    ul         what the person may use (Level)
    route      level:status:status… of the first route that matched; 3 where the agent has to match
    why, st    the reason and the status of a refusal; count, if it counts
    harp.*     what the agent answered
"""

import functools
import re
from dataclasses import dataclass

from harp.proxy.policy.decide import CLIMBS

ASK = 3
"""In the place of a route's level: the agent has to match this one and all behind it."""
RING_MOST = 100
"""The most failures that a table remembers one by one."""
MODULUS = 2_000_000_000
"""Times in tables are milliseconds modulo this (23 days): tables hold 32 bits."""
LIFETIME_MOST_MS = 10_500
CONTROL_MS = 2_800
ASK_S = 2
WAIT_S = 1.5
"""After this long the agent says "wait", before HAProxy's own time-out of :data:`ASK_S` ends the question."""
ASKED_AGAIN = 17
"""Times 1.5 s is 25 s and a little, the time that Nextcloud is given."""

_NAMES = "oc_sessionPassphrase|nc_session_id|nc_token|nc_username|__Host-nc_sameSite[A-Za-z]*|oc[a-z0-9]{10}"
OTHER_COOKIES = f"(?:^|;) *+(?!(?:{_NAMES})=)[^;]+"
NEXTCLOUD_COOKIES = f"(?:^|;) *+(?:{_NAMES})=[^;]*"
_SIGNED = ("ex-app-id", "ex-app-version", "ex-app-host", "ex-app-port", "authorization-app-api")
_DOCKER = r"^(/v[0-9.]+)?"
_NOW = f"date(0,ms),mod({MODULUS})"
_TEXTS = {
    401: "401 Unauthorized",
    403: "403 Forbidden",
    404: "404 Not Found",
    429: "429 Too Many Requests",
    503: "503 Service Unavailable (Harp)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """All that the configuration is made from; a change of any of it is a reload."""

    run: str
    binds: tuple[str, ...]
    certificate: str = ""
    tls_binds: tuple[str, ...] = ()
    agent: str
    control: str
    key_digest: str
    """SHA-256 of the shared key in capital hexadecimal digits: the key itself is in no file."""
    trusted: tuple[str, ...] = ()
    timeout_connect: str = "30s"
    timeout_client: str = "30s"
    timeout_server: str = "1800s"
    timeout_tunnel: str = "1800s"
    ban_count: int = 10
    ban_window_s: int = 300
    maxconn: int = 2000
    threads: int = 0
    slots: int = 16
    statuses: int = 16
    """How many statuses a route may name before the configuration has to grow."""
    bufsize: int = 32_768
    access_log: bool = False
    forward_credentials: bool = False
    control_via_proxy: bool = False
    has_exporter: bool = True
    hard_stop_s: int = 86_400


def quoted(text: str) -> str:
    """One word of the configuration, whatever is in it (Configuration Manual, 2.2). Newlines cannot be there."""
    if any(c in text for c in "\n\r\0"):
        raise ValueError("a line's end cannot be written into HAProxy's configuration")
    return '"' + "".join("\\" + c if c in '"\\$' else c for c in text) + '"'


def map_file(shape: Shape, name: str) -> str:
    """Where a map lies; it is also the map's name on the runtime socket."""
    return f"{shape.run}/{name}.map"


@functools.lru_cache(maxsize=4)
def haproxy_cfg(shape: Shape) -> str:
    """The whole of ``haproxy.cfg``."""
    sections = [_global(shape), _defaults(shape), _tables(shape), _frontend(shape)]
    sections += [_slot(shape, number) for number in range(shape.slots)]
    sections += [_unknown(shape), _refuse(shape), _control(shape), _docker(), _agents(shape), _inside(shape)]
    return "\n".join("\n".join(section) for section in sections) + "\n"


def spoe_conf() -> str:
    """The question to the agent, and how long it may take."""
    arguments = (
        "app=var(txn.app) target=var(txn.target) ip=var(txn.ip) key=var(txn.key) signed=var(txn.signed) "
        "cred=var(txn.cred) cookie=var(txn.cookie) auth=var(txn.auth) passphrase=var(txn.passphrase) "
        "agent=req.fhdr(user-agent) lang=req.fhdr(accept-language) "
        "host=req.fhdr(ex-app-host) port=req.fhdr(ex-app-port) version=req.fhdr(ex-app-version)"
    )
    return f"""[harp]
spoe-agent harp
    groups ask
    option var-prefix harp
    option set-on-error err
    option continue-on-error
    timeout hello 1s
    timeout idle 1m
    timeout processing {ASK_S}s
    use-backend agents

spoe-group ask
    messages ask

spoe-message ask
    args {arguments}
"""


def _global(shape: Shape) -> list[str]:
    return [
        "global",
        f"    stats socket {quoted('unix@' + shape.run + '/haproxy.sock')} mode 600 level admin expose-fd listeners",
        "    stats timeout 1m",
        f"    maxconn {shape.maxconn}",
        *([f"    nbthread {shape.threads}"] if shape.threads else []),
        f"    hard-stop-after {shape.hard_stop_s}s",
        f"    tune.bufsize {shape.bufsize}",
        "    ssl-default-bind-options ssl-min-ver TLSv1.2",
        f"    set-var proc.harp_key str({shape.key_digest})",
        "",
    ]


def _defaults(shape: Shape) -> list[str]:
    return [
        "defaults",
        "    mode http",
        f"    maxconn {shape.maxconn}",
        f"    timeout connect {shape.timeout_connect}",
        f"    timeout client {shape.timeout_client}",
        f"    timeout server {shape.timeout_server}",
        f"    timeout tunnel {shape.timeout_tunnel}",
        "    timeout client-fin 30s",
        "    timeout http-request 30s",
        "    timeout http-keep-alive 60s",
        "",
    ]


def ring_of(shape: Shape) -> int:
    """How many failures of one client are remembered."""
    return min(shape.ban_count, RING_MOST)


def _tables(shape: Shape) -> list[str]:
    ring = ring_of(shape)
    # Above 100 failures a table cannot hold them one by one: a rate over the window stands in.
    store = f"gpt({ring})" if shape.ban_count <= RING_MOST else f"gpt({ring}),gpc(1),gpc_rate(1,{shape.ban_window_s}s)"
    return [
        "backend bans",
        f"    stick-table type ipv6 size 100k expire {shape.ban_window_s}s store {store}",
        "",
        "backend sessions",
        "    stick-table type binary len 32 size 100k expire 15s store gpt(2)",
        "",
        "backend reasons",
        "    stick-table type string len 32 size 64 expire 20d store gpc(1)",
        "",
    ]


# --- the frontend -----------------------------------------------------------------------------------------------------


def _frontend(shape: Shape) -> list[str]:
    tls = [
        f"    bind {quoted(bind)} ssl crt {quoted(shape.certificate)} alpn h2,http/1.1"
        for bind in (shape.tls_binds if shape.certificate else ())
    ]
    return [
        "frontend exapps",
        *(f"    bind {quoted(bind)}" for bind in shape.binds),
        *tls,
        *_log(shape),
        *_client(shape),
        *_banned(shape),
        *_path(),
        *_signed(),
        *_credentials(shape),
        *_to_app(shape),
        "    use_backend refuse if { var(txn.st) -m found }",
        *_to_control(shape),
        "    use_backend slot%[var(txn.slot)] if { var(txn.slot) -m found }",
        "    default_backend unknown",
        "",
    ]


def _log(shape: Shape) -> list[str]:
    if not shape.access_log:
        return []
    texts = {
        "time": "date,utime(%Y-%m-%dT%H:%M:%SZ)",
        "client": "var(txn.ip)",
        "method": "method",
        "path": "var(txn.path),json(utf8s)",
        "app": "var(txn.app),json(utf8s)",
        "reason": "var(txn.why)",
        "backend": "be_name",
    }
    fields = [f'"{name}":"%[{fetch}]"' for name, fetch in texts.items() if name not in ("method", "backend")]
    fields += ['"method":"%HM"', '"backend":"%b"', '"status":%ST', '"bytes":%B', '"ms":%Ta', '"ended":"%ts"']
    written = "{" + ",".join(fields) + "}"
    return ["    log stdout format raw local0 info", f"    log-format {quoted(written)}"]


def _client(shape: Shape) -> list[str]:
    """The right-most address that is no trusted proxy's; else ``X-Real-IP``, else the peer (105–108)."""
    if not shape.trusted:
        return ["    http-request set-var(txn.ip) src", "    http-request set-var(txn.net) src,ipmask(32,64)"]
    trusted = f"-f {quoted(shape.run + '/trusted.lst')}"
    lines = [
        f"    acl from_proxy src {trusted}",
        "    http-request set-var(txn.ip) src",
        "    http-request set-var(txn.ip) req.hdr_ip(x-real-ip) if from_proxy",
    ]
    for hop in range(1, 9):
        still = f" {{ var(txn.hop) -m ip {trusted} }}" if hop > 1 else ""
        lines += [
            f"    http-request set-var(txn.hop) req.hdr_ip(x-forwarded-for,-{hop}) if from_proxy{still}",
        ]
    lines += [
        "    http-request set-var(txn.ip) var(txn.hop) if { var(txn.hop) -m found }",
        "    http-request set-var(txn.net) var(txn.ip),ipmask(32,64)",
    ]
    return lines


def _banned(shape: Shape) -> list[str]:
    has_key = "{ req.fhdr(harp-shared-key) -m found }"
    right = "{ req.fhdr(harp-shared-key),sha2(256),hex,secure_memcmp(proc.harp_key) }"
    window = shape.ban_window_s * 1000
    lines = [f"    http-request set-var(txn.key) bool(true) if {has_key} {right}"]
    if shape.ban_count <= RING_MOST:
        oldest = ring_of(shape) - 1
        lines += [
            f"    http-request set-var(txn.oldest) var(txn.net),table_gpt({oldest},bans)",
            f"    http-request set-var(txn.age) {_NOW},sub(txn.oldest),add({MODULUS}),mod({MODULUS})"
            " if { var(txn.oldest) -m int gt 0 }",
            "    http-request set-var(txn.why) str(banned) if"
            f" {{ var(txn.age) -m int lt {window} }} !{{ var(txn.key) -m found }}",
        ]
    else:
        lines += [
            "    http-request set-var(txn.age) int(0)",
            "    http-request set-var(txn.why) str(banned) if"
            f" {{ var(txn.net),table_gpc_rate(0,bans) ge {shape.ban_count} }} !{{ var(txn.key) -m found }}",
        ]
    return [
        *lines,
        "    http-request return status 429 content-type text/plain string"
        f' "{_TEXTS[429]}" hdr retry-after "%[int({window}),sub(txn.age),div(1000),add(1)]"'
        " if { var(txn.why) -m found }",
    ]


def _path() -> list[str]:
    climbs = quoted(CLIMBS)
    return [
        "    http-request set-var(txn.path) path",
        "    http-request set-var(txn.app) path,field(3,/) if { path_beg /exapps/ }",
        '    http-request set-var-fmt(txn.target) "/%[path,field(4,/,0)]"',
        *_refused("parent-directory", 403, f"{{ path -m reg {climbs} }}"),
        *_refused("no-app-id", 404, "!{ var(txn.app) -m len gt 0 } !{ var(txn.st) -m found }"),
        "    acl control var(txn.app) -m str app_api",
        *_refused("wrong-key", 401, "control !{ var(txn.key) -m found } !{ var(txn.st) -m found }"),
    ]


def _refused(why: str, status: int, condition: str) -> list[str]:
    """A refusal before any app is looked at; it counts unless the key was right (2.10)."""
    return [
        f"    http-request set-var(txn.why) str({why}) if {condition}",
        f"    http-request set-var(txn.st) int({status}) if {{ var(txn.why) -m str {why} }} {condition}",
    ]


def _signed() -> list[str]:
    headers = " ".join(f"{{ req.fhdr({name}) -m found }}" for name in _SIGNED)
    has_key = "{ req.fhdr(harp-shared-key) -m found }"
    return [
        f"    http-request set-var(txn.signed) bool(true) if {has_key} !control {headers}",
        *_refused(
            "wrong-key",
            401,
            "{ var(txn.signed) -m found } !{ var(txn.key) -m found } !{ var(txn.st) -m found }",
        ),
    ]


def _credentials(shape: Shape) -> list[str]:
    others, own = quoted_argument(OTHER_COOKIES), quoted_argument(NEXTCLOUD_COOKIES)
    cookie, authorization = "{ var(txn.cookie) -m found }", "{ var(txn.auth) -m found }"
    unsigned, asked = "!{ var(txn.signed) -m found }", "{ var(txn.cred) -m found }"
    creds = "%[var(txn.mine),length]:%[var(txn.mine)]%[var(txn.auth),length]:%[var(txn.auth)]%[var(txn.app),lower]"
    users = map_file(shape, "users")
    lines = [
        "    http-request set-var(txn.cookie) req.fhdr(cookie)",
        "    http-request set-var(txn.auth) req.fhdr(authorization)",
        "    http-request set-var(txn.passphrase) bool(true) if "
        f"{cookie} {{ var(txn.cookie) -m reg {quoted('(?:^|;) *oc_sessionPassphrase=[^; ]')} }}",
        f"    http-request set-var(txn.mine) \"var(txn.cookie),regsub('{others}','',g)\" if {cookie}",
        f'    http-request set-var-fmt(txn.creds) "{creds}" if {unsigned} {{ var(txn.passphrase) -m found }}',
        f'    http-request set-var-fmt(txn.creds) "{creds}" if {unsigned} {authorization}',
        "    http-request set-var(txn.cred) var(txn.creds),sha2(256) if { var(txn.creds) -m found }",
        "    http-request set-var(txn.ul) int(0)",
        f"    http-request set-var(txn.now) {_NOW} if {asked}",
        f"    http-request set-var(txn.left) var(txn.cred),table_gpt(1,sessions),sub(txn.now) if {asked}",
        "    http-request set-var(txn.uid) var(txn.cred),table_gpt(0,sessions) if"
        f" {asked} {{ var(txn.left) -m int 1:{LIFETIME_MOST_MS} }}",
        f"    http-request set-var(txn.text) var(txn.uid),map_str({quoted(users)}) if {{ var(txn.uid) -m found }}",
        f"    http-request set-var(txn.pending) bool(true) if {asked} !{{ var(txn.text) -m found }}",
        "    http-request set-var(txn.ul) var(txn.uid),mod(4) if { var(txn.text) -m found }",
    ]
    if not shape.forward_credentials:
        lines += [
            f"    http-request set-var(txn.rest) \"var(txn.cookie),regsub('{own}','',g),ltrim('; ')\" if {cookie}",
            f'    http-request set-header cookie "%[var(txn.rest)]" if {cookie} {{ var(txn.rest) -m len gt 0 }}',
            f"    http-request del-header cookie if {cookie} !{{ var(txn.rest) -m len gt 0 }}",
            f"    http-request del-header authorization if {authorization} {{ var(txn.text) -m found }}"
            " { var(txn.uid),div(4),mod(2) eq 1 }",
            f"    http-request del-header authorization if {authorization} {{ var(txn.signed) -m found }}"
            ' { var(txn.auth) -m beg -i "basic " }',
        ]
    return lines


def quoted_argument(text: str) -> str:
    """What stands in ``'…'`` within ``"…"``: an argument of a converter."""
    if "'" in text or not re.fullmatch(r"[ -~]*", text):
        raise ValueError("an argument that cannot be quoted")
    return "".join("\\" + c if c in '"\\$' else c for c in text)


def _to_app(shape: Shape) -> list[str]:
    apps = map_file(shape, "apps")
    known = "{ var(txn.rec) -m found }"
    internal = "{ var(txn.target) -m str /heartbeat /init /enabled }"
    return [
        f"    http-request set-var(txn.rec) var(txn.app),lower,map_str({quoted(apps)}) if !control",
        "    http-request set-var(txn.slot) var(txn.rec),field(1,|)",
        *_refused("internal-path", 403, f"{known} !{{ var(txn.signed) -m found }} {internal}"),
        "    http-request set-header EX-APP-ID %[var(txn.app)] if !control",
        "    http-request set-header AA-VERSION 32 if !control",
        f"    http-request set-header EX-APP-VERSION %[var(txn.rec),field(4,|),url_dec] if {known}",
        f"    http-request set-header AUTHORIZATION-APP-API %[var(txn.rec),field(5,|)] if {known}"
        " !{ var(txn.signed) -m found } !{ var(txn.text) -m found }",
        "    http-request set-header AUTHORIZATION-APP-API %[var(txn.text)] if { var(txn.text) -m found }",
        f"    http-request set-dst var(txn.rec),field(2,|) if {known}",
        f"    http-request set-dst-port var(txn.rec),field(3,|) if {known}",
        "    http-request set-path %[var(txn.target)]",
    ]


def _to_control(shape: Shape) -> list[str]:
    through = ""
    if shape.trusted and not shape.control_via_proxy:
        through = (
            "    acl through_proxy req.fhdr(x-forwarded-for) -m found\n"
            "    acl through_proxy req.fhdr(x-real-ip) -m found\n"
            "    acl through_proxy req.fhdr(forwarded) -m found\n"
            "    use_backend control_via_proxy if control from_proxy through_proxy\n"
        )
    return [
        f"{through}    use_backend docker if control {{ req.hdr(docker-engine-port) -m len gt 0 }}"
        " !{ var(txn.target) -m beg /docker/ }",
        "    use_backend control if control",
    ]


# --- the backends -----------------------------------------------------------------------------------------------------


def _slot(shape: Shape, number: int) -> list[str]:
    routes = quoted(map_file(shape, f"slot{number}"))
    pending, signed = "{ var(txn.pending) -m found }", "{ var(txn.signed) -m found }"
    nobody = "!{ var(txn.route) -m found }"
    return [
        f"backend slot{number}",
        f"    filter spoe engine harp config {quoted(shape.run + '/spoe.conf')}",
        *_bare(),
        f"    http-request allow if {signed}",
        f"    http-request set-var(txn.route) var(txn.target),map_reg({routes})",
        "    http-request set-var(txn.lack) var(txn.route),field(1,:),sub(txn.ul)",
        f"    http-request allow if {{ var(txn.lack) -m int le 0 }} !{pending}",
        f"    http-request set-var(txn.why) str(no-route) if {nobody}",
        f"    http-request set-var(txn.st) int(404) if {nobody}",
        f"    http-request set-var(txn.ask) bool(true) if {pending} {{ var(txn.route) -m found }}",
        f"    http-request set-var(txn.ask) bool(true) if {{ var(txn.route) -m beg {ASK} }}",
        "    http-request set-var(txn.why) str(forbidden) if { var(txn.route) -m found } !{ var(txn.ask) -m found }",
        "    http-request set-var(txn.st) int(403) if { var(txn.route) -m found } !{ var(txn.ask) -m found }",
        "    http-request set-var(txn.count) bool(true) if { var(txn.st) -m found }",
        *_ask("{ var(txn.ask) -m found }"),
        *_without_answer(shape, "{ var(txn.route) -m beg 0 }"),
        *_answered(shape),
        *_refusal(shape),
        *_watched(shape),
        "    server app 0.0.0.0",
        "",
    ]


def _bare() -> list[str]:
    """What no app ever sees."""
    names = ("harp-shared-key", "ex-app-host", "ex-app-port")
    return [f"    http-request del-header {name}" for name in names]


def _ask(condition: str) -> list[str]:
    again = (
        "    http-request send-spoe-group harp ask if { var(txn.harp.wait) -m bool } !{ var(txn.harp.err) -m found }"
    )
    return [f"    http-request send-spoe-group harp ask if {condition}", *([again] * ASKED_AGAIN)]


def _without_answer(shape: Shape, is_public: str) -> list[str]:
    """The agent is away: public routes go on, without the person and what identified them."""
    failed = "{ var(txn.harp.err) -m found }"
    forgotten = [] if shape.forward_credentials else [f"    http-request del-header authorization if {failed}"]
    return [
        *forgotten,
        f"    http-request allow if {failed} {is_public}",
        f"    http-request set-var(txn.why) str(agent-away) if {failed}",
        f"    http-request set-var(txn.st) int(503) if {failed}",
    ]


def _answered(shape: Shape) -> list[str]:
    """What the agent said is done, and remembered."""
    users = quoted(map_file(shape, "users"))
    lasts, said = "{ var(txn.harp.until) -m found }", "{ var(txn.harp.st) -m found }"
    allowed = "{ var(txn.harp.st) -m int 200 }"
    strip = (
        []
        if shape.forward_credentials
        else [f"    http-request del-header authorization if {allowed} {{ var(txn.harp.strip) -m bool }}"]
    )
    return [
        f"    http-request set-map({users}) %[var(txn.harp.uid)] %[var(txn.harp.text)] if {lasts}"
        f" !{{ var(txn.harp.uid),map_str({users}) -m found }}",
        f"    http-request track-sc1 var(txn.cred) table sessions if {lasts}",
        f"    http-request sc-set-gpt(0,1) var(txn.harp.uid) if {lasts}",
        f"    http-request sc-set-gpt(1,1) var(txn.harp.until) if {lasts}",
        f"    http-request set-header AUTHORIZATION-APP-API %[var(txn.harp.text)] if {allowed}"
        " { var(txn.harp.text) -m found }",
        f"    http-request set-header EX-APP-VERSION %[var(txn.harp.version)] if {allowed}",
        f"    http-request set-dst var(txn.harp.address) if {allowed}",
        f"    http-request set-dst-port var(txn.harp.port) if {allowed}",
        f"    http-request set-var(txn.route) var(txn.harp.route) if {allowed} {{ var(txn.harp.route) -m found }}",
        *strip,
        f"    http-request allow if {allowed}",
        f"    http-request set-var(txn.st) var(txn.harp.st) if {said}",
        f"    http-request set-var(txn.why) var(txn.harp.why) if {said}",
        f"    http-request set-var(txn.count) bool(true) if {said} {{ var(txn.harp.count) -m bool }}",
        "    http-request set-var(txn.why) str(agent-away) if !{ var(txn.st) -m found }",
        "    http-request set-var(txn.st) int(503) if !{ var(txn.st) -m found }",
    ]


def _refusal(shape: Shape) -> list[str]:
    """Everybody who comes here is refused."""
    return [
        *_counted(shape, "http-request", "{ var(txn.count) -m found }"),
        "    http-request track-sc2 var(txn.why) table reasons",
        "    http-request sc-inc-gpc(0,2)",
        *(
            f'    http-request return status {status} content-type text/plain string "{text}"'
            f" if {{ var(txn.st) -m int {status} }}"
            for status, text in _TEXTS.items()
        ),
        "    http-request deny deny_status 503",
    ]


def _counted(shape: Shape, rule: str, condition: str) -> list[str]:
    """One failure more of this client: the ring moves on by one, newest first."""
    ring = ring_of(shape)
    # With the right key nothing counts (98, 99).
    condition += " !{ var(txn.key) -m found }"
    lines = [f"    {rule} track-sc0 var(txn.net) table bans if {condition}"]
    if shape.ban_count > RING_MOST:
        return [*lines, f"    {rule} sc-inc-gpc(0,0) if {condition}"]
    lines += [
        f"    {rule} sc-set-gpt({place},0) sc_get_gpt({place - 1},0) if {condition}" for place in range(ring - 1, 0, -1)
    ]
    return [*lines, f"    {rule} sc-set-gpt(0,0) {_NOW} if {condition}"]


def _watched(shape: Shape) -> list[str]:
    """Answers of the app that count as failures of the client (102, 103)."""
    listed = "{ var(txn.route),field(2,:) -m found }"
    return [
        f"    http-response allow if !{listed}",
        "    http-response set-var(txn.status) status",
        *(
            f"    http-response set-var(txn.hit) bool(true) if {{ var(txn.route),field({place},:),sub(txn.status) 0 }}"
            for place in range(2, shape.statuses + 2)
        ),
        "    http-response allow if !{ var(txn.hit) -m found }",
        *_counted(shape, "http-response", "TRUE"),
    ]


def _unknown(shape: Shape) -> list[str]:
    return [
        "backend unknown",
        f"    filter spoe engine harp config {quoted(shape.run + '/spoe.conf')}",
        *_ask("TRUE"),
        *_bare(),
        *_without_answer(shape, "FALSE"),
        *_answered(shape),
        *_refusal(shape),
        *_watched(shape),
        "    server app 0.0.0.0",
        "",
    ]


def _refuse(shape: Shape) -> list[str]:
    return [
        "backend refuse",
        "    http-request set-var(txn.count) bool(true)",
        *_refusal(shape),
        "",
    ]


def _control(shape: Shape) -> list[str]:
    server = f"    server control {quoted('unix@' + shape.control)}"
    lines = [
        "backend control",
        # What deploys may take minutes; whatever else is not answered soon finds the agent hung or gone.
        f"    http-request set-timeout server {CONTROL_MS}ms if !{{ path_beg /docker/ /k8s/ }}",
        *(f'    http-error status {status} content-type text/plain string "{_TEXTS[503]}"' for status in (502, 504)),
        "    http-after-response set-status 503 if { status 502 504 }",
        "    retries 0",
        server,
        "",
    ]
    if shape.trusted and not shape.control_via_proxy:
        lines += [
            "backend control_via_proxy",
            "    http-request set-var(txn.why) str(control-via-proxy)",
            "    http-request track-sc2 var(txn.why) table reasons",
            "    http-request sc-inc-gpc(0,2)",
            # The agent says it, and writes it down once.
            "    http-request set-path /refused/via-proxy",
            "    http-request set-method GET",
            server,
            "",
        ]
    return lines


def _docker() -> list[str]:
    """The few paths of a Docker engine that AppAPI may reach (contract, 3.5)."""
    raw = "path,url_dec -m reg -i"
    allowed = {
        rf"{_DOCKER}/_ping$": "METH_GET",
        rf"{_DOCKER}/images/.*/json": "METH_GET",
        rf"{_DOCKER}/containers/nc_app_[a-zA-Z0-9_.-]+/(json|logs)": "METH_GET",
        rf"{_DOCKER}/images/create": "METH_POST",
    }
    port = "req.hdr(docker-engine-port)"
    return [
        "backend docker",
        f'    http-request return status 503 content-type text/plain string "{_TEXTS[503]}"'
        f' unless {{ {port} -m reg "^[0-9]{{1,5}}\\$" }} {{ {port} -m int 1:65535 }}',
        *(
            f"    http-request set-var(txn.engine) bool(true) if {{ {raw} {quoted(pattern)} }} {method}"
            for pattern, method in allowed.items()
        ),
        "    http-request deny deny_status 403 if !{ var(txn.engine) -m found }",
        f"    http-request set-dst-port {port}",
        *_bare()[:1],
        "    server engine 127.0.0.1",
        "",
    ]


def _agents(shape: Shape) -> list[str]:
    return [
        "backend agents",
        "    mode tcp",
        "    timeout connect 1s",
        "    timeout server 3m",
        "    timeout check 2s",
        "    option spop-check",
        f"    server agent {quoted(shape.agent)} check inter 1s fastinter 250ms fall 2 rise 1",
        "",
    ]


def _inside(shape: Shape) -> list[str]:
    """What only this machine's user reaches: HAProxy's own figures, and the way back of bans after a reload."""
    exporter = ["    http-request use-service prometheus-exporter if { path /metrics }"] if shape.has_exporter else []
    ring = [
        f"    http-request sc-set-gpt({place},0) req.fhdr(x-ring),field({place + 1},:)"
        for place in range(ring_of(shape))
    ]
    return [
        "frontend inside",
        f"    bind {quoted('unix@' + shape.run + '/inside.sock')} mode 600",
        *exporter,
        "    http-request return status 404 if !{ path /ban }",
        "    http-request track-sc0 req.hdr_ip(x-client) table bans",
        *ring,
        "    http-request return status 204",
        "",
    ]
