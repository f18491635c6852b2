# SPDX-License-Identifier: AGPL-3.0-or-later
"""An office's line to the cloud: its rate, its delay, what it has carried, and cutting it."""

import fcntl
import os
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.lab.namespace import Namespace

_TUNSETIFF = 0x400454CA  # linux/if_tun.h
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_BURST = 8_000
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class LineForm:
    """``rate`` in bits a second, each way; ``delay_s`` one way; ``queue_s`` of packets wait before any is dropped."""

    rate: int = 10_000_000
    delay_s: float = 0.020
    queue_s: float = 0.1


class Traffic(NamedTuple):
    """Bytes: from the cloud to the office, and from the office to the cloud."""

    down: int
    up: int


class Wan:
    """The line between ``cloud`` and ``router``: a TUN device in each, shaped by the kernel, joined by a process.

    No TCP connection is opened from the cloud to the office: as behind a home's router.
    """

    def __init__(self, cloud: Namespace, cloud_device: str, router: Namespace, form: LineForm) -> None:
        ends = [_End(cloud, cloud_device), _End(router, "wan")]
        words = [word for end in ends for word in (str(end.tun), str(end.tap.fileno()), end.device)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.lab.delayline", str(form.delay_s), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            pass_fds=[handle for end in ends for handle in (end.tun, end.tap.fileno())],
            cwd=_ROOT,
            start_new_session=True,  # Ctrl-C is for the one who measures
        )
        for end in ends:
            end.close()
        shape = f"rate {form.rate} burst {_BURST} latency {form.queue_s * 1000:.0f}ms"
        for namespace, device in ((cloud, cloud_device), (router, "wan")):
            namespace.ip([f"link set {device} up"])
            namespace.tc([f"qdisc replace dev {device} root tbf {shape}"])

    @property
    def pid(self) -> int:
        return self._process.pid

    def traffic(self) -> Traffic:
        """What it has carried since it was laid, at the IP layer."""
        return Traffic(*self._ask("count"))

    def cut(self) -> None:
        """From now on every packet is lost, silently."""
        self._ask("cut")

    def mend(self) -> None:
        self._ask("mend")

    def meter(self) -> None:
        """Begin to note the time of each packet; once."""
        self._ask("meter")

    def fastest(self, seconds: float = 1.0) -> Traffic:
        """The most bytes in any window of that length since :meth:`meter`."""
        return Traffic(*self._ask(f"fastest {seconds}"))

    def _ask(self, command: str) -> list[int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        answer = self._process.stdout.readline()
        if not answer:
            raise OSError(f"the line's process ended with {self._process.wait()}")
        return [int(word) for word in answer.split()]

    def close(self) -> None:
        self._process.communicate()


class _End:
    """A new TUN device in a namespace, and a socket that may listen to it; both live while somebody has them open."""

    def __init__(self, namespace: Namespace, device: str) -> None:
        self.device = device
        with namespace.entered():
            self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.ioctl(self.tun, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TUN | _IFF_NO_PI))
            self.tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        namespace.sysctl(**{f"ipv6__conf__{device}__disable_ipv6": "1"})

    def close(self) -> None:
        os.close(self.tun)
        self.tap.close()
