# SPDX-License-Identifier: AGPL-3.0-or-later
"""The laboratory itself: who reaches whom, what the line counts, and that nothing of it is left behind."""

import contextlib
import os
import select
import socket
import struct
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.lab.delayline import fastest, opens_tcp
from benchmarks.lab.namespace import why_not
from benchmarks.lab.site import Host, Lab, built
from benchmarks.lab.wan import LineForm

PORT = 5000
DEADLINE_S = 20.0
PATIENCE_S = 0.5
"""How long nothing comes where nothing must come; a packet takes a tenth of that on the slowest way."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Two sites, of two hosts and of one."""
    if reason := why_not():
        pytest.skip(f"no laboratory can be built here: {reason}")
    with built(2, 1) as found:
        yield found


def reaches(sender: Host, receiver: Host) -> bool:
    """Whether a datagram arrives."""
    with receiver.namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind((receiver.address, PORT))
        there.settimeout(PATIENCE_S)
        with sender.namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
            try:
                here.sendto(b"hello", (receiver.address, PORT))
                return there.recv(100) == b"hello"
            except OSError:
                return False


def connects(client: Host, server: Host) -> bool:
    with server.namespace.entered():
        door = socket.create_server((server.address, PORT))
    with door, client.namespace.entered():
        try:
            socket.create_connection((server.address, PORT), timeout=PATIENCE_S).close()
        except OSError:
            return False
    return True


@pytest.mark.root
def test_an_office_reaches_itself_and_the_cloud_and_not_the_other_office(lab: Lab) -> None:
    [one, two], [far] = (site.hosts for site in lab.sites)
    assert reaches(one, two)
    assert reaches(one, lab.cloud)
    assert reaches(far, lab.cloud)
    assert not reaches(one, far)
    assert connects(one, lab.cloud)
    assert not connects(lab.cloud, one)


@pytest.mark.root
def test_the_line_counts_ip_packets_by_direction_and_the_lan_is_not_on_it(lab: Lab) -> None:
    site = lab.sites[0]
    one, two = site.hosts
    assert reaches(one, lab.cloud)
    assert site.wan.traffic() == (0, 20 + 8 + 5)
    assert reaches(lab.cloud, one)
    assert site.wan.traffic() == (33, 33)
    assert reaches(one, two)
    with site.near_the_cloud():
        assert reaches(one, lab.cloud)
        assert connects(one, lab.cloud)
    assert site.wan.traffic() == (33, 33)
    assert lab.sites[1].wan.traffic() == (0, 0)


@pytest.mark.root
def test_what_is_cut_is_silent_and_what_is_mended_works(lab: Lab) -> None:
    site = lab.sites[0]
    one, two = site.hosts
    site.wan.cut()
    assert not reaches(one, lab.cloud)
    assert not reaches(lab.cloud, one)
    assert reaches(one, two)
    assert reaches(lab.sites[1].hosts[0], lab.cloud)
    site.wan.mend()
    assert reaches(one, lab.cloud)
    site.part(two)
    assert not reaches(one, two)
    assert not reaches(two, one)
    assert reaches(two, lab.cloud)
    assert reaches(lab.cloud, two)
    site.rejoin(two)
    assert reaches(one, two)
    assert reaches(two, lab.cloud)


@pytest.mark.root
def test_the_fastest_second_is_that_of_the_line_when_more_is_sent() -> None:
    if reason := why_not():
        pytest.skip(f"no laboratory can be built here: {reason}")
    with built(1, form=LineForm(rate=4_000_000, queue_s=2.0)) as lab:
        wan, [host] = lab.site.wan, lab.site.hosts
        wan.meter()
        with host.namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
            for _ in range(600):
                here.sendto(bytes(1000), (lab.cloud.address, PORT))
        sent = 600 * 1028
        while wan.traffic().up < sent:
            pass
        down, up = wan.fastest(1.0)
        assert down < 10_000  # the cloud says that nobody listens there, now and then
        # A bucket of 8,000 bytes may be full at the start of a second.
        assert 480_000 < up <= 508_000
        assert wan.fastest(10.0).up == sent


def test_the_fastest_window_is_the_fullest_one() -> None:
    stamps = [(0, 5), (400_000_000, 5), (1_000_000_000, 7), (1_300_000_000, 1), (2_500_000_000, 9)]
    assert fastest(stamps, 1.0) == 13
    assert fastest(stamps, 0.1) == 9
    assert fastest(stamps, 10.0) == 27
    assert fastest([], 1.0) == 0


def test_only_the_first_packet_of_a_connection_opens_it() -> None:
    def packet(flags: int, protocol: int = 6, options: int = 0) -> bytes:
        head = struct.pack("!BBHHHBBH4s4s", 0x45 + options, 0, 40, 0, 0, 64, protocol, 0, bytes(4), bytes(4))
        return head + bytes(4 * options) + struct.pack("!HHIIBBHHH", 1, 2, 3, 4, 0x50, flags, 0, 0, 0)

    assert opens_tcp(packet(0x02))
    assert opens_tcp(packet(0x02, options=2))
    assert not opens_tcp(packet(0x12))
    assert not opens_tcp(packet(0x10))
    assert not opens_tcp(packet(0x02, protocol=17))


PROGRAM = textwrap.dedent("""
    import subprocess, time
    from benchmarks.lab.namespace import tied
    from benchmarks.lab.site import built
    with built(2) as lab:
        with lab.cloud.namespace.entered():
            commands = tied(["sleep", "600"]), tied(["sleep", "600"], by="TERM", user="nobody")
            sleepers = [subprocess.Popen(command) for command in commands]
        print(*(sleeper.pid for sleeper in sleepers), lab.site.wan.pid, flush=True)
        time.sleep(600)
""")


@pytest.mark.root
def test_nothing_is_left_of_it_when_its_maker_is_killed() -> None:
    if reason := why_not():
        pytest.skip(f"no laboratory can be built here: {reason}")
    root = Path(__file__).resolve().parents[2]
    maker = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, cwd=root)
    assert maker.stdout is not None
    children = [int(word) for word in maker.stdout.readline().split()]
    watched = [os.pidfd_open(child) for child in children]
    space = os.readlink(f"/proc/{children[0]}/ns/net")
    assert space in spaces_in_use()
    maker.kill()
    maker.communicate()
    for handle in watched:
        # It can be read from when its process is gone: pidfd_open(2).
        assert select.select([handle], [], [], DEADLINE_S)[0]
        os.close(handle)
    assert space not in spaces_in_use()


def spaces_in_use() -> set[str]:
    """The network namespaces that some process is in."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(process / "ns" / "net"))
    return found
