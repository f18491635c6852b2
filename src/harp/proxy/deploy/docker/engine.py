# SPDX-License-Identifier: AGPL-3.0-or-later
"""A Docker Engine, through aiodocker: what it answers, and why it does not, in words for a person."""

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import aiohttp
from aiodocker import Docker, DockerError

from harp.proxy.deploy.docker.certificates import first_text
from harp.proxy.model import EngineAddress

CONNECT_S = 4.0
_NOT_CONNECTED = 900
"""What aiodocker says instead of a status where it got no connection."""
_OUTPUT_MOST = 65_536


class Unreachable(Exception):
    """Nobody answers where the engine should; the text says why, and what may help."""


class Denied(Unreachable):
    """The engine is there, and its socket is for others."""


class Refused(Exception):
    """The engine answered with an error: its status, and what it said in one line."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"Status {status}: {said}")
        self.status = status
        self.said = said


def one_line(text: str, most: int = 400) -> str:
    """A text of strangers as one line that does nothing to a log or a terminal."""
    flat = " ".join(text.split())
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in flat)
    return shown if len(shown) <= most else shown[:most] + "…"


def lost(port: int) -> str:
    """How an answer begins that an engine has no part in (contract, 3.3)."""
    return f"Could not connect to Docker Engine on port {port}"


class Engine:
    """One engine. Every call raises :class:`Unreachable`, :class:`Refused` or :class:`TimeoutError`."""

    def __init__(self, address: EngineAddress, docker: Docker) -> None:
        self.address = address
        self.docker = docker

    async def version(self) -> tuple[str, str]:
        """Its own version, and that of the API it speaks."""
        with _told(self.address):
            said = await self.docker.version()
        return one_line(str(said["Version"]), 40), str(said["ApiVersion"])

    async def inspect(self, container: str) -> dict[str, Any] | None:
        """All that the engine says of a container; ``None`` where it has none of this name."""
        return await self._found(f"containers/{container}/json")

    async def containers(self, **filters: Sequence[str]) -> list[dict[str, Any]]:
        """Short descriptions of all containers that fit, also of those that stand still."""
        with _told(self.address):
            found = await self.docker.containers.list(all=True, filters=json.dumps(filters))
        return [each._container for each in found]

    async def create(self, name: str, specification: dict[str, Any]) -> str:
        """The id of a container made, that does not run."""
        with _told(self.address):
            return (await self.docker.containers.create(specification, name=name)).id

    async def start(self, container: str) -> bool:
        """Whether it had to be started."""
        return await self._changed(f"containers/{container}/start")

    async def stop(self, container: str, grace_s: int | None = None) -> bool:
        """Whether it had to be stopped. It is killed if it goes on after ``grace_s`` (else as it was made, 10 s)."""
        return await self._changed(f"containers/{container}/stop" + ("" if grace_s is None else f"?t={grace_s}"))

    async def halt(self, container: str) -> None:
        """Holds its first process where it is: it does nothing more, and commands can still be run beside it."""
        await self._changed(f"containers/{container}/kill?signal=STOP")

    async def remove(self, container: str) -> None:
        """Ends it too."""
        with _told(self.address):
            await self.docker.containers.container(container).delete(force=True)

    async def log(self, container: str, lines: int) -> list[str]:
        """What a container has said last, to both of its outputs, the oldest first."""
        with _told(self.address):
            return await self.docker.containers.container(container).log(stdout=True, stderr=True, tail=lines)

    async def has_volume(self, name: str) -> bool:
        return await self._found(f"volumes/{name}") is not None

    async def make_volume(self, name: str) -> None:
        with _told(self.address):
            await self.docker.volumes.create({"Name": name})  # type: ignore[no-untyped-call]

    async def remove_volume(self, name: str) -> None:
        with _told(self.address):
            volume = await self.docker.volumes.get(name)  # type: ignore[no-untyped-call]
            await volume.delete()

    async def image(self, reference: str) -> dict[str, Any] | None:
        """All that the engine says of an image; ``None`` where it has none."""
        return await self._found(f"images/{quote(reference, safe='')}/json")

    async def pull(self, query: Mapping[str, str], headers: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        """An empty one when the engine has begun to pull an image, then what it tells, piece by piece as it comes."""
        patient = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        with _told(self.address):
            # aiodocker's own method reads line by line, and stumbles over those beyond 64 KiB.
            asked = self.docker._query("images/create", "POST", params=query, headers=headers, timeout=patient)
            async with asked as response, response:
                yield b""
                async for piece in response.content.iter_any():
                    yield piece

    async def remove_image(self, reference: str) -> list[dict[str, Any]]:
        """What was untagged and deleted."""
        with _told(self.address):
            return await self.docker.images.delete(quote(reference, safe=""))

    async def put(self, container: str, archive: bytes) -> None:
        """Unpacks a tar archive at the container's root."""
        with _told(self.address):
            into = self.docker.containers.container(container)
            await into.put_archive("/", archive)  # type: ignore[no-untyped-call]

    async def text_of(self, container: str, path: str) -> str | None:
        """The text of a small file in a container; ``None`` where there is none, or something else."""
        try:
            with _told(self.address):
                # aiodocker's own method takes in an archive of any size.
                where = f"containers/{container}/archive"
                async with self.docker._query(where, params={"path": path}) as response, response:
                    packed = b""
                    while len(packed) < _OUTPUT_MOST and (piece := await response.content.read(_OUTPUT_MOST)):
                        packed += piece
        except Refused as error:
            if error.status == 404:
                return None
            raise
        return first_text(packed)

    async def execute(self, container: str, *command: str) -> tuple[int, str]:
        """Runs a command as root in a container that runs: its exit code, and the beginning of what it wrote."""
        with _told(self.address):
            running = await self.docker.containers.container(container).exec(list(command), user="0")
            said = b""
            async with running.start(detach=False) as stream:
                while (message := await stream.read_out()) is not None:
                    said += message.data[: _OUTPUT_MOST - len(said)]
            inspected = await running.inspect()
        code = inspected.get("ExitCode")
        return code if isinstance(code, int) else -1, said.decode(errors="replace")

    async def events(self, **filters: Sequence[str]) -> AsyncGenerator[dict[str, Any], None]:
        """An empty one when the engine has begun to tell, then each as it happens; raises when they end."""
        asked = {"filters": json.dumps(filters)}
        patient = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        with _told(self.address):
            # A failure of aiodocker's own events is heard by nobody.
            async with self.docker._query("events", params=asked, timeout=patient) as response, response:
                yield {}
                async for line in response.content:
                    event = json.loads(line)
                    yield event if isinstance(event, dict) else {}
        raise Unreachable(f"{self.address.url} ended its events")

    async def _found(self, path: str) -> dict[str, Any] | None:
        try:
            with _told(self.address):
                found = await self.docker._query_json(path)
        except Refused as error:
            if error.status == 404:
                return None
            raise
        if not isinstance(found, dict):
            raise Refused(200, "no object")
        return found

    async def _changed(self, path: str) -> bool:
        """aiodocker's own methods do not tell 304 from 204."""
        with _told(self.address):
            async with self.docker._query(path, method="POST") as response, response:
                return response.status != 304


@contextlib.asynccontextmanager
async def connected(address: EngineAddress) -> AsyncIterator[Engine]:
    """An engine, until the block ends. Nobody is called yet."""
    connector: aiohttp.BaseConnector = (
        aiohttp.UnixConnector(address.place) if address.kind == "unix" else aiohttp.TCPConnector()
    )
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
    # The connector knows the socket; the URL is what stands in requests.
    url = "unix://localhost" if address.kind == "unix" else address.url
    async with connector, Docker(url, connector=connector, timeout=timeout) as docker:
        yield Engine(address, docker)


@contextlib.contextmanager
def _told(address: EngineAddress) -> Iterator[None]:
    """aiodocker's errors, and those of an engine that is none, as this module's."""
    try:
        yield
    except DockerError as error:
        if error.status == _NOT_CONNECTED:
            raise _not_connected(address, error.__context__) from None
        raise Refused(error.status, one_line(str(error.message))) from None
    except aiohttp.ConnectionTimeoutError:
        raise Unreachable(f"{address.url} does not answer within {CONNECT_S:g} s: is a firewall in between?") from None
    except (aiohttp.ClientError, ConnectionError) as error:
        raise Unreachable(f"{address.url} broke off: {type(error).__name__}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unreachable(f"what answers at {address.url} is no Docker Engine: {type(error).__name__}") from None


def _not_connected(address: EngineAddress, error: BaseException | None) -> Unreachable:
    cause = getattr(error, "os_error", error)
    if isinstance(cause, PermissionError):
        return Denied(
            f"no permission for {address.place}: whoever runs Harp has to be in the group of that socket (docker)"
        )
    if isinstance(cause, FileNotFoundError):
        return Unreachable(f"there is no {address.place}: does the engine run? Its place is set by HP_DOCKER_ENGINES")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Unreachable(f"the name in {address.url} has no address: see HP_DOCKER_ENGINES")
    if isinstance(cause, ConnectionRefusedError):
        return Unreachable(f"nobody listens at {address.url}: does the engine run?")
    return Unreachable(f"{address.url}: {one_line(str(cause))}")
