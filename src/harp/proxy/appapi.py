# SPDX-License-Identifier: AGPL-3.0-or-later
"""The control API that AppAPI calls, behind HAProxy and the shared key (contract, section 3)."""

import contextlib
import hmac
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from aiohttp import web

from harp import __version__
from harp.base.sockets import short_name
from harp.proxy.deploy import payload
from harp.proxy.deploy.payload import K8S_VERBS, VERBS
from harp.proxy.deploy.port import Backend, Outcome, Puller
from harp.proxy.model import AppId
from harp.proxy.policy import record
from harp.proxy.registry import Registry

_log = logging.getLogger(__name__)

MAX_BODY = 1 << 20
COMPATIBLE = "0.4.4"
"""The version of HaRP whose contract this is; AppAPI compares it with the least that it wants (contract, 3.2)."""


class ControlApi:
    """Heartbeat, info, the storage of records, and the deployment backends, on a Unix socket."""

    def __init__(self, key: str, registry: Registry, docker: Backend, kubernetes: Backend, pulls: Puller) -> None:
        self._key = key.encode()
        self._registry = registry
        self._docker = docker
        self._kubernetes = kubernetes
        self._pulls = pulls
        self._runner: web.AppRunner | None = None
        self._has_warned = False

    def rekey(self, key: str) -> None:
        """From now on this key opens, and no other."""
        self._key = key.encode()

    async def start(self, path: Path) -> None:
        """Listens; the socket of a run before is taken over."""
        app = web.Application(client_max_size=MAX_BODY, middlewares=[self._admitted])
        app.add_routes(
            [
                web.get("/alive", self._heartbeat),
                web.get("/heartbeat", self._heartbeat),
                web.get("/info", self._info),
                web.get("/refused/via-proxy", self._via_proxy),
                web.post("/exapp_storage/{app}", self._store),
                web.delete("/exapp_storage/{app}", self._forget),
                web.post("/docker/pull", self._pull),
                *(web.post(f"/docker/exapp/{verb}", self._backend(self._docker, verb)) for verb in sorted(VERBS)),
                *(web.post(f"/k8s/exapp/{verb}", self._backend(self._kubernetes, verb)) for verb in sorted(K8S_VERBS)),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        path.unlink(missing_ok=True)
        with short_name(path) as name:
            await web.UnixSite(self._runner, name).start()
        path.chmod(0o600)

    async def close(self) -> None:
        """Ends what is under way."""
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _admitted(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """HAProxy has looked at the key already; a second look costs nothing."""
        if request.path == "/alive":
            return await handler(request)  # the supervisor's question
        given = request.headers.get("harp-shared-key", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, self._key):
            return web.Response(status=401, text="401 Unauthorized")
        return await handler(request)

    async def _heartbeat(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _info(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "version": COMPATIBLE,
                "docker": self._docker.is_available(),
                "kubernetes": {"enabled": self._kubernetes.is_available()},
                "harp": __version__,
            }
        )

    async def _via_proxy(self, _request: web.Request) -> web.Response:
        """HAProxy sends here what came to the control API through a trusted proxy."""
        if not self._has_warned:
            self._has_warned = True
            _log.warning("control requests through a trusted proxy are refused; HP_CONTROL_VIA_PROXY=true lets them")
        said = "403 Forbidden: control requests through a proxy are refused unless HP_CONTROL_VIA_PROXY=true"
        return web.Response(status=403, text=said)

    async def _store(self, request: web.Request) -> web.Response:
        app = AppId(request.match_info["app"].lower())
        try:
            await self._registry.store(record.read(app, await request.read()))
        except record.InvalidRecord as error:
            _log.warning("AppAPI sent a record of %r that is not as it has to be: %s", str(app), error)
            raise web.HTTPBadRequest from None
        except msgspec.DecodeError as error:
            _log.warning("AppAPI sent a record of %r that is no JSON: %s", str(app), error)
            raise web.HTTPInternalServerError(text="500: the record is no JSON") from None
        return web.Response(status=204)

    async def _forget(self, request: web.Request) -> web.Response:
        if not await self._registry.forget(AppId(request.match_info["app"].lower())):
            raise web.HTTPNotFound
        return web.Response(status=204)

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        """HAProxy sends here what asks an engine for ``images/create``."""
        asked = request.headers.get("docker-engine-port"), request.query, request.headers.get("x-registry-auth")
        async with contextlib.aclosing(self._pulls.pull(*asked)) as told:
            outcome = await anext(told)
            if not isinstance(outcome, Outcome) or outcome.status != 200:
                return _response(outcome if isinstance(outcome, Outcome) else Outcome(502))
            answer = web.StreamResponse(headers={"Content-Type": "application/json"})
            await answer.prepare(request)
            async for piece in told:
                if isinstance(piece, bytes):
                    await answer.write(piece)
            return answer

    def _backend(self, backend: Backend, verb: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def call(request: web.Request) -> web.Response:
            port, body = request.headers.get("docker-engine-port"), await request.read()
            outcome = await backend.call(verb, port, body)
            form = payload.read(verb, body)
            if outcome.status == 201 and isinstance(form, payload.Create):
                self._registry.expect(AppId(form.name.lower()))
            return _response(outcome)

        return call


def _response(outcome: Outcome) -> web.Response:
    if outcome.body is not None:
        return web.json_response(outcome.body, status=outcome.status)
    return web.Response(status=outcome.status, text=outcome.text or None)
