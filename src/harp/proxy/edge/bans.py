# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who failed how often: HAProxy's ring of times for each client, read, given back after a reload, and lifted."""

import asyncio
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harp.base.errors import UsageError
from harp.base.sockets import short_name
from harp.proxy.edge import files
from harp.proxy.edge.runtime import RuntimeSocket, RuntimeSocketError
from harp.proxy.policy.shape import MODULUS

FILE = "bans.json"


@dataclass(frozen=True, slots=True)
class Failures:
    """One client's address (IPv6: its network of 64 bits), and when it failed: ms modulo MODULUS, newest first."""

    client: str
    ring: tuple[int, ...]

    def remaining_s(self, now: float, window_s: int) -> float:
        """How long the ban still holds; 0 where there is none."""
        oldest = self.ring[-1] if self.ring else 0
        age = ((int(now * 1000) - oldest) % MODULUS) / 1000
        return max(0.0, window_s - age) if oldest else 0.0

    def recent(self, now: float, window_s: int) -> int:
        """How many failures still count."""
        return sum(1 for at in self.ring if at and ((int(now * 1000) - at) % MODULUS) / 1000 < window_s)


def client_key(text: str) -> str:
    """An address as the table has it. Raises :class:`UsageError`."""
    try:
        address = ipaddress.ip_address(text.strip().strip("[]"))
    except ValueError:
        raise UsageError(f"{text!r} is no IP address", hint="harp proxy bans lists them") from None
    if address.version == 6 and address.ipv4_mapped is None:
        network = ipaddress.ip_network((int(address), 64), strict=False)
        return str(network.network_address)
    return f"::ffff:{address.ipv4_mapped or address}" if address.version == 6 else f"::ffff:{address}"


def shown(key: str) -> str:
    """A table's key as people write it."""
    address = ipaddress.ip_address(key)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped) if mapped else f"{address}/64"


async def read(socket: RuntimeSocket) -> list[Failures]:
    """All clients that failed lately. Raises :class:`~harp.proxy.edge.runtime.RuntimeSocketError`."""
    found = []
    for key, data in await socket.table("bans"):
        ring = tuple(data[f"gpt{place}"] for place in range(sum(1 for name in data if name.startswith("gpt"))))
        if any(ring):
            found.append(Failures(key, ring))
    return found


async def lift(socket: RuntimeSocket, text: str) -> bool:
    """Forgets the failures of one client; whether there were any."""
    key = client_key(text)
    if not any(failures.client == key for failures in await read(socket)):
        return False
    answer = await socket.ask(f"clear table bans key {key}")
    if answer:
        raise RuntimeSocketError(f"HAProxy did not lift the ban: {answer}", hint="try again in a moment")
    return True


async def give_back(run: Path, known: list[Failures]) -> None:
    """Writes rings into the table of a new worker; the socket's commands cannot (only the first place of a ring)."""
    if known:
        await _tell(run, [_request("ban", one.client, f"X-Ring: {':'.join(map(str, one.ring))}\r\n") for one in known])


async def count(run: Path, client: str) -> None:
    """One failure more of the client at this IP address; HAProxy itself counts it. Raises :class:`OSError`."""
    await _tell(run, [_request("failed", client)])


def _request(path: str, client: str, header: str = "") -> str:
    return f"GET /{path} HTTP/1.1\r\nHost: h\r\nX-Client: {ipaddress.ip_address(client)}\r\n{header}\r\n"


async def _tell(run: Path, requests: Sequence[str]) -> None:
    with short_name(run / "inside.sock") as name:
        reader, writer = await asyncio.open_unix_connection(name)
    try:
        for request in requests:
            writer.write(request.encode())
            await writer.drain()
            await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()


def save(run: Path, known: list[Failures]) -> None:
    """Keeps them for the next start."""
    with files.for_the_next_start(run / FILE):
        files.write(run / FILE, msgspec.json.encode(known).decode())


def saved(run: Path) -> list[Failures]:
    """Those of the last run; none where the file is not good."""
    text = files.read(run / FILE)
    try:
        return [] if text is None else msgspec.json.decode(text, type=list[Failures])
    except msgspec.DecodeError:
        return []
