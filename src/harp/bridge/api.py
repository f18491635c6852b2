# SPDX-License-Identifier: AGPL-3.0-or-later
"""The control server: HTTP on the home's Unix socket, every route of the table, every error as JSON."""

import asyncio
import copy
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from harp.base.errors import (
    CloudError,
    ConfigError,
    FolderError,
    HarpError,
    LinkError,
    ProtocolError,
    StoreError,
    TrustError,
    UsageError,
)
from harp.base.runtime import Tasks
from harp.bridge import caller as callers
from harp.bridge import doorway, model, openapi, spoken
from harp.bridge.caller import Caller, Verb
from harp.bridge.daemonport import Daemon
from harp.bridge.naming import printable
from harp.bridge.route import Answer, Answering, Lines, Route, Streaming
from harp.bridge.routes import ROUTES, unplaced
from harp.bridge.spoken import Said, in_english

MAX_BODY_BYTES = 1 << 20
_SHUTDOWN_S = 0.25
_log = logging.getLogger(__name__)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Identify = Callable[[web.Request], Caller]

_HTTP_STATUS: tuple[tuple[type[HarpError], int], ...] = (
    (UsageError, 400),
    (TrustError, 403),
    (ConfigError, 409),
    (FolderError, 409),
    (LinkError, 502),
    (CloudError, 502),
    (ProtocolError, 502),
    (StoreError, 503),
)


class ControlServer:
    """Serves ``daemon`` on ``HOME/harp.sock`` from :meth:`start` to :meth:`close`; the home is claimed by then."""

    def __init__(self, daemon: Daemon, home: Path, *, tasks: Tasks, said: Said = in_english) -> None:
        """``said`` knows sentences in other languages; see :mod:`harp.bridge.spoken`."""
        self._home = home
        self._runner = web.AppRunner(
            application(daemon, tasks, local_user, said),
            access_log=None,
            # Who goes away in the middle of a long wait must not leave the wait behind.
            handler_cancellation=True,
            shutdown_timeout=_SHUTDOWN_S,
        )

    async def start(self) -> None:
        """Raises :class:`ConfigError` where the socket cannot be made."""
        door = doorway.bound(self._home)
        await self._runner.setup()
        await web.SockSite(self._runner, door, backlog=64).start()

    async def close(self) -> None:
        await self._runner.cleanup()
        doorway.remove(self._home)


def application(daemon: Daemon, tasks: Tasks, identify: Identify, said: Said = in_english) -> web.Application:
    """The aiohttp application; ``identify`` says who asks, or raises :class:`TrustError`."""

    @web.middleware
    async def readable(request: web.Request, handler: _Handler) -> web.StreamResponse:
        response = await handler(request)
        accepted = request.headers.get("Accept-Language", "")
        if not (accepted and isinstance(response, web.Response) and response.content_type == "application/json"):
            return response
        if isinstance(response.body, bytes):
            answer = spoken.translated(msgspec.json.decode(response.body), accepted, said)
            response.body = msgspec.json.encode(answer)
        return response

    @web.middleware
    async def guarded(request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            # Every request, the plain ones too; the routes ask again, for who it is.
            identify(request)
            return await handler(request)
        except HarpError as error:
            return _error(error)
        except web.HTTPRequestEntityTooLarge:
            return _error(UsageError(f"a request has at most {MAX_BODY_BYTES} bytes"), 413)
        except web.HTTPException as error:
            return _error(UsageError(f"{request.method} {request.path}: {error.reason}"), error.status)
        except Exception:  # noqa: BLE001 - logged whole; the caller gets a neutral text
            _log.exception("%s %s failed", request.method, request.path)
            return _error(HarpError("something went wrong inside the daemon", hint="its log says what"), 500)

    app = web.Application(middlewares=[readable, guarded], client_max_size=MAX_BODY_BYTES)
    for route in ROUTES:
        app.router.add_route(route.method, route.path, _handler(route, daemon, tasks, identify))
    _add_plain_routes(app, daemon)
    return app


def local_user(request: web.Request) -> Caller:
    """Whoever runs as this very user, or as root; the socket's mode says so too, but modes can be changed."""
    transport = request.transport
    if transport is None:
        raise TrustError("the connection is gone")
    uid = doorway.peer_uid(transport.get_extra_info("socket"))
    if uid not in (0, os.geteuid()):
        raise TrustError("this daemon answers only to its own user", hint="run the command as that user")
    return callers.of_request(uid, request.headers.get(callers.ON_BEHALF))


def _handler(route: Route, daemon: Daemon, tasks: Tasks, identify: Identify) -> _Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        caller = identify(request)
        asked = _permitted(route, daemon, caller, await _asked(route, request))
        try:
            match route.how:
                case Answer(perform=perform):
                    return _json(await _undisturbed(route, perform, daemon, caller, asked, tasks))
                case Lines(perform=perform):
                    return await _streamed(request, perform, daemon, caller, asked)
        except HarpError as error:
            raise await _told(error, daemon, caller) from None

    return handle


async def _told(error: HarpError, daemon: Daemon, caller: Caller) -> HarpError:
    """The same, without where folders lie for who is not to know that."""
    if caller.sees_everything:
        return error
    folders = await daemon.folders()
    # A copy: why a folder is stopped is raised again and again, for others too.
    told = copy.copy(error)
    told.message, told.hint = (unplaced(text, folders) for text in (error.message, error.hint))
    return told


async def _asked(route: Route, request: web.Request) -> model.Noun:
    fields: dict[str, Any] = {}
    try:
        if route.method == "GET":
            fields.update(request.query)
        elif body := await request.read():
            fields.update(msgspec.json.decode(body, type=dict[str, Any]))
        fields.update(request.match_info)
        return msgspec.convert(fields, route.asks, strict=route.method != "GET")
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f"the request is not understood: {error}", hint="see /v1/openapi.json") from error


def _permitted(route: Route, daemon: Daemon, caller: Caller, asked: model.Noun) -> model.Noun:
    """What is asked, with the whole id of its folder. Raises :class:`TrustError`, or :class:`UsageError`.

    A folder that the caller may not see and one that is not there are told apart by nothing.
    """
    reference = getattr(asked, "folder", None)
    folder = None if reference is None else _folder_seen(daemon, caller, reference)
    if not caller.may(folder, route.verb):
        raise TrustError("you may not do this", hint="ask whoever runs this daemon")
    return asked if folder is None else msgspec.structs.replace(asked, folder=folder)


def _folder_seen(daemon: Daemon, caller: Caller, reference: str) -> str:
    try:
        folder = daemon.folder_id(reference)
    except UsageError:
        # The text of this error names the folders that there are.
        if caller.sees_everything:
            raise
        folder = ""
    if not caller.may(folder, Verb.READ):
        raise UsageError("no such folder here")
    return folder


async def _undisturbed(
    route: Route, perform: Answering, daemon: Daemon, caller: Caller, asked: model.Noun, tasks: Tasks
) -> model.Noun:
    """Perform to the end even if the caller goes away: half a join or half a restore is nobody's wish."""

    async def outcome() -> model.Noun | Exception:
        # An exception is an answer here, not a crash of the task that nobody may be left to hear of.
        try:
            return await perform(daemon, caller, asked)
        except Exception as error:  # noqa: BLE001 - raised again below
            return error

    done = await asyncio.shield(tasks.task(f"api {route.name}", outcome()))
    if isinstance(done, Exception):
        raise done
    return done


async def _streamed(
    request: web.Request, perform: Streaming, daemon: Daemon, caller: Caller, asked: model.Noun
) -> web.StreamResponse:
    async with aclosing(_closable(perform(daemon, caller, asked))) as lines:
        # The first line is waited for before the status is sent, so that a refusal still has a status of its own.
        first = await anext(lines, None)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
        await response.prepare(request)
        try:
            if first is not None:
                await response.write(_line(first))
            async for noun in lines:
                await response.write(_line(noun))
        except HarpError as error:
            told = await _told(error, daemon, caller)
            await response.write(_line(_failed(told.message, told.hint)))
        except ConnectionError:
            return response
        except Exception:  # noqa: BLE001 - logged whole; the caller gets a neutral text
            _log.exception("%s %s failed", request.method, request.path)
            await response.write(_line(_failed("something went wrong inside the daemon", "its log says what")))
        await response.write_eof()
        return response


async def _closable(lines: AsyncIterator[model.Noun]) -> AsyncGenerator[model.Noun, None]:
    try:
        async for noun in lines:
            yield noun
    finally:
        if isinstance(lines, AsyncGenerator):
            await lines.aclose()


def _failed(reason: str, hint: str) -> model.Progress:
    return model.Progress(phase=model.Phase.FAILED, reason=printable(reason), hint=printable(hint))


def _line(noun: model.Noun) -> bytes:
    return _encoded(noun) + b"\n"


def _json(noun: model.Noun, status: int = 200) -> web.Response:
    return web.Response(body=_encoded(noun), status=status, content_type="application/json")


def _encoded(noun: model.Noun) -> bytes:
    try:
        return msgspec.json.encode(noun)
    except UnicodeEncodeError:
        # Some text of it came from a disk as it was; an answer that is readable beats none.
        return msgspec.json.encode(_readable(msgspec.to_builtins(noun)))


def _readable(value: object) -> object:
    match value:
        case str():
            return printable(value)
        case list():
            return [_readable(item) for item in value]
        case dict():
            return {key: _readable(item) for key, item in value.items()}
        case _:
            return value


def _error(error: HarpError, status: int | None = None) -> web.Response:
    found = next((number for kind, number in _HTTP_STATUS if isinstance(error, kind)), 500)
    answer = model.ErrorAnswer(
        error=type(error).__name__,
        message=printable(error.message),
        hint=printable(error.hint),
        exit_code=error.exit_code,
    )
    return _json(answer, status or found)


def _add_plain_routes(app: web.Application, daemon: Daemon) -> None:
    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ready\n") if daemon.is_ready() else web.Response(text="not ready\n", status=503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=daemon.metrics().encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def described(_: web.Request) -> web.Response:
        return web.Response(text=openapi.text(), content_type="application/json")

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/v1/openapi.json", described)
