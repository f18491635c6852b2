# SPDX-License-Identifier: AGPL-3.0-or-later
"""The self-test's judgements: what is good, what is bad, and that each bad thing has a remedy."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from harp.bridge import selftest
from harp.bridge.model import Check
from harp.bridge.selftest import (
    BridgeFacts,
    DaemonFacts,
    DiskFacts,
    FirewallFacts,
    LocalFacts,
    MirrorFacts,
    PeerFacts,
    PortFacts,
    WatchFacts,
)

GIB = 1 << 30
HOME = DiskFacts("the home", "/h", 10 * GIB, 100 * GIB)
WELL = LocalFacts(
    now=1_790_000_000.0,
    port=PortFacts("0.0.0.0:8783", 8783),
    watches=WatchFacts(100, 65_536, 1, 128),
    home=HOME,
)


def bad(local: LocalFacts, daemon: DaemonFacts | None = None) -> list[Check]:
    return [check for check in selftest.report(local, daemon or DaemonFacts()).checks if not check.ok]


def test_where_all_is_well_every_line_is_good() -> None:
    folders = [DiskFacts("Photos", "/p", 5 * GIB, 10 * GIB, lacks=("names that differ by case only",))]
    peers = [PeerFacts("bob", True, "10.0.0.2:8783", skew_s=-0.5)]
    hears = BridgeFacts("/run/harp/bridge.sock", heard=3)
    mirrors = [MirrorFacts("work:/Documents", settled_s=WELL.now - 5.0)]
    report = selftest.report(WELL, DaemonFacts(folders=folders, peers=peers, harpbridge=hears, mirrors=mirrors))
    assert report.is_running
    assert [check.name for check in report.checks] == [
        "daemon",
        "key",
        "port",
        "firewall",
        "discovery",
        "clock",
        "inotify watches",
        "inotify instances",
        "disk of the home",
        "harpbridge",
        "account work:/Documents",
        "disk of Photos",
        "peer bob",
        "clock of bob",
    ]
    assert all(check.ok and not check.remedy for check in report.checks)
    assert report.checks[10].text == "was the same as here 5 s ago"
    assert report.checks[11].text == "5.0 of 10.0 GiB free; names that differ by case only"


def test_without_a_daemon_the_rest_is_checked_and_that_is_said() -> None:
    report = selftest.report(WELL, None)
    assert not report.is_running
    assert [(check.name, check.remedy) for check in report.checks if not check.ok] == [("daemon", "harp up")]


def cases() -> Iterator[tuple[LocalFacts, DaemonFacts, str, str, str]]:
    """Local facts, the daemon's facts, then the one bad check's name, part of its text, part of its remedy."""
    none = DaemonFacts()
    yield replace(WELL, key_fault="it can be read by others"), none, "key", "read by others", "chmod 600"
    refused = PortFacts("0.0.0.0:8783", 8783, "connection refused")
    yield replace(WELL, port=refused), none, "port", "refused", "harp up"
    shut = FirewallFacts("ufw", lets_in=False)
    yield replace(WELL, firewall=shut), none, "firewall", "ufw keeps others", "sudo ufw allow 8783/tcp"
    shut = FirewallFacts("firewalld", lets_in=False)
    yield replace(WELL, firewall=shut), none, "firewall", "firewalld", "--add-port=8783/tcp"
    shut = FirewallFacts("nftables", lets_in=False)
    yield replace(WELL, firewall=shut), none, "firewall", "nftables", "tcp dport 8783 accept"
    yield replace(WELL, multicast_fault="no such device"), none, "discovery", "no such device", "multicast"
    yield replace(WELL, now=0.0), none, "clock", "years off", "set-ntp true"
    yield replace(WELL, now=5e9), none, "clock", "years off", "set-ntp true"
    full = WatchFacts(60_000, 65_536, 1, 128)
    yield replace(WELL, watches=full), none, "inotify watches", "60,000 of 65,536", "fs.inotify.max_user_watches=524288"
    full = WatchFacts(950_000, 1_000_000, 1, 128)
    yield replace(WELL, watches=full), none, "inotify watches", "950,000", "max_user_watches=2000000"
    full = WatchFacts(1, 65_536, 128, 128)
    yield replace(WELL, watches=full), none, "inotify instances", "128 of 128", "max_user_instances=1024"
    low = replace(HOME, free_bytes=100 << 20)
    yield replace(WELL, home=low), none, "disk of the home", "100 MiB free", "make room"
    gone = DaemonFacts(folders=[DiskFacts("Pho\x1btos", "/p", fault="its marker is gone")])
    yield WELL, gone, "disk of Pho\\x1btos", "marker is gone", "bring /p back"
    fixed = DaemonFacts(folders=[DiskFacts("Photos", "/p", GIB, GIB, is_read_only=True)])
    yield WELL, fixed, "disk of Photos", "read-only", "mount it for writing"
    deaf = DaemonFacts(harpbridge=BridgeFacts("/run/harp/bridge.sock", trouble="is not heard", remedy="do this"))
    yield WELL, deaf, "harpbridge", "is not heard", "do this"
    revoked = DaemonFacts(mirrors=[MirrorFacts("work:/x", 1.0, "work: was revoked", "harp account add work URL")])
    yield WELL, revoked, "account work:/x", "was revoked", "harp account add work URL"
    closed = DaemonFacts(mirrors=[MirrorFacts("work:/x", 1.0, near_trouble="/data: permission denied")])
    yield WELL, closed, "account work:/x", "large files come through PHP", "web server's group"
    away = DaemonFacts(peers=[PeerFacts("b\nob", False, error="connection refused")])
    yield WELL, away, "peer b\\nob", "connection refused", "TCP 8783"
    never = DaemonFacts(peers=[PeerFacts("bob", False)])
    yield WELL, never, "peer bob", "not seen yet", "harp up there"
    fast = DaemonFacts(peers=[PeerFacts("bob", True, skew_s=90.0)])
    yield WELL, fast, "clock of bob", "90 s ahead of", "set-ntp"
    slow = DaemonFacts(peers=[PeerFacts("bob", True, skew_s=-61.0)])
    yield WELL, slow, "clock of bob", "61 s behind", "set-ntp"


@pytest.mark.parametrize(("local", "daemon", "name", "text", "remedy"), list(cases()))
def test_each_thing_that_is_wrong_has_one_line_and_its_remedy(
    local: LocalFacts, daemon: DaemonFacts, name: str, text: str, remedy: str
) -> None:
    [check] = bad(local, daemon)
    assert check.name == name
    assert text in check.text
    assert remedy in check.remedy


def test_a_firewall_whose_rules_cannot_be_seen_is_no_failure_but_a_hint() -> None:
    report = selftest.report(replace(WELL, firewall=FirewallFacts("ufw")), DaemonFacts())
    assert not bad(replace(WELL, firewall=FirewallFacts("ufw")))
    assert "sudo ufw allow 8783/tcp" in report.checks[3].text
    assert "lets port 8783 in" in selftest.firewall(FirewallFacts("ufw", lets_in=True), 8783).text


def test_a_port_that_is_taken_before_the_start_has_another_remedy() -> None:
    taken = selftest.port(PortFacts("0.0.0.0:8783", 8783, "address already in use"), is_running=False)
    assert "harp config set listen" in taken.remedy


def test_what_cannot_be_known_is_no_failure() -> None:
    assert not bad(replace(WELL, watches=WatchFacts(), multicast_fault=None))
    assert selftest.key("", has_key=False).ok
