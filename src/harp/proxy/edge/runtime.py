# SPDX-License-Identifier: AGPL-3.0-or-later
"""HAProxy's runtime socket: commands in, texts out (Management Guide, section 9.3)."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from harp.base.errors import HarpError
from harp.base.sockets import short_name
from harp.proxy.policy.compile import Command, DropEntry, ForgetSessions, PutEntry, SetServer, SwitchMap

TIMEOUT_S = 5.0
CHUNK = 12_000
"""Bytes of a payload: HAProxy reads a command and its payload into one buffer."""
_VERSION = re.compile(r"New version created: ([0-9]+)")
_MOVED = re.compile("IP changed|port changed|no need to change|nothing changed")
_ENTRY = re.compile(r"key=(\S+) use=[0-9]+ exp=([0-9]+)(?: shard=[0-9]+)?(.*)")
_DATA = re.compile(r"(\w+)(?:\([0-9]+\))?=([0-9]+)")


class RuntimeSocketError(HarpError):
    """HAProxy does not answer on its runtime socket, or refuses a command."""

    retryable = True


class RuntimeSocket:
    """The runtime socket of the newest worker."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def ask(self, command: str, timeout_s: float = TIMEOUT_S) -> str:
        """The answer to one command. Raises :class:`RuntimeSocketError`."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._asked(command)
        except (OSError, TimeoutError) as error:
            raise RuntimeSocketError(
                f"HAProxy does not answer on {self._path}: {type(error).__name__}", hint="is it running?"
            ) from None

    async def _asked(self, command: str) -> str:
        with short_name(self._path) as name:
            reader, writer = await asyncio.open_unix_connection(name)
        try:
            writer.write(command.encode() + b"\n")
            await writer.drain()
            return (await reader.read()).decode(errors="replace").strip()
        finally:
            writer.close()

    async def do(self, command: Command) -> None:
        """One change. Raises :class:`RuntimeSocketError`."""
        if isinstance(command, SwitchMap):
            await self._switch(command)
        elif isinstance(command, ForgetSessions):
            await self._quietly("clear table sessions")
        elif isinstance(command, SetServer):
            place = f"addr {command.upstream.address} port {command.upstream.port}"
            answer = await self.ask(f"set server slot{command.slot}/app {place}")
            if not _MOVED.match(answer):
                raise RuntimeSocketError(f"HAProxy refused set server: {answer.splitlines()[:1]}")
        elif isinstance(command, PutEntry):
            # An entry that is not there yet cannot be set.
            if await self._has(command):
                await self._quietly(f"set map {command.path} {command.key} {command.value}")
            else:
                await self._quietly(f"add map {command.path} {command.key} {command.value}")
        elif await self._has(command):
            await self._quietly(f"del map {command.path} {command.key}")

    async def table(self, name: str) -> list[tuple[str, dict[str, int]]]:
        """The entries of a stick table: key, and its data by name (``gpt0`` …; ``exp`` in milliseconds)."""
        found: list[tuple[str, dict[str, int]]] = []
        for line in (await self.ask(f"show table {name}")).splitlines():
            match = _ENTRY.search(line)
            if match:
                data = {key: int(value) for key, value in _DATA.findall(match.group(3))}
                found.append((match.group(1), {**data, "exp": int(match.group(2))}))
        return found

    async def info(self) -> dict[str, str]:
        """``show info``, by name."""
        lines = (await self.ask("show info")).splitlines()
        return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    async def _has(self, command: PutEntry | DropEntry) -> bool:
        return "found=yes" in await self.ask(f"get map {command.path} {command.key}")

    async def _switch(self, command: SwitchMap) -> None:
        answer = await self.ask(f"prepare map {command.path}")
        match = _VERSION.search(answer)
        if match is None:
            raise RuntimeSocketError(f"HAProxy would not prepare a map: {answer}")
        version = match.group(1)
        for chunk in _chunks(command.lines):
            await self._quietly(f"add map @{version} {command.path} <<\n{chunk}")
        await self._quietly(f"commit map @{version} {command.path}")

    async def _quietly(self, command: str) -> None:
        answer = await self.ask(command)
        if answer:
            # The command may hold a token: only its first words are said.
            raise RuntimeSocketError(f"HAProxy refused {' '.join(command.split()[:2])}: {answer.splitlines()[0]}")


def _chunks(lines: Sequence[str]) -> Iterator[str]:
    chunk = ""
    for line in lines:
        if chunk and len(chunk) + len(line) > CHUNK:
            yield chunk
            chunk = ""
        chunk += line + "\n"
    if chunk:
        yield chunk
