# SPDX-License-Identifier: AGPL-3.0-or-later
"""The frontend: whose request it is, and what for. Nothing here depends on an app's routes."""

from harp.proxy.model import CONTROL_ID, INTERNAL_PATHS
from harp.proxy.policy import engines
from harp.proxy.policy.decide import CLIMBS
from harp.proxy.policy.shape import (
    LIFETIME_MOST_MS,
    MODULUS,
    NOW,
    RING_MOST,
    TEXTS,
    Shape,
    map_file,
    quoted,
    quoted_argument,
    ring_of,
)

_NAMES = "oc_sessionPassphrase|nc_session_id|nc_token|nc_username|__Host-nc_sameSite[A-Za-z]*|oc[a-z0-9]{10}"
OTHER_COOKIES = f"(?:^|;) *+(?!(?:{_NAMES})=)[^;]+"
NEXTCLOUD_COOKIES = f"(?:^|;) *+(?:{_NAMES})=[^;]*"
HOPS_MOST = 8
"""How many proxies in a row are looked behind."""
_SIGNED = ("ex-app-id", "ex-app-version", "ex-app-host", "ex-app-port", "authorization-app-api")


def frontend(shape: Shape) -> list[str]:
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
        *_path(shape),
        *_signed(),
        *_to_app(shape),
        *_credentials(shape),
        "    use_backend refuse if { var(txn.why) -m found }",
        "    use_backend slot%[var(txn.rec),field(1,|)] if { var(txn.rec) -m found }",
        *_to_control(shape),
        "    default_backend unknown",
        "",
    ]


def _log(shape: Shape) -> list[str]:
    if not shape.access_log:
        return []
    texts = {
        "time": "date,utime(%Y-%m-%dT%H:%M:%SZ)",
        "client": client(shape),
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


def client(shape: Shape) -> str:
    """What fetches the client's address."""
    return "var(txn.ip)" if shape.trusted else "src"


def _client(shape: Shape) -> list[str]:
    """The right-most address that is no trusted proxy's; else ``X-Real-IP``, else the peer (105–108)."""
    if not shape.trusted:
        return ["    http-request set-var(txn.net) src,ipmask(32,64)"]
    trusted = f"-f {quoted(shape.run + '/trusted.lst')}"
    hops = range(1, HOPS_MOST + 1)
    return [
        f"    acl from_proxy src {trusted}",
        "    http-request set-var(txn.ip) src",
        "    http-request set-var(txn.ip) req.hdr_ip(x-real-ip) if from_proxy",
        "    http-request set-var(txn.hop1) req.hdr_ip(x-forwarded-for,-1) if from_proxy",
        # The next one counts only while this one is a proxy's; one that is no address ends it.
        *(
            f"    http-request set-var(txn.hop{hop + 1}) req.hdr_ip(x-forwarded-for,-{hop + 1})"
            f" if {{ var(txn.hop{hop}) -m ip {trusted} }}"
            for hop in hops[:-1]
        ),
        *(f"    http-request set-var(txn.ip) var(txn.hop{hop}) if {{ var(txn.hop{hop}) -m found }}" for hop in hops),
        "    http-request set-var(txn.net) var(txn.ip),ipmask(32,64)",
    ]


def _banned(shape: Shape) -> list[str]:
    has_key = "{ req.fhdr(harp-shared-key) -m found }"
    right = "{ req.fhdr(harp-shared-key),sha2(256),hex,secure_memcmp(proc.harp_key) }"
    window = shape.ban_window_s * 1000
    lines = [f"    http-request set-var(txn.key) bool(true) if {has_key} {right}"]
    if shape.ban_count <= RING_MOST:
        failed = f"var(txn.net),table_gpt({ring_of(shape) - 1},bans)"
        lines += [
            f"    http-request set-var(txn.oldest) {failed} if {{ {failed} gt 0 }}",
            f"    http-request set-var(txn.age) {NOW},sub(txn.oldest),add({MODULUS}),mod({MODULUS})"
            " if { var(txn.oldest) -m found }",
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
        f' "{TEXTS[429]}" hdr retry-after "%[int({window}),sub(txn.age),div(1000),add(1)]"'
        " if { var(txn.why) -m found }",
    ]


def _path(shape: Shape) -> list[str]:
    """From here on ``path`` is what the app is asked for; who is refused here is looked at no further."""
    as_it_came = ["    http-request set-var(txn.path) path"] if shape.access_log else []
    return [
        *as_it_came,
        "    http-request set-var(txn.app) path,field(3,/) if { path_beg /exapps/ }",
        # The search for two texts spares most requests the expression.
        f"    http-request set-var(txn.why) str(parent-directory) if {{ path -m sub -i .. %2e }}"
        f" {{ path -m reg {quoted(CLIMBS)} }}",
        "    http-request set-var(txn.why) str(no-app-id) if !{ var(txn.app) -m len gt 0 } !{ var(txn.why) -m found }",
        "    http-request allow if { var(txn.why) -m found }",
        '    http-request set-path "/%[path,field(4,/,0)]"',
        f"    acl control var(txn.app) -m str {CONTROL_ID}",
        "    http-request set-var(txn.why) str(wrong-key) if control !{ var(txn.key) -m found }",
        "    http-request allow if control",
    ]


def _signed() -> list[str]:
    headers = " ".join(f"{{ req.fhdr({name}) -m found }}" for name in _SIGNED)
    return [
        f"    http-request set-var(txn.signed) bool(true) if {{ req.fhdr(harp-shared-key) -m found }} {headers}",
        "    http-request set-var(txn.why) str(wrong-key) if { var(txn.signed) -m found } !{ var(txn.key) -m found }",
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
        f"    http-request set-var(txn.now) {NOW} if {asked}",
        f"    http-request set-var(txn.left) var(txn.cred),table_gpt(1,sessions),sub(txn.now) if {asked}",
        "    http-request set-var(txn.uid) var(txn.cred),table_gpt(0,sessions) if"
        f" {asked} {{ var(txn.left) -m int 1:{LIFETIME_MOST_MS} }}",
        f"    http-request set-var(txn.text) var(txn.uid),map_str({quoted(users)}) if {{ var(txn.uid) -m found }}",
        f"    http-request set-var(txn.pending) bool(true) if {asked} !{{ var(txn.text) -m found }}",
        "    http-request set-var(txn.ul) var(txn.uid),mod(4) if { var(txn.text) -m found }",
        "    http-request set-header AUTHORIZATION-APP-API %[var(txn.text)] if { var(txn.text) -m found }",
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


def _to_app(shape: Shape) -> list[str]:
    apps = map_file(shape, "apps")
    known, signed = "{ var(txn.rec) -m found }", "{ var(txn.signed) -m found }"
    return [
        f"    http-request set-var(txn.rec) var(txn.app),lower,map_str({quoted(apps)})",
        f"    http-request set-var(txn.why) str(internal-path) if {{ path -m str {' '.join(INTERNAL_PATHS)} }}"
        f" {known} !{signed}",
        "    http-request set-header EX-APP-ID %[var(txn.app)]",
        "    http-request set-header AA-VERSION 32",
        f"    http-request set-header EX-APP-VERSION %[var(txn.rec),field(4,|),url_dec] if {known}",
        f"    http-request set-header AUTHORIZATION-APP-API %[var(txn.rec),field(5,|)] if {known} !{signed}",
        f"    http-request set-dst var(txn.rec),field(2,|) if {known}",
        f"    http-request set-dst-port var(txn.rec),field(3,|) if {known}",
        "    http-request allow if !{ req.fhdr(cookie) -m found } !{ req.fhdr(authorization) -m found }",
    ]


def _to_control(shape: Shape) -> list[str]:
    through = []
    if shape.trusted and not shape.control_via_proxy:
        through = [
            "    acl through_proxy req.fhdr(x-forwarded-for) -m found",
            "    acl through_proxy req.fhdr(x-real-ip) -m found",
            "    acl through_proxy req.fhdr(forwarded) -m found",
            "    use_backend control_via_proxy if control from_proxy through_proxy",
        ]
    return [
        *through,
        *engines.choice(shape),
        "    use_backend control if control",
    ]
