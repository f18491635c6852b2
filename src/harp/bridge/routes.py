# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one table of ``/v1``: method, path, what is asked, what is answered, which verb it takes, and who performs it.

The server and the OpenAPI document are both made from :data:`ROUTES`.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from harp.base.errors import UsageError
from harp.bridge import accountroutes, browseroutes, model, requests
from harp.bridge.caller import Caller, Verb
from harp.bridge.daemonport import Daemon
from harp.bridge.naming import raw_path
from harp.bridge.route import Answer, Answering, Lines, Route, Streaming


async def _status(daemon: Daemon, caller: Caller, _: requests.Nothing) -> model.Status:
    status = await daemon.status()
    if caller.sees_everything:
        return status
    return model.Status(
        device=model.DeviceInfo(id=status.device.id, name=status.device.name, version=status.device.version),
        started_at=status.started_at,
        folders=_folders_seen(status.folders, caller),
        peers=_peers_seen(status.peers, caller),
    )


async def _device(daemon: Daemon, caller: Caller, _: requests.Nothing) -> model.DeviceInfo:
    device = await daemon.device()
    if caller.sees_everything:
        return device
    return model.DeviceInfo(id=device.id, name=device.name, version=device.version)


async def _peers(daemon: Daemon, caller: Caller, _: requests.Nothing) -> model.PeerList:
    return model.PeerList(peers=_peers_seen(await daemon.peers(), caller))


def _peers_seen(peers: list[model.PeerStatus], caller: Caller) -> list[model.PeerStatus]:
    """Who shares no folder with the caller does not exist for them, and nobody's addresses do."""
    if caller.sees_everything:
        return peers
    seen = []
    for peer in peers:
        folders = [folder for folder in peer.folders if caller.may(folder.id, Verb.READ)]
        if folders:
            seen.append(model.PeerStatus(id=peer.id, name=peer.name, is_connected=peer.is_connected, folders=folders))
    return seen


async def _folders(daemon: Daemon, caller: Caller, _: requests.Nothing) -> model.FolderList:
    return model.FolderList(folders=_folders_seen(await daemon.folders(), caller))


def _folders_seen(folders: list[model.FolderStatus], caller: Caller) -> list[model.FolderStatus]:
    """Where one lies on the server is for whoever runs it."""
    if caller.sees_everything:
        return folders
    return [
        msgspec.structs.replace(folder, location="", error=unplaced(folder.error, folders))
        for folder in folders
        if caller.may(folder.id, Verb.READ)
    ]


def unplaced(text: str, folders: Iterable[model.FolderStatus]) -> str:
    """What is said of folders, with their names in place of where they lie."""
    # A folder that lies where another one's name begins too: the longer place first.
    for folder in sorted(folders, key=lambda one: -len(one.location)):
        if folder.location:
            text = text.replace(folder.location, folder.name)
    return text


async def _share(daemon: Daemon, _: Caller, asked: requests.ShareAsked) -> model.FolderStatus:
    if asked.account is not None:
        place = None if asked.place is None else _absolute(asked.place.encode("utf-8", "surrogateescape"))
        return await daemon.share_account(asked.account, asked.path, asked.name, place, asked.merge)
    return await daemon.share(_local_path(asked), asked.name, asked.make)


async def _join(daemon: Daemon, _: Caller, asked: requests.JoinAsked) -> model.FolderStatus:
    return await daemon.join(asked.ticket, _local_path(asked), asked.merge)


async def _invite(daemon: Daemon, _: Caller, asked: requests.InviteAsked) -> model.Invitation:
    if not 1 <= asked.expires_s <= 366 * 86_400:
        raise UsageError("a ticket lives between a second and a year", hint="e.g. --expires 1h")
    return await daemon.invite(asked.folder, asked.read_only, asked.expires_s)


async def _history(daemon: Daemon, _: Caller, asked: requests.PathAsked) -> model.History:
    return model.History(versions=await daemon.history(asked.folder, raw_path(asked.path, asked.path_b64)))


async def _conflicts(daemon: Daemon, _: Caller, asked: requests.FolderAsked) -> model.ConflictList:
    return model.ConflictList(conflicts=await daemon.conflicts(asked.folder))


async def _held(daemon: Daemon, _: Caller, asked: requests.FolderAsked) -> model.HeldList:
    return model.HeldList(held=await daemon.held(asked.folder))


async def _settings(daemon: Daemon, _: Caller, __: requests.Nothing) -> model.SettingList:
    return model.SettingList(settings=await daemon.config_get())


async def _setting(daemon: Daemon, _: Caller, asked: requests.SettingAsked) -> model.Setting:
    settings = await daemon.config_get()
    for setting in settings:
        if setting.key == asked.key:
            return setting
    raise UsageError(f"there is no setting {asked.key!r}", hint="there are: " + ", ".join(s.key for s in settings))


async def _backup(daemon: Daemon, _: Caller, asked: requests.BackupAsked) -> model.BackupMade:
    return await daemon.backup(_local_path(asked))


def _local_path(asked: model.PathForm) -> Path:
    return _absolute(raw_path(asked.path, asked.path_b64))


def _absolute(raw: bytes) -> Path:
    if not raw.startswith(b"/") or b"\0" in raw:
        raise UsageError("the path must be absolute", hint="the daemon does not know in which folder you are")
    return Path(raw.decode("utf-8", "surrogateescape"))


def _one(perform: Answering) -> Answer:
    return Answer(perform=perform)


def _lines(perform: Streaming) -> Lines:
    return Lines(perform=perform)


_FOLDER = "/v1/folders/{folder}"

ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/device", requests.Nothing, model.DeviceInfo, Verb.READ, "This device", _one(_device)),
    Route("GET", "/v1/status", requests.Nothing, model.Status, Verb.READ, "Everything at one moment", _one(_status)),
    Route("GET", "/v1/peers", requests.Nothing, model.PeerList, Verb.READ, "The other devices", _one(_peers)),
    Route(
        "POST",
        "/v1/peers/{device}/forget",
        requests.DeviceAsked,
        model.Forgotten,
        Verb.MANAGE,
        "End another device's membership where this one is an owner, and the link to it",
        _one(lambda daemon, _, asked: daemon.forget(asked.device)),
    ),
    Route(
        "GET", "/v1/folders", requests.Nothing, model.FolderList, Verb.READ, "The folders shared here", _one(_folders)
    ),
    Route(
        "POST",
        "/v1/folders",
        requests.ShareAsked,
        model.FolderStatus,
        Verb.MANAGE,
        "Share an existing folder, or one of a Nextcloud account",
        _one(_share),
    ),
    Route(
        "POST",
        "/v1/join",
        requests.JoinAsked,
        model.FolderStatus,
        Verb.MANAGE,
        "Join a folder with a ticket",
        _one(_join),
    ),
    Route(
        "POST",
        f"{_FOLDER}/invitations",
        requests.InviteAsked,
        model.Invitation,
        Verb.MANAGE,
        "Make a ticket that one device can use once",
        _one(_invite),
    ),
    Route(
        "POST",
        f"{_FOLDER}/wait",
        requests.WaitAsked,
        model.Progress,
        Verb.CHANGE,
        "Scan, then wait until this device and its connected peers durably have the same",
        _lines(lambda daemon, _, asked: daemon.wait(asked.folder, asked.timeout_s)),
    ),
    Route(
        "POST",
        f"{_FOLDER}/rescan",
        requests.FolderAsked,
        model.Done,
        Verb.CHANGE,
        "Scan the whole folder now",
        _one(lambda daemon, _, asked: daemon.rescan(asked.folder)),
    ),
    Route(
        "POST",
        f"{_FOLDER}/verify",
        requests.FolderAsked,
        model.Progress,
        Verb.CHANGE,
        "Check every hash chain, every signature and every file's content again",
        _lines(lambda daemon, _, asked: daemon.verify(asked.folder)),
    ),
    Route(
        "GET",
        f"{_FOLDER}/history",
        requests.PathAsked,
        model.History,
        Verb.READ,
        "What happened to a path, newest first",
        _one(_history),
    ),
    Route(
        "GET",
        f"{_FOLDER}/why",
        requests.PathAsked,
        model.Why,
        Verb.READ,
        "Why a path is not here yet: what it waits for, from whom that comes",
        _one(lambda daemon, _, asked: daemon.why(asked.folder, _path(asked))),
    ),
    Route(
        "GET",
        f"{_FOLDER}/conflicts",
        requests.FolderAsked,
        model.ConflictList,
        Verb.READ,
        "The paths in conflict",
        _one(_conflicts),
    ),
    Route(
        "POST",
        f"{_FOLDER}/restore",
        requests.RestoreAsked,
        model.Done,
        Verb.CHANGE,
        "Bring an older or deleted version back",
        _one(lambda daemon, _, asked: daemon.restore(asked.folder, _path(asked), asked.entry)),
    ),
    Route(
        "POST",
        f"{_FOLDER}/resolve",
        requests.ResolveAsked,
        model.Done,
        Verb.CHANGE,
        "Settle a conflict: keep one version, or both",
        _one(lambda daemon, _, asked: daemon.resolve(asked.folder, _path(asked), asked.keep)),
    ),
    Route(
        "GET",
        f"{_FOLDER}/held",
        requests.FolderAsked,
        model.HeldList,
        Verb.READ,
        "What waits for a person",
        _one(_held),
    ),
    Route(
        "POST",
        f"{_FOLDER}/held/{{held}}/approve",
        requests.HeldAsked,
        model.Done,
        Verb.MANAGE,
        "Let exactly this held set happen",
        _one(lambda daemon, _, asked: daemon.approve(asked.folder, asked.held)),
    ),
    Route(
        "POST",
        f"{_FOLDER}/held/{{held}}/reject",
        requests.HeldAsked,
        model.Done,
        Verb.MANAGE,
        "Put things back as they were before this held set",
        _one(lambda daemon, _, asked: daemon.reject(asked.folder, asked.held)),
    ),
    Route(
        "POST",
        f"{_FOLDER}/pause",
        requests.FolderAsked,
        model.Done,
        Verb.MANAGE,
        "Stop syncing the folder until it is resumed",
        _one(lambda daemon, _, asked: daemon.pause(asked.folder)),
    ),
    Route(
        "POST",
        f"{_FOLDER}/resume",
        requests.FolderAsked,
        model.Done,
        Verb.MANAGE,
        "Go on after a pause",
        _one(lambda daemon, _, asked: daemon.resume(asked.folder)),
    ),
    Route(
        "POST",
        f"{_FOLDER}/leave",
        requests.LeaveAsked,
        model.Done,
        Verb.MANAGE,
        "End this device's membership, or everybody's; the files stay",
        _one(lambda daemon, _, asked: daemon.leave(asked.folder, asked.for_all)),
    ),
    Route("GET", "/v1/config", requests.Nothing, model.SettingList, Verb.MANAGE, "All settings", _one(_settings)),
    Route("GET", "/v1/config/{key}", requests.SettingAsked, model.Setting, Verb.MANAGE, "One setting", _one(_setting)),
    Route(
        "PUT",
        "/v1/config/{key}",
        requests.SettingChange,
        model.Setting,
        Verb.MANAGE,
        "Change a setting",
        _one(lambda daemon, _, asked: daemon.config_set(asked.key, asked.value)),
    ),
    Route(
        "GET",
        "/v1/doctor",
        requests.Nothing,
        model.Report,
        Verb.MANAGE,
        "The self-test, each failure with its remedy",
        _one(lambda daemon, _, __: daemon.doctor()),
    ),
    Route(
        "POST",
        "/v1/backup",
        requests.BackupAsked,
        model.BackupMade,
        Verb.MANAGE,
        "Write key and ledger to a file",
        _one(_backup),
    ),
    Route(
        "POST",
        "/v1/down",
        requests.Nothing,
        model.Done,
        Verb.MANAGE,
        "Stop the daemon cleanly",
        _one(lambda daemon, _, __: daemon.down()),
    ),
    *accountroutes.ROUTES,
    *browseroutes.ROUTES,
)


def _path(asked: requests.PathAsked) -> bytes:
    return raw_path(asked.path, asked.path_b64)
