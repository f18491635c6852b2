# SPDX-License-Identifier: AGPL-3.0-or-later
"""The facts of this machine that the self-test judges: ports, firewall, inotify, disks, multicast."""

import contextlib
import os
import shutil
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from harp.base.config import Address, Config
from harp.base.runtime import Clock
from harp.bridge.selftest import DiskFacts, FirewallFacts, LocalFacts, PortFacts, WatchFacts
from harp.identity import keyring

# Joined and left again at once: whether the kernel lets us is all that is asked.
_PROBE_GROUP = "239.255.87.84"
_CONNECT_S = 2.0
_MAX_PROCESSES = 4096
_INOTIFY = Path("/proc/sys/fs/inotify")


def gathered(config: Config, *, clock: Clock, listening: Address | None) -> LocalFacts:
    """Everything but what the daemon knows; takes some milliseconds and blocks, so call it in a thread.

    ``listening`` is where the running daemon is bound, None where none runs.
    """
    return LocalFacts(
        now=clock.now(),
        key_fault=keyring.permission_fault(config.home),
        has_key=(config.home / keyring.KEY_NAME).exists(),
        port=port(config.listen, listening),
        firewall=firewall((listening or config.listen).port),
        watches=watches(),
        home=disk("the home", config.home),
        multicast_fault=multicast_fault() if config.discovery else None,
    )


def port(wanted: Address, listening: Address | None) -> PortFacts:
    """Whether the daemon's port answers; without a daemon, whether it is free."""
    if listening is None:
        return PortFacts(str(wanted), wanted.port, _bind_fault(wanted))
    return PortFacts(str(listening), listening.port, _connect_fault(listening))


def _bind_fault(address: Address) -> str:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address.host, address.port))
            probe.listen(1)
    except OSError as error:
        return _reason(error)
    return ""


def _connect_fault(address: Address) -> str:
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what "any address" is reached by from here
    try:
        socket.create_connection((anywhere.get(address.host, address.host), address.port), _CONNECT_S).close()
    except OSError as error:
        return _reason(error)
    return ""


def firewall(port_number: int) -> FirewallFacts:
    """The firewall that is on, as far as an ordinary user can see; its rules mostly only root can read."""
    with contextlib.suppress(OSError):
        if "ENABLED=yes" in Path("/etc/ufw/ufw.conf").read_text(encoding="utf-8", errors="replace"):
            return FirewallFacts("ufw", _ufw_lets_in(port_number))
    if Path("/run/firewalld").is_dir():
        return FirewallFacts("firewalld")
    if Path("/etc/nftables.conf").exists() and _is_module_loaded("nf_tables"):
        return FirewallFacts("nftables")
    return FirewallFacts()


def _ufw_lets_in(port_number: int) -> bool | None:
    try:
        rules = Path("/etc/ufw/user.rules").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return f"allow tcp {port_number} " in rules or f"allow any {port_number} " in rules


def _is_module_loaded(name: str) -> bool:
    return Path("/sys/module", name).is_dir()


def watches() -> WatchFacts:
    """inotify's limits, and what the processes of this user that can be looked into use of them."""
    used = list(_instances())
    return WatchFacts(
        used_watches=sum(used),
        max_watches=_number(_INOTIFY / "max_user_watches"),
        used_instances=len(used),
        max_instances=_number(_INOTIFY / "max_user_instances"),
    )


def _instances() -> Iterator[int]:
    """For each inotify instance of this user's processes, how many watches it has (proc(5), fdinfo)."""
    uid = os.geteuid()
    processes = [entry for entry in os.listdir("/proc") if entry.isdecimal()] if os.path.isdir("/proc") else []
    for process in processes[:_MAX_PROCESSES]:
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{process}").st_uid == uid:
                yield from _instances_of(f"/proc/{process}")


def _instances_of(process: str) -> Iterator[int]:
    for handle in os.listdir(f"{process}/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"{process}/fd/{handle}") == "anon_inode:inotify":
                with open(f"{process}/fdinfo/{handle}", encoding="ascii", errors="replace") as file:
                    yield sum(line.startswith("inotify ") for line in file)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def disk(name: str, location: Path, lacks: tuple[str, ...] = ()) -> DiskFacts:
    """The disk under ``location``, or under the nearest folder above it that is there."""
    there = next((folder for folder in (location, *location.parents) if folder.exists()), Path("/"))
    try:
        usage = shutil.disk_usage(there)
        is_read_only = bool(os.statvfs(there).f_flag & os.ST_RDONLY)
    except OSError as error:
        return DiskFacts(name, str(location), fault=f"{location}: {_reason(error)}")
    return DiskFacts(name, str(location), usage.free, usage.total, is_read_only, lacks)


def multicast_fault() -> str:
    """Why multicast cannot be joined; empty where it can."""
    membership = struct.pack("=4sI", socket.inet_aton(_PROBE_GROUP), socket.INADDR_ANY)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    except OSError as error:
        return _reason(error)
    return ""


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
