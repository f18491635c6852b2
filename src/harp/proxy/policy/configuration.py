# SPDX-License-Identifier: AGPL-3.0-or-later
"""The text of ``haproxy.cfg`` and of its SPOE file, for HAProxy 2.6 to 3.2. Same state, same bytes.

A request passes the frontend, where it is told whose it is and what for, then a backend of its app's slot, where its
route is looked up: ``slotN`` if it is a usual one, ``askN``, which may ask the agent, if not. What a route says is in
``slotN.map`` by expression, and in ``beginN.map`` by how a path begins, where that tells it. Every request pays for
each rule that it passes, so the order is: what is usual first, and out. Variables of one request:

    proxy      there if the peer is a trusted proxy (sess.*); ``src`` is then the client that it tells of
    far        there if that one stands behind too many proxies for a usual request
    key        there if the shared key was right
    rec        the app's record: token|address|port|header for nobody|version|slot
    same       there if the connection remembers these credentials: until when they are good, or were
    slow       there if the request is no usual one, and passes all rules
    aside      there if it is, besides, for no app that HAProxy knows: refused, for the control API, or one to look up
    cookie, auth, passphrase, who, rest
               what identifies a person: the headers, whether there is a session, the key of both (SHA-256), and the
               cookies that are left for an app. A connection of HTTP/1 remembers them of its last person, in sess.*
    pending    there if nobody knows yet whom that is
    uid, user  the number of the person (callers.Numbers), and who that is: percent-encoded, and a colon
    route      level:status:status… of the first route that matched, or ASK, or INTERNAL
    why, st    the reason and the status of a refusal; count, if it counts
    harp.*     what the agent answered
"""

import functools

from harp.proxy.model import Upstream
from harp.proxy.policy import backends, engines
from harp.proxy.policy.frontend import frontend
from harp.proxy.policy.shape import ASK_S, RING_MOST, TIMES, Shape, quoted, ring_of

PIPES = 64
"""How many uploads at once go through the kernel; each takes two descriptors, and the others are copied."""
PIPE_BYTES = 1 << 19
"""What a pipe holds, and so what goes in one step. Whoever is not root may have 64 MiB in pipes (pipe(7)): all of these
take half of that."""

KEPT_BY_THREAD = 16
"""Fewer idle connections to an app than these are for the thread that opened them. Another thread that takes one locks
all idle connections of that thread, which needs them for each request; among many apps, that was one request in 22."""


@functools.lru_cache(maxsize=4)
def haproxy_cfg(shape: Shape, listening: tuple[tuple[int, Upstream], ...] = ()) -> str:
    """The whole of ``haproxy.cfg``; ``listening`` says where the requests of a slot go, until it is told otherwise."""
    places = dict(listening)
    sections = [_global(shape), _ring(), _defaults(shape), backends.maps(shape), _tables(shape), frontend(shape)]
    sections += [_slot(shape, number, places.get(number)) for number in range(shape.slots)]
    sections += [
        backends.unknown(shape),
        backends.refuse(shape),
        backends.control(shape),
        *engines.backends(shape),
        backends.agents(shape),
        backends.inside(shape),
    ]
    return "\n".join("\n".join(section) for section in sections if section) + "\n"


@functools.lru_cache(maxsize=2048)
def _slot(shape: Shape, number: int, upstream: Upstream | None) -> list[str]:
    """Both backends of a slot. With hundreds of them, one app more is no reason to write them all anew."""
    return [*backends.slot(shape, number, upstream), *backends.asked(shape, number)]


def spoe_conf() -> str:
    """The question to the agent, and how long it may take."""
    arguments = (
        "app=req.fhdr(ex-app-id) target=path ip=src key=var(txn.key) signed=var(txn.signed) "
        "cred=var(txn.who) cookie=var(txn.cookie) auth=var(txn.auth) passphrase=var(txn.passphrase) "
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
        f"    maxpipes {PIPES}",
        f"    tune.pipesize {PIPE_BYTES}",
        *([f"    nbthread {shape.threads}"] if shape.threads else []),
        f"    hard-stop-after {shape.hard_stop_s}s",
        f"    tune.bufsize {shape.bufsize}",
        # Paths seldom come twice: remembering each match costs more than PCRE2's compiled code does (a sixth of the
        # processor time of a request with a new path).
        "    tune.pattern.cache-size 0",
        "    ssl-default-bind-options ssl-min-ver TLSv1.2",
        f"    set-var proc.harp_key str({shape.key_digest})",
        "",
    ]


def _ring() -> list[str]:
    """Half a megabyte in HAProxy's own memory: the last ten thousand requests, written at no cost that shows."""
    return [f"ring {TIMES}", "    format raw", "    maxlen 128", "    size 524288", ""]


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
        # An upload goes from one socket to the other within the kernel: two fifths less processor time for each byte.
        "    option splice-request",
        f"    default-server pool-low-conn {KEPT_BY_THREAD}",
        "    timeout http-request 30s",
        "    timeout http-keep-alive 60s",
        "",
    ]


def _tables(shape: Shape) -> list[str]:
    ring = ring_of(shape)
    # Above 100 failures a table cannot hold them one by one: a rate over the window stands in.
    store = f"gpt({ring})" if shape.ban_count <= RING_MOST else f"gpt({ring}),gpc(1),gpc_rate(1,{shape.ban_window_s}s)"
    return [
        "backend bans",
        f"    stick-table type ipv6 size 100k expire {shape.ban_window_s}s store {store}",
        "",
        "backend sessions",
        "    stick-table type string len 44 size 100k expire 15s store gpt(2)",
        "",
        "backend reasons",
        "    stick-table type string len 32 size 64 expire 20d store gpc(1)",
        "",
    ]
