# SPDX-License-Identifier: AGPL-3.0-or-later
"""A registry of images as an engine pulls from: one image of one layer, which it holds back until it is told to go on.

Docker Registry HTTP API V2 and its manifest schema 2, as much of them as a pull asks for.
"""

import asyncio
import gzip
import hashlib
import io
import json
import tarfile
from typing import Any

from aiohttp import web

from tests.fakes.served import Served

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Registry:
    """``NAME:latest`` is there, all else is unknown. Its layer is sent after :meth:`let_go`.

    ``filling`` makes the layer larger, and its first half is sent at once: of one of some hundred bytes an engine does
    not tell how far it is.
    """

    def __init__(self, name: str = "app", filling: bytes = b"") -> None:
        self.name = name
        self._is_large = bool(filling)
        self.asked: list[str] = []
        self._gate = asyncio.Event()
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as tar:
            entry = tarfile.TarInfo("hello")
            entry.size = 5 + len(filling)
            tar.addfile(entry, io.BytesIO(b"hello" + filling))
        packed = gzip.compress(layer.getvalue(), mtime=0)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Cmd": ["/hello"]},
                "rootfs": {"type": "layers", "diff_ids": [_digest(layer.getvalue())]},
            }
        ).encode()
        self._layer = _digest(packed)
        self._blobs = {_digest(config): config, self._layer: packed}
        described: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": len(config),
                "digest": _digest(config),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    "size": len(packed),
                    "digest": self._layer,
                }
            ],
        }
        self._manifest = json.dumps(described).encode()
        self._served = Served(self._answer)

    @property
    def reference(self) -> str:
        """The image without a tag, as an engine on this machine is asked for it."""
        return f"127.0.0.1:{self._served.port}/{self.name}"

    def start(self) -> "Registry":
        self._served.start()
        return self

    def stop(self) -> None:
        self.let_go()
        self._served.stop()

    def let_go(self) -> None:
        self._served.soon(self._gate.set)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request.path)
        kind, _, what = request.path.removeprefix(f"/v2/{self.name}/").partition("/")
        if request.path == "/v2/":
            return web.json_response({})
        if kind == "manifests" and what in ("latest", _digest(self._manifest)):
            headers = {"Docker-Content-Digest": _digest(self._manifest), "Content-Type": _MANIFEST}
            return web.Response(body=self._manifest, headers=headers)
        if kind == "blobs" and what in self._blobs:
            if what == self._layer and self._is_large:
                return await self._in_halves(request, self._blobs[what])
            if what == self._layer:
                await self._gate.wait()
            return web.Response(body=self._blobs[what], content_type="application/octet-stream")
        said = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": {}}]}
        return web.json_response(said, status=404)

    async def _in_halves(self, request: web.BaseRequest, blob: bytes) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        answer.content_length = len(blob)
        await answer.prepare(request)
        await answer.write(blob[: len(blob) // 2])
        await self._gate.wait()
        await answer.write(blob[len(blob) // 2 :])
        return answer
