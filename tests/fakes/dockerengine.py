# SPDX-License-Identifier: AGPL-3.0-or-later
"""A stand-in of a Docker Engine on a Unix socket: containers and volumes in memory, answers as Docker 20.10 gave them.

It claims no more than was seen of the real one; ``tests/integration/test_docker_backend.py`` runs on both.
"""

import asyncio
import json
import secrets
from pathlib import Path
from typing import Any

from aiohttp import web

IMAGES = ("harp-test-app",)


class FakeEngine:
    """``asked`` are the requests in order, without the version; ``broken`` answers every one of a path's beginning."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.asked: list[str] = []
        self.broken: dict[str, tuple[int, str]] = {}
        self.containers: dict[str, dict[str, Any]] = {}
        self.volumes: set[str] = set()
        self.images = dict.fromkeys(IMAGES, 1000)
        self.listeners: list[asyncio.Queue[bytes]] = []
        self._runner: web.ServerRunner | None = None

    async def start(self) -> None:
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await self._runner.setup()
        self.socket.unlink(missing_ok=True)
        await web.UnixSite(self._runner, str(self.socket)).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def tell(self, **event: Any) -> None:
        """An event for all who listen."""
        for listener in self.listeners:
            listener.put_nowait(json.dumps(event).encode() + b"\n")

    def runs(self, name: str, address: str, *, env: list[str], mode: str = "bridge") -> None:
        """A container that somebody else started, or that has another address now."""
        self.containers[name] = {
            "Id": name.encode().hex().ljust(64, "0")[:64],
            "Name": f"/{name}",
            "State": {"Status": "running", "Running": True, "ExitCode": 0, "Error": ""},
            "RestartCount": 0,
            "Config": {"Image": IMAGES[0], "Env": env, "Labels": {}},
            "HostConfig": {"NetworkMode": mode},
            "NetworkSettings": {"Networks": {mode: {"IPAddress": address, "Aliases": None}}},
        }
        self.tell(Type="container", Action="start")

    def ends(self, name: str) -> None:
        del self.containers[name]
        self.tell(Type="container", Action="die")

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path.startswith("/v1."):
            path = path[path.index("/", 1) :]
        self.asked.append(f"{request.method} {path}")
        for beginning, (status, message) in self.broken.items():
            if f"{request.method} {path}".startswith(beginning):
                return _said(status, message)
        match path.strip("/").split("/"):
            case ["version"]:
                return _json({"ApiVersion": "1.41", "Version": "20.10.24"})
            case ["events"]:
                return await self._events(request)
            case ["containers", "json"]:
                return _json(self._listed(json.loads(request.query.get("filters", "{}"))))
            case ["containers", "create"]:
                return self._create(request.query["name"], json.loads(await request.read()))
            case ["containers", name, *verb]:
                return self._container(request.method, name, verb)
            case ["volumes", "create"]:
                self.volumes.add(json.loads(await request.read())["Name"])
                return _json({"Name": "x"}, 201)
            case ["volumes", name]:
                return self._volume(request.method, name)
            case ["images", name, *_]:
                return self._image(request.method, name)
            case _:
                return _said(404, "page not found")

    async def _events(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.listeners.append(queue)
        try:
            while True:
                await response.write(await queue.get())
        finally:
            self.listeners.remove(queue)

    def _found(self, name: str) -> tuple[str, dict[str, Any]] | None:
        """By name or by id."""
        return next(((key, each) for key, each in self.containers.items() if name in (key, each["Id"])), None)

    def _listed(self, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        labels = [label.partition("=") for label in filters.get("label", [])]
        return [
            {"Id": each["Id"], "Names": [each["Name"]]}
            for each in self.containers.values()
            if all(each["Config"]["Labels"].get(key) == value for key, _, value in labels)
            and ("status" not in filters or each["State"]["Status"] in filters["status"])
        ]

    def _create(self, name: str, said: dict[str, Any]) -> web.Response:
        if said["Image"] not in self.images:
            return _said(404, f"No such image: {said['Image']}:latest")
        if name in self.containers:
            return _said(409, f'Conflict. The container name "/{name}" is already in use by container "…".')
        self.containers[name] = {
            "Id": secrets.token_hex(32),
            "Name": f"/{name}",
            "State": {"Status": "created", "Running": False, "ExitCode": 0, "Error": ""},
            "RestartCount": 0,
            "Config": {"Image": said["Image"], "Env": said["Env"], "Labels": said["Labels"]},
            "HostConfig": said["HostConfig"],
            "NetworkSettings": {"Networks": {}},
        }
        return _json({"Id": self.containers[name]["Id"], "Warnings": []}, 201)

    def _container(self, method: str, name: str, verb: list[str]) -> web.Response:
        found = self._found(name)
        if found is None:
            return _said(404, f"No such container: {name}")
        key, container = found
        state = container["State"]
        match (method, *verb):
            case ("GET", "json"):
                return _json(container)
            case ("POST", ("start" | "stop") as act):
                if state["Running"] is (act == "start"):
                    return web.Response(status=304)
                state |= {"Running": act == "start", "Status": "running" if act == "start" else "exited"}
                self.tell(Type="container", Action="start" if act == "start" else "die")
                return web.Response(status=204)
            case ("DELETE",):
                del self.containers[key]
                return web.Response(status=204)
            case _:
                return _said(404, "page not found")

    def _volume(self, method: str, name: str) -> web.Response:
        if name not in self.volumes:
            return _said(404, f"get {name}: no such volume")
        if method == "GET":
            return _json({"Name": name})
        if any(mount["Source"] == name for each in self.containers.values() for mount in _mounts(each)):
            return _said(409, f"remove {name}: volume is in use - […]")
        self.volumes.discard(name)
        return web.Response(status=204)

    def _image(self, method: str, name: str) -> web.Response:
        if name not in self.images:
            return _said(404, f"No such image: {name}:latest")
        if method == "GET":
            return _json({"Size": self.images[name]})
        if any(each["Config"]["Image"] == name for each in self.containers.values()):
            return _said(409, f'conflict: unable to remove repository reference "{name}" (must force) - […]')
        del self.images[name]
        return _json([{"Untagged": f"{name}:latest"}, {"Deleted": "sha256:…"}])


def _mounts(container: dict[str, Any]) -> list[dict[str, Any]]:
    return list(container["HostConfig"].get("Mounts", []))


def _said(status: int, message: str) -> web.Response:
    return _json({"message": message}, status)


def _json(said: Any, status: int = 200) -> web.Response:
    """Without a charset, as Docker does it."""
    return web.Response(body=json.dumps(said).encode(), status=status, content_type="application/json")
