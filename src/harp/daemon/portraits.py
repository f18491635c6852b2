# SPDX-License-Identifier: AGPL-3.0-or-later
"""The state of the daemon's parts as the API's nouns."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from harp import __version__
from harp.bridge import facts, model, naming, selftest
from harp.bridge.selftest import BridgeFacts, DaemonFacts, PeerFacts
from harp.bridge.wakeup import Wakeup
from harp.daemon import journals, mirrorportraits
from harp.identity import device as device_id
from harp.sync.engine.merge import HLC_COUNTER_BITS
from harp.sync.folder.fs import GONE
from harp.sync.model import Entry, Path, Role
from harp.sync.service.decisions import MARKER
from harp.sync.service.explanation import Explanation, Piece
from harp.sync.service.floods import Flood
from harp.sync.service.folderloop import FolderLoop
from harp.sync.service.forks import Fork
from harp.sync.service.inquiry import Inquiry, Version
from harp.sync.service.peer import Peer
from harp.sync.service.sentry import LOCAL
from harp.sync.service.traffic import Carried, Traffic
from harp.sync.store.registry import SharedFolder
from harp.sync.transport.addresses import address_text

if TYPE_CHECKING:
    from harp.daemon.composition import Daemon

MOST_SAMPLES = 20
SHOWN_DAYS = 7
_ROLES = {Role.SEALED: "sealed", Role.READ_ONLY: "read-only", Role.READ_WRITE: "read-write", Role.OWNER: "owner"}


def role(role: Role | None) -> str:
    return "none" if role is None else _ROLES[role]


def device(daemon: "Daemon") -> model.DeviceInfo:
    listener = daemon.listener
    return model.DeviceInfo(
        id=device_id.text(daemon.key.device_id),
        name=daemon.config.device_name,
        version=__version__,
        home=str(daemon.config.home),
        listen="" if listener is None else address_text(*listener.address),
        addresses=list(daemon.survey.own_addresses()),
    )


def folder(shared: SharedFolder, loop: FolderLoop, content: Traffic) -> model.FolderStatus:
    """On the folder's thread."""
    content.found(shared.id, loop.courier.local_bytes)
    replica = loop.replica
    files, size = replica.places.totals()
    problems = _problems(loop)
    connected = loop.exchange.correspondents()
    return model.FolderStatus(
        id=shared.id.hex(),
        name=shared.name,
        location=str(shared.path),
        role=role(replica.role),
        state=_state(loop),
        files=files,
        bytes=size,
        needed_files=loop.applier.waiting,
        needed_bytes=loop.courier.needed_bytes,
        arrived_bytes=loop.courier.arrived_bytes,
        members=len(replica.membership.members),
        connected=len(connected),
        held=loop.held,
        conflicts=len(Inquiry(replica).conflicts()),
        local_only=sum("here only" in note for note in loop.observer.notes.values()),
        problems=problems[: model.MOST_PROBLEMS],
        problem_count=len(problems),
        error=loop.trouble or _expelled(loop),
        content=model.Carried(**content.since_start(folder=shared.id)._asdict()),
        content_days=_days(content.days(SHOWN_DAYS, folder=shared.id)),
        last_scan_at=loop.observer.last_scan_s,
        scan_seconds=loop.observer.scan_seconds,
    )


def _expelled(loop: FolderLoop) -> str:
    """That an owner took this device away; on the folder's thread. Empty where that is not so."""
    is_joining = loop.replica.ledger.fact("is_new") is not None
    if loop.replica.role is not None or is_joining:
        return ""
    return "its owner took this device away, or ended the sharing: the files stay, and nothing more comes (harp leave)"


def _days(days: Iterable[tuple[str, Carried]]) -> list[model.CarriedDay]:
    return [model.CarriedDay(day=day, **carried._asdict()) for day, carried in days]


def closed_folder(daemon: "Daemon", shared: SharedFolder, why: str = "") -> model.FolderStatus:
    trouble = daemon.troubles.get(shared.id)
    return model.FolderStatus(
        id=shared.id.hex(),
        name=shared.name,
        location=str(shared.path),
        role="none",
        state=model.FolderState.STOPPED,
        error=why or (str(trouble) if trouble is not None else ""),
    )


def _state(loop: FolderLoop) -> model.FolderState:
    if loop.trouble:
        return model.FolderState.STOPPED
    if loop.is_paused:
        return model.FolderState.PAUSED
    if loop.observer.is_scanning:
        return model.FolderState.SCANNING
    if loop.held:
        return model.FolderState.HELD
    return model.FolderState.IDLE if loop.is_idle else model.FolderState.SYNCING


def _problems(loop: FolderLoop) -> list[model.Problem]:
    waiting = [(place.path, place.problem or "") for place in loop.replica.places.problems()]
    noted = list(loop.observer.notes.items())
    return [model.Problem(**naming.path_fields(path), why=naming.printable(why)) for path, why in waiting + noted]


def problems(daemon: "Daemon") -> list[str]:
    """What concerns the device as a whole."""
    found = [
        text
        for loop in daemon.hub.loops()
        for text in (loop.watch_problem, loop.respite.problem, loop.replica.ignore.trouble)
        if text
    ]
    if daemon.wakeup is not None and daemon.wakeup.trouble:
        found.append(f"{daemon.wakeup.trouble} ({daemon.wakeup.remedy})")
    if daemon.wakeup is not None and daemon.wakeup.note:
        found.append(daemon.wakeup.note)
    found += map(journals.unread, daemon.mirrors.unread())
    return sorted(set(found))


def peers(daemon: "Daemon") -> list[model.PeerStatus]:
    """All members of all folders but this device."""
    members = {
        member.device: member.name
        for loop in daemon.hub.loops()
        for member in loop.replica.membership.members.values()
        if member.device != daemon.key.device_id
    }
    linked = {peer.device: peer for peer in daemon.hub.peers()}
    members |= {found: peer.name for found, peer in linked.items()}
    return [_peer(daemon, found, members[found], linked.get(found)) for found in sorted(members)]


def _peer(daemon: "Daemon", found: device_id.DeviceId, name: str, peer: Peer | None) -> model.PeerStatus:
    folders = [
        model.PeerFolder(
            id=loop.replica.folder.hex(), name=loop.replica.name, role=role(held), lacks_files=_lacking(loop, found)
        )
        for loop in daemon.hub.loops()
        if (held := loop.replica.membership.role(found)) is not None
    ]
    known = daemon.registry.addresses(found)
    shown = naming.printable(daemon.hub.names.get(found, name) or device_id.short(found))
    if peer is None:
        error = "" if daemon.dialler is None else daemon.dialler.error_of(found)
        return model.PeerStatus(
            id=device_id.text(found),
            name=shown,
            is_connected=False,
            known_addresses=known,
            last_seen_at=daemon.registry.seen_s(found),
            error=naming.printable(error),
            folders=folders,
        )
    rate_in, rate_out = peer.rates()
    content = daemon.hub.content
    return model.PeerStatus(
        id=device_id.text(found),
        name=shown,
        is_connected=True,
        reach=peer.reach.value,
        address=address_text(*peer.link.remote),
        known_addresses=known,
        bytes_in=peer.link.bytes_in,
        bytes_out=peer.link.bytes_out,
        rate_in=rate_in,
        rate_out=rate_out,
        last_seen_at=daemon.clock.now(),
        clock_skew_s=peer.clock_skew_s,
        folders=folders,
        content=model.Carried(**content.since_start(device=found)._asdict()),
        content_days=_days(content.days(SHOWN_DAYS, device=found)),
    )


def _lacking(loop: FolderLoop, found: device_id.DeviceId) -> int | None:
    """What a peer has not merged, or merged and not yet on its disk; None where it has not said. For any thread."""
    known, ours = loop.exchange.get(found), loop.exchange.last_state
    if known is None or ours is None or not known.has_spoken:
        return None
    unmerged = sum(max(0, last - known.said.get(chain, 0)) for chain, last in ours.vector.items())
    return known.waiting + unmerged


# --- one folder -------------------------------------------------------------------------------------------------------


def progress(loop: FolderLoop, *, has_account: bool = False) -> model.Progress:
    """How far this device and its peers are from agreement; on the folder's thread.

    ``has_account``: an account has the folder as well, so that it is done without any peer too.
    """
    if loop.trouble:
        return model.Progress(phase=model.Phase.FAILED, reason=loop.trouble, hint="`harp status` says more")
    if loop.is_paused:
        return model.Progress(phase=model.Phase.FAILED, reason="the folder is paused", hint="`harp resume NAME`")
    if loop.held:
        held = [holding.id for holding in loop.sentry.held]
        held += [fork.id for fork in loop.open_forks] + [flood.id for flood in loop.floods.held]
        ids = ", ".join(held)
        return model.Progress(
            phase=model.Phase.FAILED,
            reason=f"changes are held until a person decides: {ids}",
            hint="`harp held NAME` shows them; `harp approve` or `harp reject`",
        )
    if loop.observer.is_scanning:
        return model.Progress(phase=model.Phase.SCANNING)
    correspondents = loop.exchange.correspondents()
    # What waits for content that no peer is there to give would wait for ever.
    is_at_rest = loop.is_idle or not (loop.observer.is_busy or loop.applier.can_step)
    if not correspondents and is_at_rest and loop.has_waited_for_peers:
        if has_account and loop.is_idle:
            return model.Progress(phase=model.Phase.DONE)
        return model.Progress(
            phase=model.Phase.FAILED,
            reason="no peer is connected",
            hint="is another device's daemon running? `harp peers` says what was tried",
        )
    if any(known.held for known in correspondents):
        return model.Progress(
            phase=model.Phase.FAILED,
            reason="a peer holds changes until a person decides there",
            hint="`harp held NAME` on that device",
        )
    if correspondents and loop.is_idle and loop.exchange.is_agreed(loop.replica.ledger.vector()):
        return model.Progress(phase=model.Phase.DONE)
    left = loop.applier.waiting + sum(known.waiting for known in correspondents)
    files, size = loop.census.totals()
    return model.Progress(
        phase=model.Phase.SYNCING,
        done_files=max(0, files - left),
        total_files=files,
        done_bytes=max(0, size - loop.courier.needed_bytes),
        total_bytes=size,
    )


def disagreement(loop: FolderLoop) -> str:
    """Why waiting has not come to an end; on the folder's thread."""
    if not loop.exchange.correspondents():
        return "no peer is connected"
    if not loop.is_idle:
        problems = loop.replica.places.problems(limit=1)
        if problems:
            return f"{naming.path_fields(problems[0].path)['path']}: {problems[0].problem}"
        return f"{loop.applier.waiting} paths are still to be written here"
    return loop.exchange.describe_disagreement(loop.replica.ledger.vector()) or "the peers are still working"


def version(loop: FolderLoop, one: Version) -> model.Version:
    meta = one.entry.meta
    member = loop.replica.membership.members.get(meta.author)
    return model.Version(
        **naming.path_fields(meta.path),
        entry=one.entry.id.hex(),
        kind=meta.kind.name.lower(),
        at=wall_s(one.entry),
        author=device_id.text(meta.author),
        author_name=naming.printable(member.name) if member is not None else "",
        size=meta.size,
        mtime=meta.mtime_ns / 1e9 if meta.mtime_ns else None,
        target=naming.path_fields(Path(meta.target))["path"] if meta.target else "",
        is_current=one.is_current,
        is_restorable=one.is_restorable,
        shown_as=naming.path_fields(one.shown_as)["path"] if one.shown_as else "",
        replaces=[id_.hex() for id_ in meta.replaces],
    )


def why(daemon: "Daemon", path: Path, found: Explanation) -> model.Why:
    linked = {peer.device: peer for peer in daemon.hub.peers()}

    def shown(piece: Piece) -> model.WhyPiece:
        peer = None if piece.device is None else linked.get(piece.device)
        name = "" if piece.device is None else daemon.hub.names.get(piece.device, device_id.short(piece.device))
        reach = None if peer is None else peer.reach.value
        return model.WhyPiece(
            id=piece.id.hex(), size=piece.size, peer=naming.printable(name), reach=reach, why=piece.why
        )

    return model.Why(
        **naming.path_fields(path),
        state=naming.printable(found.state),
        size=found.size,
        missing_pieces=len(found.pieces),
        missing_bytes=sum(piece.size for piece in found.pieces),
        pieces=[shown(piece) for piece in found.pieces[: model.MOST_PROBLEMS]],
    )


def held(loop: FolderLoop) -> list[model.HeldSet]:
    """On the folder's thread."""
    found = [
        model.HeldSet(
            id=holding.id,
            kind="deletions",
            what=("here: " if holding.origin == LOCAL else "from a peer: ") + holding.reason,
            since=holding.since_s,
            files=len(holding.paths),
            sample=[model.PathForm(**naming.path_fields(path)) for path in holding.paths[:MOST_SAMPLES]],
        )
        for holding in loop.sentry.held
    ]
    found += [_fork(loop, fork) for fork in loop.open_forks]
    found += [_flood(loop, flood) for flood in loop.floods.held]
    if loop.trouble:
        found.append(
            model.HeldSet(
                id=MARKER,
                kind="marker",
                what=loop.trouble,
                can_be_approved=False,
                remedy=(
                    "mount the disk, or `harp share` the folder's new place"
                    if loop.trouble == GONE
                    else "it goes on by itself once that is put right"
                ),
            )
        )
    return found


def _flood(loop: FolderLoop, flood: Flood) -> model.HeldSet:
    """A device that writes more than anybody would, as a person decides on it."""
    return model.HeldSet(
        id=flood.id,
        kind="rate",
        what=(
            f"{_member_name(loop, flood.author)} wrote more than {loop.settings.author_entries} entries within an hour:"
            " what it writes further waits; to reject it ends its membership"
        ),
        author=device_id.text(flood.author),
        since=flood.since_s,
    )


def _member_name(loop: FolderLoop, device: device_id.DeviceId) -> str:
    return naming.printable(Inquiry(loop.replica).member_name(device) or device_id.short(device))


def _fork(loop: FolderLoop, fork: Fork) -> model.HeldSet:
    """An identity that exists twice, as a person decides on it."""
    is_own = fork.author == loop.replica.device
    who = "this device" if is_own else _member_name(loop, fork.author)
    return model.HeldSet(
        id=fork.id,
        kind="fork",
        what=f"{who} said two different things at entry {fork.sequence}: its identity exists twice",
        author=device_id.text(fork.author),
        can_be_approved=not is_own,
        remedy="stop one of the two copies for good; then approve this on a device that owns the folder",
    )


def verified(wrong: int, files: int, size: int) -> model.Progress:
    if wrong:
        return model.Progress(
            phase=model.Phase.FAILED,
            done_files=files,
            done_bytes=size,
            reason="1 thing is wrong" if wrong == 1 else f"{wrong} things are wrong",
            hint="`harp restore NAME PATH@ENTRY` brings a good version back",
        )
    return model.Progress(
        phase=model.Phase.DONE, done_files=files, total_files=files, done_bytes=size, total_bytes=size
    )


def facts_of(daemon: "Daemon") -> DaemonFacts:
    """What the self-test wants to know of the running daemon."""
    disks = [facts.disk(shared.name, shared.path) for shared in daemon.registry.folders()]
    others = [_peer_facts(one) for one in peers(daemon)]
    mirrors = [
        mirrorportraits.facts(daemon.mirrors.status(one), daemon.mirrors.near_trouble(one.folder))
        for one in daemon.accounts.mirrored()
    ]
    return selftest.DaemonFacts(folders=disks, peers=others, harpbridge=_bridge_facts(daemon.wakeup), mirrors=mirrors)


def _bridge_facts(wakeup: Wakeup | None) -> BridgeFacts | None:
    if wakeup is None:
        return None
    return BridgeFacts(str(wakeup.path), wakeup.heard, wakeup.ignored, wakeup.trouble, wakeup.remedy)


def _peer_facts(one: model.PeerStatus) -> PeerFacts:
    return PeerFacts(
        name=one.name,
        is_connected=one.is_connected,
        address=one.address,
        error=one.error,
        skew_s=one.clock_skew_s,
    )


def count(daemon: "Daemon") -> None:
    """Brings the gauges up to date."""
    counters = daemon.counters
    counters.gauge("harp_bytes_received", "Bytes received on links.", lambda: float(daemon.hub.traffic()[0]))
    counters.gauge("harp_bytes_sent", "Bytes sent on links.", lambda: float(daemon.hub.traffic()[1]))
    counters.gauge("harp_peers_connected", "Devices linked just now.", lambda: float(len(daemon.hub.peers())))
    counters.gauge("harp_folders_open", "Folders open.", lambda: float(len(daemon.hub.loops())))
    mirrors = daemon.mirrors
    counters.gauge("harp_mirrors", "Folders that mirror one of an account.", lambda: float(len(mirrors.loops())))
    counters.gauge(
        "harp_mirrors_in_trouble",
        "Those of them that stand still or ask something.",
        lambda: float(sum(loop.trouble is not None or bool(loop.question) for loop in mirrors.loops())),
    )
    counters.gauge(
        "harp_mirror_problems",
        "Files that a mirror cannot carry just now.",
        lambda: float(sum(len(loop.problems) for loop in mirrors.loops())),
    )


def wall_s(entry: Entry) -> float:
    """When an entry was written, by its hybrid logical clock."""
    return (entry.meta.hlc >> HLC_COUNTER_BITS) / 1000
