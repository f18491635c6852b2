# SPDX-License-Identifier: AGPL-3.0-or-later
"""The self-test: judgements over facts, each a line that is good or has a remedy. Pure; ``facts`` gathers them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harp.bridge.model import Check, Report
from harp.bridge.naming import printable

MIN_FREE_BYTES = 512 << 20
MAX_SKEW_S = 60.0
MAX_WATCH_SHARE = 0.9
BETTER_WATCHES = 524_288
BETTER_INSTANCES = 1_024
_GIB = 1 << 30
# 2025-01-01 and 2100-01-01: a clock outside has lost its battery, or its mind.
_PLAUSIBLE = (1_735_689_600.0, 4_102_444_800.0)


@dataclass(frozen=True, slots=True)
class PortFacts:
    """The device link's port. ``fault`` is empty where it answers (or, without a daemon, is free to be taken)."""

    address: str
    port: int
    fault: str = ""


@dataclass(frozen=True, slots=True)
class FirewallFacts:
    """``name`` is ``ufw``, ``firewalld``, ``nftables`` or empty; ``lets_in`` is None where that cannot be known."""

    name: str = ""
    lets_in: bool | None = None


@dataclass(frozen=True, slots=True)
class WatchFacts:
    """inotify(7): what this user may have, and has, of watches and instances. None where it cannot be known."""

    used_watches: int | None = None
    max_watches: int | None = None
    used_instances: int | None = None
    max_instances: int | None = None


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """A place on a disk. ``lacks`` are sentences about what it cannot hold or do; ``fault`` is why it is not there."""

    name: str
    location: str
    free_bytes: int = 0
    total_bytes: int = 0
    is_read_only: bool = False
    lacks: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """Another device: whether it is reached, why not, and how far its clock is ahead of ours."""

    name: str
    is_connected: bool
    address: str = ""
    error: str = ""
    skew_s: float | None = None


@dataclass(frozen=True, slots=True)
class BridgeFacts:
    """The socket that Nextcloud's app writes to: where, what was heard on it, and what was no message of its."""

    location: str
    heard: int = 0
    ignored: int = 0
    trouble: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class MirrorFacts:
    """A mirror of ``account:/path``: when both sides were the same last, and what is wrong.

    ``near_trouble`` is why the server's own disk, which is here, cannot be read; ``note`` is what is good to know.
    """

    name: str
    settled_s: float | None = None
    error: str = ""
    remedy: str = ""
    near_trouble: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFacts:
    """What can be found out with or without a daemon. ``multicast_fault`` is None where discovery is turned off."""

    now: float
    key_fault: str = ""
    has_key: bool = True
    port: PortFacts
    firewall: FirewallFacts = FirewallFacts()
    watches: WatchFacts = WatchFacts()
    home: DiskFacts
    multicast_fault: str | None = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonFacts:
    """What only the running daemon knows."""

    folders: Sequence[DiskFacts] = ()
    peers: Sequence[PeerFacts] = ()
    harpbridge: BridgeFacts | None = None
    """None where nothing of Nextcloud's is listened to."""
    mirrors: Sequence[MirrorFacts] = ()


def report(local: LocalFacts, daemon: DaemonFacts | None) -> Report:
    """Every check that these facts allow, in the order in which a person would look; no ``daemon``: none runs."""
    return Report(checks=list(_checks(local, daemon)), is_running=daemon is not None)


def _checks(local: LocalFacts, daemon: DaemonFacts | None) -> Iterator[Check]:
    yield running(daemon is not None)
    yield key(local.key_fault, local.has_key)
    yield port(local.port, daemon is not None)
    yield firewall(local.firewall, local.port.port)
    yield discovery(local.multicast_fault)
    yield clock(local.now)
    yield from watches(local.watches)
    yield disk(local.home)
    if daemon is not None and daemon.harpbridge is not None:
        yield harpbridge(daemon.harpbridge)
    for mirrored in daemon.mirrors if daemon else ():
        yield mirror(mirrored, local.now)
    for folder in daemon.folders if daemon else ():
        yield disk(folder)
    for one in daemon.peers if daemon else ():
        yield peer(one, local.port.port)
        if one.skew_s is not None:
            yield skew(one)


def running(is_running: bool) -> Check:
    if is_running:
        return _good("daemon", "runs")
    return _bad("daemon", "does not run; folders and peers cannot be checked", "harp up")


def key(fault: str, has_key: bool) -> Check:
    if fault:
        return _bad("key", fault, "chmod 600 the file, or put it back from a backup: harp restore-backup FILE")
    return _good("key", "only you can read it" if has_key else "none yet; the first `harp up` makes it")


def port(facts: PortFacts, is_running: bool) -> Check:
    if facts.fault:
        remedy = "harp down, then harp up" if is_running else "harp config set listen 0.0.0.0:0, or stop what holds it"
        return _bad("port", f"{facts.address}: {facts.fault}", remedy)
    return _good("port", f"{facts.address} answers" if is_running else f"{facts.address} is free")


def firewall(facts: FirewallFacts, port_number: int) -> Check:
    remedy = _opening(facts.name, port_number)
    if not facts.name:
        return _good("firewall", "none found on this machine")
    if facts.lets_in:
        return _good("firewall", f"{facts.name} lets port {port_number} in")
    if facts.lets_in is None:
        return _good("firewall", f"{facts.name} is on; if other devices cannot connect: {remedy}")
    return _bad("firewall", f"{facts.name} keeps others from port {port_number}", remedy)


def _opening(name: str, port_number: int) -> str:
    if name == "ufw":
        return f"sudo ufw allow {port_number}/tcp && sudo ufw allow 8784/udp"
    if name == "firewalld":
        ports = f"--add-port={port_number}/tcp --add-port=8784/udp"
        return f"sudo firewall-cmd --permanent {ports} && sudo firewall-cmd --reload"
    return f"sudo nft add rule inet filter input tcp dport {port_number} accept (and udp dport 8784)"


def discovery(fault: str | None) -> Check:
    if fault is None:
        return _good("discovery", "is turned off; peers are found by the addresses they had")
    if fault:
        remedy = "connect to a network with multicast; until then peers are tried at addresses that worked before"
        return _bad("discovery", f"multicast does not work: {fault}", remedy)
    return _good("discovery", "multicast works")


def harpbridge(facts: BridgeFacts) -> Check:
    if facts.trouble:
        return _bad("harpbridge", facts.trouble, facts.remedy)
    strange = f", and {facts.ignored:,} that were no message of its" if facts.ignored else ""
    return _good("harpbridge", f"{facts.heard:,} messages heard on {facts.location}{strange}")


def mirror(facts: MirrorFacts, now: float) -> Check:
    name = f"account {printable(facts.name)}"
    if facts.error:
        return _bad(name, printable(facts.error), printable(facts.remedy) or "see `harp status`")
    if facts.near_trouble:
        remedy = "give this user the web server's group, or: harp config set nextcloud_data none"
        return _bad(name, f"large files come through PHP: {printable(facts.near_trouble)}", remedy)
    note = f"; {printable(facts.note)}" if facts.note else ""
    if facts.settled_s is None:
        return _good(name, f"is being looked at for the first time{note}")
    return _good(name, f"was the same as here {max(0.0, now - facts.settled_s):.0f} s ago{note}")


def clock(now: float) -> Check:
    if _PLAUSIBLE[0] <= now < _PLAUSIBLE[1]:
        return _good("clock", "is plausible")
    return _bad("clock", "is years off", "sudo timedatectl set-ntp true")


def skew(facts: PeerFacts) -> Check:
    apart = facts.skew_s or 0.0
    name = f"clock of {printable(facts.name)}"
    if abs(apart) <= MAX_SKEW_S:
        return _good(name, f"agrees to {abs(apart):.1f} s")
    direction = "ahead of" if apart > 0 else "behind"
    return _bad(name, f"is {abs(apart):.0f} s {direction} this one", "on both devices: sudo timedatectl set-ntp true")


def watches(facts: WatchFacts) -> Iterator[Check]:
    yield _limit("inotify watches", "max_user_watches", facts.used_watches, facts.max_watches, BETTER_WATCHES)
    yield _limit("inotify instances", "max_user_instances", facts.used_instances, facts.max_instances, BETTER_INSTANCES)


def _limit(name: str, sysctl: str, used: int | None, most: int | None, better: int) -> Check:
    if used is None or most is None:
        return _good(name, "limit unknown here")
    if used < most * MAX_WATCH_SHARE:
        return _good(name, f"{used:,} of {most:,} in use")
    line = f"fs.inotify.{sysctl}={max(better, most * 2)}"
    remedy = f"echo {line} | sudo tee /etc/sysctl.d/90-harp-{sysctl.rpartition('_')[2]}.conf && sudo sysctl --system"
    return _bad(name, f"{used:,} of {most:,} in use: changes will be seen by the hourly scan only", remedy)


def disk(facts: DiskFacts) -> Check:
    name = f"disk of {printable(facts.name)}"
    if facts.fault:
        return _bad(name, printable(facts.fault), f"bring {printable(facts.location)} back, or: harp leave")
    if facts.is_read_only:
        return _bad(
            name, f"{printable(facts.location)} is read-only", "mount it for writing; what was to be written waits"
        )
    if facts.free_bytes < MIN_FREE_BYTES:
        free = f"{facts.free_bytes >> 20} MiB free at {printable(facts.location)}"
        return _bad(name, free, "make room; the trash has given way already (.harp/trash)")
    free = f"{facts.free_bytes / _GIB:.1f} of {facts.total_bytes / _GIB:.1f} GiB free"
    return _good(name, "; ".join([free, *facts.lacks]))


def peer(facts: PeerFacts, port_number: int) -> Check:
    name = f"peer {printable(facts.name)}"
    if facts.is_connected:
        return _good(name, f"connected, {printable(facts.address)}")
    why = printable(facts.error) or "not seen yet"
    return _bad(
        name, f"not reached: {why}", f"is it on, and harp up there? Does a firewall keep TCP {port_number} out?"
    )


def _good(name: str, text: str) -> Check:
    return Check(name=name, ok=True, text=text)


def _bad(name: str, text: str, remedy: str) -> Check:
    return Check(name=name, ok=False, text=text, remedy=remedy)
