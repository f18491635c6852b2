# SPDX-License-Identifier: AGPL-3.0-or-later
"""The frontend: whose request it is, and what for. Nothing here depends on an app's routes.

Most requests are for an app that HAProxy knows, and come from nobody, or from somebody who asked on the same connection
a moment ago. They leave the first rules with ``accept``; all others pass every rule, in the contract's order.
"""

from harp.proxy.model import CONTROL_ID
from harp.proxy.policy import engines
from harp.proxy.policy.decide import CLIMBS, PREFIX, TWO_DOTS
from harp.proxy.policy.shape import (
    AS_ASKED,
    ASKED,
    LIFETIME_MOST_MS,
    MODULUS,
    NOW,
    RING_MOST,
    TIMES,
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
_HOPS_USUAL = 2
"""Who stands behind more of them passes all rules."""
NETWORK = "src,ipmask(32,64)"
"""What fetches what bans count. Behind a trusted proxy, ``src`` is the client that it tells of."""
REMEMBERED_MOST = 4096
"""The longest header that a connection is remembered by."""
_SIGNED = ("ex-app-id", "ex-app-version", "ex-app-host", "ex-app-port", "authorization-app-api")
_SPELLED = "path,field(3,/)"
_SLOT, _VERSION, _NOBODY = (f"var(txn.rec),field({place},|)" for place in (-1, -2, -3))
_PERSON = "var(txn.user),concat(,txn.rec),field(1,|),url_dec,base64"
"""What an app is told of a person, whose name its record is put behind: the token comes first in it."""
AS_PERSON = f"http-request set-header AUTHORIZATION-APP-API %[{_PERSON}] if {{ var(txn.uid) -m found }}"
"""How a person is named to an app."""
_IDENTIFIED = "var(txn.uid),div(4),mod(2) eq 1"
"""Whether ``Authorization`` was what identified the person (:class:`harp.proxy.callers.Numbers`)."""

_STATUS_LISTED = r"^(?<status>[0-9]+):.*:\k<status>(?::|$)"
"""A status, before a route's level and statuses, that is one of them. Here HAProxy knows no groups without a name."""


def frontend(shape: Shape) -> list[str]:
    tls = [
        f"    bind {quoted(bind)} ssl crt {quoted(shape.certificate)} alpn h2,http/1.1"
        for bind in (shape.tls_binds if shape.certificate else ())
    ]
    facts = [
        *_client(shape),
        *_usual(shape),
        "set-var(txn.slow) bool(true)",
        # Who is not let through below is refused, or meant for somebody else.
        "set-var(txn.aside) bool(true)",
        *_far_client(shape),
        *_banned(shape),
        *_path(shape),
        *_signed(),
        *_credentials(shape),
        "unset-var(txn.aside) if known",
    ]
    return [
        "frontend exapps",
        *(f"    bind {quoted(bind)}" for bind in shape.binds),
        *tls,
        *_log(shape),
        *_named(shape),
        *_peer(shape),
        *(f"    tcp-request content {fact}" for fact in facts),
        *_to_app(shape),
        f"    use_backend slot%[{_SLOT}] if !{{ var(txn.slow) -m found }}",
        f"    use_backend ask%[{_SLOT}] if !{{ var(txn.aside) -m found }}",
        "    use_backend refuse if { var(txn.why) -m found }",
        *_to_control(shape),
        "    default_backend unknown",
        *_watched(shape),
        "",
    ]


def _log(shape: Shape) -> list[str]:
    timed = '"backend":"%b","status":%ST,"wait":%Tr'
    ring = f"    log ring@{TIMES} format raw local0 info"
    if not shape.access_log:
        return [ring, f"    log-format {quoted('{' + timed + '}')}"]
    texts = {
        "time": "date,utime(%Y-%m-%dT%H:%M:%SZ)",
        "client": "src",
        "path": "var(txn.path),json(utf8s)",
        "app": "var(txn.app),json(utf8s)",
        "reason": "var(txn.why)",
    }
    # What is timed comes first: the ring cuts long lines off.
    fields = [timed, *(f'"{name}":"%[{fetch}]"' for name, fetch in texts.items())]
    fields += ['"method":"%HM"', '"bytes":%B', '"ms":%Ta', '"ended":"%ts"']
    written = "{" + ",".join(fields) + "}"
    return [
        ring,
        "    log stdout format raw local0 info",
        f"    log-format {quoted(written)}",
        "    tcp-request content set-var(txn.path) path",
        f"    tcp-request content set-var(txn.app) {_SPELLED} if {{ path_beg {PREFIX} }}",
    ]


def _peer(shape: Shape) -> list[str]:
    """Whether a connection is a trusted proxy's is asked once, and not for each of its requests."""
    if not shape.trusted:
        return []
    return [f"    tcp-request session set-var(sess.proxy) bool(true) if {{ src {_trusted(shape)} }}"]


def _client(shape: Shape) -> list[str]:
    """The right-most address that is no trusted proxy's; else ``X-Real-IP``, else the peer (105–108)."""
    if not shape.trusted:
        return []
    return [
        "set-src req.hdr_ip(x-forwarded-for,-1) if from_proxy",
        f"set-src req.hdr_ip(x-real-ip) if {_behind(0)} !{{ req.hdr_ip(x-forwarded-for,-1) -m found }}",
        *_hops(2, _HOPS_USUAL),
        f"set-var(txn.far) bool(true) if {_behind(_HOPS_USUAL)}",
    ]


def _far_client(shape: Shape) -> list[str]:
    """The same, behind more proxies than is usual."""
    return _hops(_HOPS_USUAL + 1, HOPS_MOST) if shape.trusted else []


def _hops(first: int, last: int) -> list[str]:
    return [f"set-src req.hdr_ip(x-forwarded-for,-{hop}) if {_behind(hop - 1)}" for hop in range(first, last + 1)]


def _behind(hops: int) -> str:
    """Whether all these are proxies', where one that is no address is not.

    The last one found is looked at first: where that is a client, as it mostly is, no header has to be taken apart.
    """
    return " ".join(["from_proxy", "of_proxy", *(f"passed{hop}" for hop in range(1, hops + 1))])


def _trusted(shape: Shape) -> str:
    return f"-f {quoted(shape.run + '/trusted.lst')}"


def _named(shape: Shape) -> list[str]:
    """What several rules ask."""
    window = f"{NETWORK},table_gpt({ring_of(shape) - 1},bans) gt 0"
    if shape.ban_count > RING_MOST:
        window = f"{NETWORK},table_gpc_rate(0,bans) ge {shape.ban_count}"
    named = {
        "known": "var(txn.rec) -m found",
        "keyed": "req.fhdr(harp-shared-key) -m found",
        "cookie": "req.fhdr(cookie) -m found",
        "authorization": "req.fhdr(authorization) -m found",
        "failing": window,
        "dotted": f"path -m reg {quoted(TWO_DOTS)}",
        "same_cookie": "req.fhdr(cookie),secure_memcmp(sess.cookie)",
        "same_authorization": "req.fhdr(authorization),secure_memcmp(sess.auth)",
        "control": f"var(txn.app) -m str {CONTROL_ID}",
        "signed": "var(txn.signed) -m found",
        "refused": "var(txn.why) -m found",
        "person": "var(txn.uid) -m found",
    }
    if shape.trusted:
        named |= {
            "from_proxy": "var(sess.proxy) -m found",
            "of_proxy": f"src {_trusted(shape)}",
            "far": "var(txn.far) -m found",
        }
        named |= {
            f"passed{hop}": f"req.hdr_ip(x-forwarded-for,-{hop}) {_trusted(shape)}" for hop in range(1, HOPS_MOST)
        }
    return [f"    acl {name} {test}" for name, test in named.items()]


def _usual(shape: Shape) -> list[str]:
    """Requests for a known app from nobody, or from the person of the request before on the same connection.

    Whom the table knows is looked up each time: a connection remembers only what follows from the headers alone.
    """
    usual = f"known !keyed !dotted {'!far ' if shape.trusted else ''}!failing"
    same = (
        f"same_cookie !authorization !{{ var(sess.auth) -m found }} {usual}",
        f"same_authorization !cookie !{{ var(sess.cookie) -m found }} {usual}",
        f"same_cookie same_authorization {usual}",
    )
    return [
        f"set-var(txn.rec) pathq,map_beg({quoted(map_file(shape, 'apps'))})",
        f"accept if !cookie !authorization {usual}",
        f"set-var(txn.same) var(sess.who,nobody),table_gpt(1,sessions) if {' or '.join(same)}",
        f"set-var(txn.uid) var(sess.who),table_gpt(0,sessions) if {_is_to_come('same')}",
        f"set-var(txn.user) {_user(shape)}",
        "accept if { var(txn.user) -m found }",
        "accept if { var(txn.same) -m found } !{ var(sess.who) -m found }",
        "unset-var(txn.same)",
        "unset-var(txn.uid)",
    ]


def _is_to_come(deadline: str) -> str:
    """Whether it is; one that is further away than any is that of another turn of the clock."""
    return f"{{ {NOW},sub(txn.{deadline}),neg -m int 1:{LIFETIME_MOST_MS} }}"


def _user(shape: Shape) -> str:
    return f"var(txn.uid),map_str({quoted(map_file(shape, 'users'))})"


def _banned(shape: Shape) -> list[str]:
    right = "{ req.fhdr(harp-shared-key),sha2(256),hex,secure_memcmp(proc.harp_key) }"
    lines = [f"set-var(txn.key) bool(true) if keyed {right}"]
    if shape.ban_count <= RING_MOST:
        window = shape.ban_window_s * 1000
        lines += [
            f"set-var(txn.oldest) {NETWORK},table_gpt({ring_of(shape) - 1},bans) if failing",
            f"set-var(txn.age) {NOW},sub(txn.oldest),add({MODULUS}),mod({MODULUS}) if {{ var(txn.oldest) -m found }}",
            f"set-var(txn.why) str(banned) if {{ var(txn.age) -m int lt {window} }} !{{ var(txn.key) -m found }}",
        ]
    else:
        lines += [
            "set-var(txn.age) int(0)",
            "set-var(txn.why) str(banned) if failing !{ var(txn.key) -m found }",
        ]
    return [*lines, "accept if refused"]


def counted(shape: Shape, rule: str, condition: str, *, whose: str = "") -> list[str]:
    """One failure more of this client, or of ``whose`` network: the ring moves on by one, newest first."""
    ring = ring_of(shape)
    # With the right key nothing counts (98, 99).
    condition += " !{ var(txn.key) -m found }"
    lines = [f"    {rule} track-sc0 {whose or NETWORK} table bans if {condition}"]
    if shape.ban_count > RING_MOST:
        return [*lines, f"    {rule} sc-inc-gpc(0,0) if {condition}"]
    lines += [
        f"    {rule} sc-set-gpt({place},0) sc_get_gpt({place - 1},0) if {condition}" for place in range(ring - 1, 0, -1)
    ]
    return [*lines, f"    {rule} sc-set-gpt(0,0) {NOW} if {condition}"]


def _watched(shape: Shape) -> list[str]:
    """Answers of an app that count as failures of the client (102, 103); HAProxy comes here from every backend."""
    listed = "{ var(txn.route),field(2,:) -m found }"
    answered = f"{{ status,concat(:,txn.route) -m reg {quoted(_STATUS_LISTED)} }}"
    return [
        f"    http-response allow unless {listed} {answered}",
        *counted(shape, "http-response", "TRUE"),
    ]


def _path(shape: Shape) -> list[str]:
    """Who is refused here is looked at no further."""
    apps = map_file(shape, "apps")
    return [
        f"set-var(txn.app) {_SPELLED} if {{ path_beg {PREFIX} }}",
        f"set-var(txn.why) str(parent-directory) if dotted {{ path -m reg {quoted(CLIMBS)} }}",
        "set-var(txn.why) str(no-app-id) if !{ var(txn.app) -m len gt 0 } !refused",
        "accept if refused",
        "set-var(txn.why) str(wrong-key) if control !{ var(txn.key) -m found }",
        "accept if control",
        # Above, the id was found only where it is in lower case and a path follows.
        f'set-var-fmt(txn.prefix) "{PREFIX}%[var(txn.app),lower]/"',
        f"set-var(txn.rec) var(txn.prefix),map_beg({quoted(apps)})",
        f"set-var(txn.rec) str({ASKED}),concat(,txn.prefix),map_beg({quoted(apps)}) if !known",
    ]


def _signed() -> list[str]:
    headers = " ".join(f"{{ req.fhdr({name}) -m found }}" for name in _SIGNED)
    return [
        f"set-var(txn.signed) bool(true) if keyed {headers}",
        "set-var(txn.why) str(wrong-key) if signed !{ var(txn.key) -m found }",
        "accept if refused",
    ]


def _credentials(shape: Shape) -> list[str]:
    """Who is asking, as far as that is known, and what the connection remembers of it."""
    others, own = quoted_argument(OTHER_COOKIES), quoted_argument(NEXTCLOUD_COOKIES)
    asked = "{ var(txn.who) -m found }"
    mine = "%[var(txn.mine),length]:%[var(txn.mine)]%[var(txn.auth),length]:%[var(txn.auth)]"
    short = " ".join(f"!{{ var(txn.{name}),length gt {REMEMBERED_MOST} }}" for name in ("cookie", "auth"))
    return [
        "set-var(txn.cookie) req.fhdr(cookie)",
        "set-var(txn.auth) req.fhdr(authorization)",
        "set-var(txn.passphrase) bool(true) if "
        f"{{ var(txn.cookie) -m reg {quoted('(?:^|;) *oc_sessionPassphrase=[^; ]')} }}",
        f"set-var(txn.mine) \"var(txn.cookie),regsub('{others}','',g)\" if cookie",
        f"set-var(txn.rest) \"var(txn.cookie),regsub('{own}','',g),ltrim('; ')\" if cookie",
        "unset-var(txn.rest) if !{ var(txn.rest) -m len gt 0 }",
        f'set-var-fmt(txn.mine) "{mine}" if !signed',
        "set-var(txn.who) var(txn.mine),sha2(256),base64 if !signed { var(txn.passphrase) -m found }",
        "set-var(txn.who) var(txn.mine),sha2(256),base64 if !signed authorization",
        f"set-var(txn.until) var(txn.who),table_gpt(1,sessions) if known {asked}",
        f"set-var(txn.uid) var(txn.who),table_gpt(0,sessions) if known {asked} {_is_to_come('until')}",
        f"set-var(txn.user) {_user(shape)}",
        "unset-var(txn.uid) if !{ var(txn.user) -m found }",
        f"set-var(txn.pending) bool(true) if {asked} !person",
        # Requests of HTTP/2 mingle, those of HTTP/1 come one by one: what is remembered belongs together.
        f"set-var(txn.note) bool(true) if {{ req.ver -m beg 1. }} !signed {short}",
        *(
            f"{change} if {{ var(txn.note) -m found }}"
            for name in ("cookie", "auth", "who", "rest")
            for change in (f"unset-var(sess.{name})", f"set-var(sess.{name}) var(txn.{name})")
        ),
    ]


def _to_app(shape: Shape) -> list[str]:
    """What a known app is told, and what it is not; ``path`` is then what it is asked for.

    Behind the last ``allow`` are usual requests of those whom the connection remembers: what is in sess.* is what came.
    For the slow ones, ``askN`` does the same.
    """
    lines = [
        "http-request allow if { var(txn.aside) -m found }",
        f"http-request set-header EX-APP-ID %[{_SPELLED}]",
        "http-request set-header AA-VERSION 32",
        f"http-request set-header EX-APP-VERSION %[{_VERSION},url_dec]",
        f"http-request set-header AUTHORIZATION-APP-API %[{_NOBODY}] if !person !signed",
        AS_ASKED,
        "http-request del-header ex-app-host",
        "http-request del-header ex-app-port",
        "http-request allow if !{ var(txn.same) -m found }",
        AS_PERSON,
    ]
    if not shape.forward_credentials:
        rest = "{ var(sess.rest) -m found }"
        lines += [
            f"http-request set-header cookie %[var(sess.rest)] if {rest}",
            f"http-request del-header cookie if !{rest} {{ var(sess.cookie) -m found }}",
            f"http-request del-header authorization if {{ var(sess.auth) -m found }} {{ {_IDENTIFIED} }}",
        ]
    return [f"    {line}" for line in lines]


def withheld(shape: Shape) -> list[str]:
    """What no app ever sees, where nothing is remembered of it."""
    lines = ["http-request del-header harp-shared-key"]
    if not shape.forward_credentials:
        authorization = "{ var(txn.auth) -m found }"
        lines += [
            'http-request set-header cookie "%[var(txn.rest)]" if { var(txn.rest) -m found }',
            "http-request del-header cookie if !{ var(txn.rest) -m found }",
            f"http-request del-header authorization if {authorization} {{ {_IDENTIFIED} }}",
            f"http-request del-header authorization if {authorization} {{ var(txn.signed) -m found }}"
            ' { var(txn.auth) -m beg -i "basic " }',
        ]
    return [f"    {line}" for line in lines]


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
