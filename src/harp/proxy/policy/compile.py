# SPDX-License-Identifier: AGPL-3.0-or-later
"""The desired state → HAProxy's files; two states → the commands that lead from one to the other, or a reload.

Routes that changed go into a slot that nobody uses, and one entry of ``apps.map`` then points there: there is no moment
in which a request meets half of a change.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote

from harp.proxy.model import INTERNAL_PATHS, NOBODY, AppId, ExApp, Identity, Route, Upstream
from harp.proxy.policy import patterns
from harp.proxy.policy.configuration import haproxy_cfg, spoe_conf
from harp.proxy.policy.decide import PREFIX
from harp.proxy.policy.shape import ASK, ASKED, INTERNAL, Shape, map_file, pool_slots

_PUBLISHABLE = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,99}")
SLOTS_LEAST = 16
OWN_ROUTES = 1
"""Lines of every slot that are no route of the app's."""


@dataclass(frozen=True, slots=True)
class Known:
    """An app that HAProxy is to know, and where it listens."""

    app: ExApp
    upstream: Upstream


@dataclass(frozen=True, slots=True)
class State:
    """All that HAProxy is to know. ``slots`` says where the routes of each app lie."""

    shape: Shape
    apps: Mapping[AppId, Known]
    slots: Mapping[AppId, int]


@dataclass(frozen=True, slots=True)
class Reload:
    """The files changed in a way that only a new worker can follow."""

    why: str


@dataclass(frozen=True, slots=True)
class SwitchMap:
    """The whole content of a map, switched in one step: ``prepare map``, ``add map @v``, ``commit map``."""

    path: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PutEntry:
    """One entry of a map, new or changed."""

    path: str
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class DropEntry:
    """One entry less."""

    path: str
    key: str


@dataclass(frozen=True, slots=True)
class SetServer:
    """Where the requests of a slot go."""

    slot: int
    upstream: Upstream


@dataclass(frozen=True, slots=True)
class ForgetSessions:
    """Whoever is known is asked about anew; the agent has the answers."""


Command = SwitchMap | SetServer | PutEntry | DropEntry | ForgetSessions


@dataclass(frozen=True, slots=True)
class RuntimeCommands:
    """What is said on the runtime socket, in this order: withdrawals first, publications last."""

    commands: tuple[Command, ...]


def header_for(identity: Identity, app: ExApp) -> str:
    """The value of ``AUTHORIZATION-APP-API`` (75, 76)."""
    return base64.b64encode(f"{identity.user}:{app.token}".encode("utf-8", "surrogatepass")).decode()


def user_text(identity: Identity) -> str:
    """What ``users.map`` says of a person, never empty: HAProxy puts an app's token behind it (75)."""
    return _word(identity.user) + ":"


def _word(text: str) -> str:
    """Percent-encoded: it ends at no blank, and is parted at no ``|``."""
    return quote(text, safe="", errors="surrogatepass")


def is_publishable(app: ExApp) -> bool:
    """Whether HAProxy can be told of it at all; the agent serves the others."""
    return _PUBLISHABLE.fullmatch(app.id) is not None


def route_text(route: Route) -> str:
    """What a map says of a route: its level, then the statuses that count as failures."""
    return ":".join(str(int(number)) for number in (route.level, *route.statuses))


def routes_of(app: ExApp) -> tuple[str, ...]:
    """The lines of an app's map. From the first route that HAProxy may not decide, the agent does."""
    lines = [f"^(?:{'|'.join(INTERNAL_PATHS)})\\z {INTERNAL}"]
    for route in app.routes:
        pattern = patterns.for_haproxy(route.pattern)
        if pattern is None:
            return (*lines, f"^ {ASK}")
        lines.append(f"{pattern} {route_text(route)}")
    return tuple(lines)


def beginnings_of(app: ExApp) -> tuple[str, ...]:
    """The lines of the map that spares most paths the expressions: what a path begins with, and what its route says.

    Whatever is not in it, the expressions say. The longest beginning that is there counts, and is that of the first
    route: one that begins as an earlier one does is left out, and so is all behind the first route that is not
    told by beginnings.
    """
    found: dict[str, str] = {f"{path}{patterns.END}": str(INTERNAL) for path in INTERNAL_PATHS}
    for route in app.routes:
        begun = patterns.beginnings(route.pattern)
        if begun is None:
            break
        for text in begun:
            if not any(text[:length] in found for length in range(1, len(text) + 1)):
                found[text] = route_text(route)
    return tuple(f"{text} {says}" for text, says in found.items())


def record_text(known: Known, slot: int) -> str:
    """What ``apps.map`` says of an app. HAProxy counts what every request needs from the end: tokens are long."""
    app, upstream = known.app, known.upstream
    nobody = header_for(NOBODY, app)
    return f"{_word(app.token)}|{upstream.address}|{upstream.port}|{nobody}|{_word(app.version)}|{slot}"


def record_key(app: ExApp) -> str:
    """What ``apps.map`` has an app under: where the paths to it begin, or what none begins with (:data:`ASKED`)."""
    is_asked = any(patterns.for_haproxy(route.pattern) is None for route in app.routes)
    return f"{ASKED if is_asked else ''}{PREFIX}{app.id}/"


@dataclass(frozen=True, slots=True)
class Record:
    """What HAProxy itself says of an app that it knows."""

    id: AppId
    slot: int
    version: str
    upstream: Upstream


def read_record(line: str) -> Record | None:
    """One line of ``show map ./apps.map``; None for one that is not understood."""
    _where, _, entry = line.partition(" ")
    key, _, text = entry.removeprefix(ASKED).partition(" ")
    parts = text.split("|")
    if not (key.startswith(PREFIX) and len(parts) == 6 and parts[2].isdecimal() and parts[5].isdecimal()):
        return None
    _token, address, port, _nobody, version, slot = parts
    name = AppId(key.removeprefix(PREFIX).removesuffix("/"))
    return Record(name, int(slot), unquote(version), Upstream(address, int(port)))


def placed(old: State | None, shape: Shape, apps: Mapping[AppId, Known]) -> State:
    """A state with these apps: those whose routes and address stayed keep their slot, the others get one that is free.

    The shape grows where there are too few slots.
    """
    apps = {name: apps[name] for name in sorted(apps) if is_publishable(apps[name].app)}
    before = {} if old is None else old.slots
    kept = {
        name: before[name]
        for name in apps
        if old is not None
        and name in before
        and routes_of(old.apps[name].app) == routes_of(apps[name].app)
        and old.apps[name].upstream == apps[name].upstream
        and _may_lie(shape, name, before[name])
    }
    shape = replace(shape, slots=_slots_for(shape, len(apps)))
    # A slot that was left a moment ago may still be read by a request under way: it comes last.
    taken, left = set(kept.values()), set(before.values())
    order = [slot for slot in range(2 * len(shape.pools), shape.slots) if slot not in taken]
    free = iter([slot for slot in order if slot not in left] + [slot for slot in order if slot in left])
    slots = {}
    for name in apps:
        pool = pool_slots(shape, name)
        if name in kept:
            slots[name] = kept[name]
        elif pool is None:
            slots[name] = next(free)
        else:
            slots[name] = pool[1] if before.get(name) == pool[0] else pool[0]
    return State(shape, apps, slots)


def _may_lie(shape: Shape, name: AppId, slot: int) -> bool:
    pool = pool_slots(shape, name)
    return slot >= 2 * len(shape.pools) if pool is None else slot in pool


def _slots_for(shape: Shape, apps: int) -> int:
    slots = shape.slots
    while slots < 2 * (apps + len(shape.pools)):
        slots *= 2
    return slots


def files(state: State) -> dict[str, str]:
    """Every file that HAProxy reads, by its name in the run folder. Same state, same bytes."""
    shape = state.shape
    found = {
        "haproxy.cfg": haproxy_cfg(
            shape, tuple((slot, state.apps[name].upstream) for name, slot in state.slots.items())
        ),
        "spoe.conf": spoe_conf(),
        "users.map": "",
        "apps.map": _lines(_records(state)),
    }
    if shape.trusted:
        found["trusted.lst"] = _lines(shape.trusted)
    for slot in range(shape.slots):
        found[f"slot{slot}.map"] = found[f"begin{slot}.map"] = ""
    for name, slot in state.slots.items():
        found[f"slot{slot}.map"] = _lines(routes_of(state.apps[name].app))
        found[f"begin{slot}.map"] = _lines(beginnings_of(state.apps[name].app))
    return found


def _records(state: State) -> Iterable[str]:
    return (f"{key} {text}" for key, text in _entries(state).items())


def _entries(state: State) -> dict[str, str]:
    """``apps.map``, by key."""
    return {record_key(known.app): record_text(known, state.slots[name]) for name, known in state.apps.items()}


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def changes(old: State, new: State) -> Reload | RuntimeCommands:
    """What leads from one state to another."""
    if old.shape != new.shape:
        if old.shape.slots != new.shape.slots:
            return Reload(f"{len(new.apps)} apps need {new.shape.slots} slots")
        return Reload("the configuration changed")
    apps = map_file(new.shape, "apps")
    before, after = _entries(old), _entries(new)
    dropped = [DropEntry(apps, key) for key in before if key not in after]
    laid = [each for name, slot in new.slots.items() if old.slots.get(name) != slot for each in _laid(new, name)]
    put = [PutEntry(apps, key, text) for key, text in after.items() if before.get(key) != text]
    return RuntimeCommands((*dropped, *laid, *put))


def _laid(state: State, name: AppId) -> tuple[Command, ...]:
    """What puts an app into its slot."""
    slot, known = state.slots[name], state.apps[name]
    maps = (
        SwitchMap(map_file(state.shape, f"slot{slot}"), routes_of(known.app)),
        SwitchMap(map_file(state.shape, f"begin{slot}"), beginnings_of(known.app)),
    )
    return maps if pool_slots(state.shape, name) else (*maps, SetServer(slot, known.upstream))


def withdrawals(old: State, new: State) -> tuple[DropEntry, ...]:
    """The apps of whom the old state says what is no longer so."""
    apps = map_file(old.shape, "apps")
    return tuple(
        DropEntry(apps, record_key(known.app)) for name, known in old.apps.items() if new.apps.get(name) != known
    )


def seeding(state: State) -> RuntimeCommands:
    """All of a state anew, for a HAProxy of which nobody knows what lies in which slot: first, it forgets all apps."""
    apps = map_file(state.shape, "apps")
    laid = (each for name in state.slots for each in _laid(state, name))
    return RuntimeCommands((SwitchMap(apps, ()), *laid, SwitchMap(apps, tuple(_records(state)))))
