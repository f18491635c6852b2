# SPDX-License-Identifier: AGPL-3.0-or-later
"""The routes for looking around: files, changes, contents, traffic, events, the log, and the way into the console."""

from collections.abc import AsyncIterator

from harp.base.errors import UsageError
from harp.bridge import browsing, model, proxyview, requests
from harp.bridge.caller import Caller, Verb
from harp.bridge.daemonport import Daemon
from harp.bridge.naming import raw_path
from harp.bridge.route import Answer, Lines, Route


async def _events(daemon: Daemon, caller: Caller, _: requests.Nothing) -> AsyncIterator[browsing.Event]:
    async for event in daemon.events():
        seen = [folder for folder in event.folders if caller.may(folder, Verb.READ)]
        yield browsing.Event(number=event.number, at=event.at, folders=seen, peers=event.peers)


async def _files(daemon: Daemon, _: Caller, asked: browsing.FilesAsked) -> browsing.FileList:
    after = raw_path("", asked.after_b64)
    limit = _bounded("limit", asked.limit, browsing.MOST_LISTED)
    return await daemon.files(asked.folder, _path(asked), asked.find, after, limit, asked.deleted)


async def _changes(daemon: Daemon, _: Caller, asked: browsing.ChangesAsked) -> browsing.ChangeList:
    limit = _bounded("limit", asked.limit, browsing.MOST_LISTED)
    return browsing.ChangeList(changes=await daemon.changes(asked.folder, limit))


async def _content(daemon: Daemon, _: Caller, asked: browsing.ContentAsked) -> browsing.Content:
    length = _bounded("length", asked.length, browsing.MOST_CONTENT)
    if asked.offset < 0:
        raise UsageError("a file has nothing before its beginning", hint="offset counts from 0")
    return await daemon.content(asked.folder, _path(asked), asked.entry, asked.offset, length)


async def _traffic(daemon: Daemon, _: Caller, asked: browsing.TrafficAsked) -> browsing.TrafficDays:
    return await daemon.traffic(_bounded("days", asked.days, browsing.MOST_DAYS))


async def _log(daemon: Daemon, _: Caller, asked: browsing.LogAsked) -> browsing.LogLines:
    return browsing.LogLines(lines=await daemon.log(_bounded("lines", asked.lines, browsing.MOST_LISTED)))


async def _container_log(daemon: Daemon, _: Caller, asked: proxyview.ContainerAsked) -> proxyview.ContainerLog:
    return await daemon.container_log(asked.container, _bounded("lines", asked.lines, browsing.MOST_LISTED))


def _bounded(name: str, wanted: int, most: int) -> int:
    if not 1 <= wanted <= most:
        raise UsageError(f"{name} cannot be {wanted}", hint=f"from 1 to {most}")
    return wanted


def _path(asked: requests.PathAsked) -> bytes:
    return raw_path(asked.path, asked.path_b64)


_FOLDER = "/v1/folders/{folder}"

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        f"{_FOLDER}/files",
        browsing.FilesAsked,
        browsing.FileList,
        Verb.READ,
        "What lies in a directory, or what has a text in its path, deleted files too",
        Answer(perform=_files),
    ),
    Route(
        "GET",
        f"{_FOLDER}/changes",
        browsing.ChangesAsked,
        browsing.ChangeList,
        Verb.READ,
        "What was changed last, by whom and when",
        Answer(perform=_changes),
    ),
    Route(
        "GET",
        f"{_FOLDER}/content",
        browsing.ContentAsked,
        browsing.Content,
        Verb.READ,
        "A piece of the content of a version, where it lies on this device",
        Answer(perform=_content),
    ),
    Route(
        "GET",
        f"{_FOLDER}/ignore",
        requests.FolderAsked,
        browsing.LeftOut,
        Verb.READ,
        "What the folder leaves out, by rules in gitignore's form",
        Answer(perform=lambda daemon, _, asked: daemon.left_out(asked.folder)),
    ),
    Route(
        "PUT",
        f"{_FOLDER}/ignore",
        browsing.LeaveOut,
        browsing.LeftOut,
        Verb.MANAGE,
        "Change what the folder leaves out",
        Answer(perform=lambda daemon, _, asked: daemon.leave_out(asked.folder, asked.shared, asked.local)),
    ),
    Route(
        "GET",
        "/v1/events",
        requests.Nothing,
        browsing.Event,
        Verb.READ,
        "A line whenever something is other than it was, without an end",
        Lines(perform=_events),
    ),
    Route(
        "GET",
        "/v1/traffic",
        browsing.TrafficAsked,
        browsing.TrafficDays,
        Verb.MANAGE,
        "Where content came from, by day",
        Answer(perform=_traffic),
    ),
    Route(
        "GET",
        "/v1/log",
        browsing.LogAsked,
        browsing.LogLines,
        Verb.MANAGE,
        "What the daemon logged last, without secrets",
        Answer(perform=_log),
    ),
    Route(
        "GET",
        "/v1/proxy",
        requests.Nothing,
        proxyview.ProxyView,
        Verb.MANAGE,
        "The proxy for External Apps: its apps, their routes and figures, and who is banned",
        Answer(perform=lambda daemon, _, __: daemon.proxy()),
    ),
    Route(
        "GET",
        "/v1/proxy/doctor",
        proxyview.ProxyDoctorAsked,
        model.Report,
        Verb.MANAGE,
        "Both ways to the External Apps looked at, each failure with its remedy; takes seconds",
        Answer(perform=lambda daemon, _, asked: daemon.proxy_doctor(asked.public, asked.control)),
    ),
    Route(
        "GET",
        "/v1/proxy/config",
        requests.Nothing,
        proxyview.ProxyConfiguration,
        Verb.MANAGE,
        "HAProxy's configuration as it was compiled, without what is secret",
        Answer(perform=lambda daemon, _, __: daemon.proxy_configuration()),
    ),
    Route(
        "GET",
        "/v1/proxy/containers/{container}/log",
        proxyview.ContainerAsked,
        proxyview.ContainerLog,
        Verb.MANAGE,
        "What a deployed app's container has said last",
        Answer(perform=_container_log),
    ),
    Route(
        "POST",
        "/v1/proxy/bans/{client}/lift",
        proxyview.ClientAsked,
        model.Done,
        Verb.MANAGE,
        "Forget the failures of a client",
        Answer(perform=lambda daemon, _, asked: daemon.lift(asked.client)),
    ),
    Route(
        "POST",
        "/v1/console",
        requests.Nothing,
        browsing.ConsoleLink,
        Verb.MANAGE,
        "Make a link that lets one browser into the console, once",
        Answer(perform=lambda daemon, _, __: daemon.console_link()),
    ),
    Route(
        "POST",
        "/v1/console/guests",
        browsing.GuestAsked,
        browsing.GuestPass,
        Verb.MANAGE,
        "Let a person of the Nextcloud into the console, for a while; for harpbridge",
        Answer(perform=lambda daemon, _, asked: daemon.console_guest(asked)),
    ),
)
