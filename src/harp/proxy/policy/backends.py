# SPDX-License-Identifier: AGPL-3.0-or-later
"""The backends: one for each slot, where a route is looked up, and those for all that is no app's."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Literal

from harp.proxy.model import Level, Refusal, Upstream
from harp.proxy.policy.frontend import AS_PERSON, counted, withheld
from harp.proxy.policy.patterns import END
from harp.proxy.policy.shape import (
    AS_ASKED,
    ASK,
    ASKED_AGAIN,
    CONTROL_MS,
    INTERNAL,
    TEXTS,
    Shape,
    is_literal,
    map_file,
    quoted,
    ring_of,
)

NOWHERE = "255.255.255.255"
"""Where a name leads that has no address yet, and a slot that has no app: a connection fails at once."""
_ANYWHERE = "    server app 0.0.0.0"
"""A server that is wherever ``set-dst`` says."""
_CONDITION = re.compile(r'"(?:[^"\\]|\\.)*"|(\{ (?:"(?:[^"\\]|\\.)*"|[^{}"])* \})')
"""A quoted word, or (as the only group) a condition without a name."""
_HEALTH = "inter 1s fastinter 250ms downinter 500ms fall 2 rise 1"


def maps(shape: Shape) -> list[str]:
    """All maps that every slot names or has for itself. No request comes here.

    To find a map that a rule names, HAProxy walks over all maps and conditions that it has read so far, the oldest
    first. So the maps stand before the first condition: 1,024 slots are read in 1 s, and in 20 s if each map stands
    behind the conditions of all the slots before it.
    """
    found = [_users(shape)]
    for number in range(shape.slots):
        found += [_begun(shape, number), _matched(shape, number)]
    return ["backend maps", *(f"    http-request set-var(txn.route) {look_up}" for look_up in found), ""]


def slot(shape: Shape, number: int, upstream: Upstream | None = None) -> list[str]:
    """For what HAProxy decides alone. A filter for questions costs each request, even one that asks nothing."""
    somebody = "{ var(txn.uid) -m found }"
    begun = _begun(shape, number)
    return _named(
        [
            f"backend slot{number}",
            *_retries(shape, number),
            # Nothing else has to be known of most requests, and one look-up costs less than a few expressions. What
            # follows is for other routes, for admins, for routes some of whose answers count as failures, and for who
            # gets nothing.
            f"    http-request allow if {{ var(txn.uid),mod(4) ge 1 }} {{ {begun} -m str 0 1 }}"
            f" or !{somebody} {{ {begun} -m str 0 }}",
            *_route(shape, number, "TRUE"),
            *_refusal(shape, Refusal.FORBIDDEN.status, Refusal.NO_ROUTE.status),
            *(
                _instances(shape, number, "slot")
                or [f"    server app {f'{NOWHERE}:1' if upstream is None else _place(upstream)}"]
            ),
            "",
        ]
    )


def asked(shape: Shape, number: int) -> list[str]:
    """The slot for the rest: people who are not known yet, Nextcloud itself, routes that the agent has to match."""
    pending, asks = "{ var(txn.pending) -m found }", "{ var(txn.ask) -m found }"
    return _named(
        [
            f"backend ask{number}",
            f"    filter spoe engine harp config {quoted(shape.run + '/spoe.conf')}",
            *_retries(shape, number),
            f"    {AS_PERSON}",
            *withheld(shape),
            "    http-request set-dst var(txn.rec),field(2,|)",
            "    http-request set-dst-port var(txn.rec),field(3,|)",
            "    http-request allow if { var(txn.signed) -m found }",
            *_route(shape, number, f"!{pending}"),
            f"    http-request set-var(txn.ask) bool(true) if {{ var(txn.route) -m beg {ASK} }}",
            f"    http-request set-var(txn.ask) bool(true) if {pending} {{ var(txn.route) -m found }}"
            f" !{{ var(txn.why) -m str {Refusal.INTERNAL.reason} }}",
            f"    http-request unset-var(txn.why) if {asks}",
            f"    http-request unset-var(txn.st) if {asks}",
            f"    http-request unset-var(txn.count) if {asks}",
            *_ask(asks),
            *_as_answered(shape, "{ var(txn.route) -m beg 0 }", _instances(shape, number, "ask") or [_ANYWHERE]),
        ]
    )


def _named(section: list[str]) -> list[str]:
    """The section, in which a condition that recurs has a name: that spares HAProxy a third of the memory for it."""
    counts = Counter(found for line in section for found in _CONDITION.findall(line) if found)
    names = {found: f"often{number}" for number, found in enumerate(found for found in counts if counts[found] > 1)}

    def name(match: re.Match[str]) -> str:
        return names.get(match[1], match[0])

    first, *rest = section
    acls = [f"    acl {given} {found[2:-2]}" for found, given in names.items()]
    return [first, *acls, *(_CONDITION.sub(name, line) for line in rest)]


def _place(upstream: Upstream) -> str:
    is_v6 = ":" in upstream.address
    return f"[{upstream.address}]:{upstream.port}" if is_v6 else f"{upstream.address}:{upstream.port}"


def _users(shape: Shape) -> str:
    return f"var(txn.harp.uid),map_str({quoted(map_file(shape, 'users'))})"


def _begun(shape: Shape, number: int) -> str:
    # With the query, as nobody then looks for the path's end: END is what a query begins with.
    return f"pathq,concat({END}),map_beg({quoted(map_file(shape, f'begin{number}'))})"


def _matched(shape: Shape, number: int) -> str:
    return f"path,map_reg({quoted(map_file(shape, f'slot{number}'))})"


def _route(shape: Shape, number: int, is_public: str) -> list[str]:
    """What the first route that matches says to a person; behind it is who gets nothing, and why."""
    matched, refused = "{ var(txn.route) -m found }", "{ var(txn.why) -m found }"
    return [
        f"    http-request set-var(txn.route) {_matched(shape, number)}",
        f"    http-request allow if {{ var(txn.route) -m beg 0 }} {is_public}",
        *(
            f"    http-request allow if {{ var(txn.route) -m beg {level} }} {{ var(txn.uid),mod(4) ge {level} }}"
            for level in (Level.USER, Level.ADMIN)
        ),
        f"    http-request set-var(txn.why) str({Refusal.NO_ROUTE.reason}) if !{matched}",
        f"    http-request set-var(txn.st) int({Refusal.NO_ROUTE.status}) if !{matched}",
        f"    http-request set-var(txn.why) str({Refusal.INTERNAL.reason}) if {{ var(txn.route) -m beg {INTERNAL} }}",
        f"    http-request set-var(txn.why) str({Refusal.FORBIDDEN.reason}) if {matched} !{refused}",
        f"    http-request set-var(txn.st) int({Refusal.FORBIDDEN.status}) if {matched}",
        "    http-request set-var(txn.count) bool(true)",
    ]


def _retries(shape: Shape, number: int) -> list[str]:
    """An instance that dies under a request that may come twice: another one is asked (RFC 9110, 9.2.1)."""
    if number >= 2 * len(shape.pools):
        return []
    return [
        "    balance leastconn",
        "    timeout connect 2s",
        "    retries 3",
        "    option redispatch 1",
        "    retry-on conn-failure empty-response",
        "    http-request disable-l7-retry if !{ method GET HEAD OPTIONS }",
    ]


def _instances(shape: Shape, number: int, kind: Literal["slot", "ask"]) -> list[str]:
    """The instances of the slot's app, if it is one that has several."""
    if number >= 2 * len(shape.pools):
        return []
    first = number - number % 2
    lines = []
    for place, instance in enumerate(shape.pools[number // 2][1]):
        # All backends of an app have one health: it is asked about once.
        health = f"check {_HEALTH}" if (kind, number) == ("slot", first) else f"track slot{first}/app{place}"
        names = "" if is_literal(instance) else f" init-addr last,libc,{NOWHERE}"
        lines.append(f"    server app{place} {quoted(instance)} {health}{names}")
    return lines


def _as_answered(shape: Shape, is_public: str, servers: Iterable[str]) -> list[str]:
    """What follows the question to the agent, up to the app."""
    return [
        *_without_answer(shape, is_public),
        *_answered(shape),
        *_refusal(shape, *TEXTS),
        *servers,
        "",
    ]


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
        f"    http-request set-map({users}) %[var(txn.harp.uid)] %[var(txn.harp.user)] if {lasts}"
        f" !{{ {_users(shape)} -m found }}",
        f"    http-request track-sc1 var(txn.who) table sessions if {lasts}",
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


def _refusal(shape: Shape, *statuses: int) -> list[str]:
    """Everybody who comes here is refused, with one of these statuses of :data:`TEXTS`."""
    return [
        *counted(shape, "http-request", "{ var(txn.count) -m found }"),
        "    http-request track-sc2 var(txn.why) table reasons",
        "    http-request sc-inc-gpc(0,2)",
        *(
            f'    http-request return status {status} content-type text/plain string "{TEXTS[status]}"'
            f" if {{ var(txn.st) -m int {status} }}"
            for status in statuses
        ),
        "    http-request deny deny_status 503",
    ]


def unknown(shape: Shape) -> list[str]:
    return [
        "backend unknown",
        f"    filter spoe engine harp config {quoted(shape.run + '/spoe.conf')}",
        "    http-request set-header EX-APP-ID %[var(txn.app)]",
        "    http-request set-header AA-VERSION 32",
        f"    {AS_ASKED}",
        *_ask("TRUE"),
        "    http-request del-header ex-app-host",
        "    http-request del-header ex-app-port",
        *withheld(shape),
        *_as_answered(shape, "FALSE", [_ANYWHERE]),
    ]


def refuse(shape: Shape) -> list[str]:
    return [
        "backend refuse",
        "    http-request return status 429 content-type text/plain string"
        f' "{TEXTS[429]}" hdr retry-after "%[int({shape.ban_window_s * 1000}),sub(txn.age),div(1000),add(1)]"'
        f" if {{ var(txn.why) -m str {Refusal.BANNED.reason} }}",
        "    http-request set-var(txn.count) bool(true)",
        *(
            f"    http-request set-var(txn.st) int({refusal.status}) if {{ var(txn.why) -m str {refusal.reason} }}"
            for refusal in (Refusal.CLIMBS, Refusal.NO_APP_ID, Refusal.WRONG_KEY)
        ),
        *_refusal(shape, *TEXTS),
        "",
    ]


def control(shape: Shape) -> list[str]:
    server = f"    server control {quoted('unix@' + shape.control)}"
    lines = [
        "backend control",
        f"    {AS_ASKED}",
        # What deploys may take minutes; whatever else is not answered soon finds the agent hung or gone.
        f"    http-request set-timeout server {CONTROL_MS}ms if !{{ path_beg /docker/ /k8s/ }}",
        *(f'    http-error status {status} content-type text/plain string "{TEXTS[503]}"' for status in (502, 504)),
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


def agents(shape: Shape) -> list[str]:
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


def inside(shape: Shape) -> list[str]:
    """What only this machine's user reaches: HAProxy's figures, failures elsewhere (FRP), the way back of bans."""
    exporter = ["    http-request use-service prometheus-exporter if { path /metrics }"] if shape.has_exporter else []
    ring = [
        f"    http-request sc-set-gpt({place},0) req.fhdr(x-ring),field({place + 1},:)"
        for place in range(ring_of(shape))
    ]
    return [
        "frontend inside",
        f"    bind {quoted('unix@' + shape.run + '/inside.sock')} mode 600",
        *exporter,
        *counted(shape, "http-request", "{ path /failed }", whose="req.hdr_ip(x-client),ipmask(32,64)"),
        "    http-request return status 204 if { path /failed }",
        "    http-request return status 404 if !{ path /ban }",
        "    http-request track-sc0 req.hdr_ip(x-client) table bans",
        *ring,
        "    http-request return status 204",
        "",
    ]
