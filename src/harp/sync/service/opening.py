# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opens a folder: a new one, one that is joined, or one this device has, with all that its loop needs."""

import contextlib
import logging
import secrets
import time
from pathlib import Path as FilePath

from harp.base.errors import FolderError, HarpError, RemoteProtocolError, UsageError
from harp.identity.device import DeviceKey
from harp.sync.engine import chain, manifest, merge
from harp.sync.folder import probe
from harp.sync.folder.apply import Disk
from harp.sync.folder.fs import MARKER_ID_BYTES, Marker, Root
from harp.sync.folder.staging import Staging
from harp.sync.folder.trash import Trash
from harp.sync.model import INCARNATION_BYTES, Batch, ChainId, FolderKeys, Incarnation
from harp.sync.protocol import batchform
from harp.sync.protocol.linkmessages import SECRET_BYTES, Welcome
from harp.sync.service.replica import Replica, membership_of
from harp.sync.service.rules import LiveRules
from harp.sync.service.witness import Witness
from harp.sync.store.database import damaged
from harp.sync.store.ledger import Ledger
from harp.sync.store.places import Places
from harp.sync.store.registry import SharedFolder

_log = logging.getLogger(__name__)


def ledger_path(home: FilePath, shared: SharedFolder) -> FilePath:
    """Where a folder's ledger lies."""
    return home / "folders" / shared.ledger


def marker_at(path: FilePath) -> Marker | None:
    """The marker of the folder at ``path``, if it has one. Raises as :meth:`Root.open` does."""
    return Root.open(str(path)).read_marker()


def found(home: FilePath, key: DeviceKey, path: FilePath, name: str, device_name: str = "") -> SharedFolder:
    """Makes the folder at ``path`` a shared one of which this device is the owner: its ledger and its marker.

    ``device_name`` is what the members will call this device; without one, it is called as the folder is.
    Raises :class:`UsageError` where ``path`` is no folder, or belongs to a shared folder already.
    """
    root = Root.open(str(path))
    _demand_unmarked(root, path)
    incarnation = Incarnation(secrets.token_bytes(INCARNATION_BYTES))
    hlc = merge.next_hlc((), now_ms=time.time_ns() // 1_000_000)
    batch = chain.genesis(key, incarnation, secrets.token_bytes(32), device_name or name, hlc)
    keys = FolderKeys(secrets.token_bytes(SECRET_BYTES), (secrets.token_bytes(SECRET_BYTES),))
    shared = SharedFolder(batch.folder, name, path, f"{batch.folder.hex()[:32]}.db")
    _write_ledger(home, shared, incarnation, keys, [batch], is_new=False)
    root.write_marker(Marker(batch.folder, secrets.token_bytes(MARKER_ID_BYTES)))
    return shared


def enter(home: FilePath, path: FilePath, name: str, welcome: Welcome) -> SharedFolder:
    """Makes the folder at ``path`` this device's copy of the one it was welcomed to, which it has not in its registry.

    Raises as :func:`found` does.
    """
    root = Root.open(str(path))
    marker = root.read_marker()
    if marker is None or marker.folder != welcome.folder:
        _demand_unmarked(root, path)
    shared = SharedFolder(welcome.folder, name, path, f"{welcome.folder.hex()[:32]}.db")
    keys = FolderKeys(welcome.content, welcome.epochs)
    proof = [batchform.decode_batch(data) for data in welcome.proof]
    for batch in proof:
        chain.check(batch)
    _write_ledger(home, shared, Incarnation(secrets.token_bytes(INCARNATION_BYTES)), keys, proof, is_new=True)
    root.write_marker(Marker(welcome.folder, secrets.token_bytes(MARKER_ID_BYTES)))
    return shared


def opened(home: FilePath, key: DeviceKey, shared: SharedFolder) -> Replica:
    """The parts of a folder this device has.

    Raises :class:`FolderError` where its place or its marker is missing, :class:`CorruptStore` for a bad ledger.
    """
    ledger = Ledger(ledger_path(home, shared))
    try:
        root = Root.open(str(shared.path))
        marker = root.read_marker()
        if marker is None or marker.folder != ledger.folder:
            raise FolderError(
                f"{shared.path} is not the folder {shared.name}: its marker is missing",
                hint="mount its disk; if it was moved, `harp share` its new place",
            )
        known = ledger.fact("marker")
        if known is not None and known != marker.id:
            raise FolderError(
                f"{shared.path} is a copy of the folder {shared.name}, not the one this device knows",
                hint="bring the original back; to begin anew with this one, `harp leave` and join with --merge",
            )
        return _replica(key, shared, ledger, root, marker)
    except (TypeError, ValueError, LookupError, RemoteProtocolError) as error:
        # Nobody else's words are read here: what cannot be read is damage that SQLite does not see.
        ledger.close()
        raise damaged(ledger.db.path, f"what it holds makes no sense ({type(error).__name__})") from error
    except BaseException:
        ledger.close()
        raise


def _replica(key: DeviceKey, shared: SharedFolder, ledger: Ledger, root: Root, marker: Marker) -> Replica:
    was_clean = ledger.begin()
    if not was_clean:
        _log.info("folder %s was not closed cleanly: what was being written is looked at first", shared.name)
    witness = Witness(root)
    own = ledger.chain(ChainId(key.device_id, ledger.incarnation))
    if witness.contradicts(ledger.incarnation, own.merged):
        _log.warning("folder %s: its ledger is older than what this device said last: it goes on anew", shared.name)
        ledger.renew(Incarnation(secrets.token_bytes(INCARNATION_BYTES)))
    staging, trash = Staging(root), Trash(root)
    for name in staging.names():
        if not name.startswith("file-"):
            staging.discard(name)
    capabilities = probe.probe(root)
    root.folds = capabilities.folds
    secrets_ = ledger.keys()
    with ledger.db.transaction():
        ledger.set_fact("marker", marker.id)
    return Replica(
        key=key,
        name=shared.name,
        incarnation=ledger.incarnation,
        ledger=ledger,
        places=Places(ledger.db),
        root=root,
        disk=Disk(root, staging, trash),
        staging=staging,
        trash=trash,
        marker=marker,
        witness=witness,
        capabilities=capabilities,
        keys=manifest.keys(secrets_.content),
        secrets=secrets_,
        ignore=LiveRules(root),
        membership=membership_of(ledger),
    )


def _write_ledger(
    home: FilePath,
    shared: SharedFolder,
    incarnation: Incarnation,
    keys: FolderKeys,
    batches: list[Batch],
    *,
    is_new: bool,
) -> None:
    """A ledger with the secrets and the batches that say who is a member; the rest of history comes from peers."""
    path = ledger_path(home, shared)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    _set_aside(path)
    ledger = Ledger(path)
    try:
        with ledger.db.transaction():
            ledger.set_fact("folder", shared.id)
            ledger.set_fact("name", shared.name.encode())
            ledger.set_fact("incarnation", incarnation)
            ledger.set_keys(keys)
            for batch in batches:
                _keep(ledger, batch)
            if is_new:
                ledger.set_fact("is_new", b"1")
    finally:
        ledger.close()


def _set_aside(path: FilePath) -> None:
    """A ledger of no folder that this device has: a join or a leave was cut, or the registry is lost. It is kept."""
    for suffix in ("-shm", "-wal", ""):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(path.with_name(f"{path.name}.old{suffix}"))


def _keep(ledger: Ledger, batch: Batch) -> None:
    """The genesis is merged at once; what else proves a membership waits for its causes, and is believed meanwhile."""
    batch_no = ledger.add_batch(batch)
    if chain.is_genesis(batch.entries[0]):
        merge_no = ledger.mark_merged(batch_no, batch)
        ledger.add_governance(batch.entries[0].id, merge_no, batch_no)


def _demand_unmarked(root: Root, path: FilePath) -> None:
    if root.read_marker() is not None:
        raise UsageError(
            f"{path} is a shared folder of another device or home already",
            hint="choose another place, or remove its .harp folder if it is shared no more",
        )


def demand_apart(path: FilePath, others: list[SharedFolder]) -> None:
    """Raises :class:`UsageError` where ``path`` lies in a shared folder, also of another home, or one of ours in it."""
    above = next(filter(_is_marked, path.resolve().parents), None)
    if above is not None and all(above != other.path for other in others):
        raise UsageError(
            f"{path} lies in {above}, which another home or device shares",
            hint="choose a place outside, or remove the .harp folder there if it is shared no more",
        )
    for other in others:
        if path == other.path:
            raise UsageError(f"{path} is shared already, as {other.name}", hint="`harp folders` lists what is shared")
        if path.is_relative_to(other.path) or other.path.is_relative_to(path):
            raise UsageError(
                f"{path} and the shared folder {other.name} ({other.path}) lie one in the other",
                hint="share one of them only",
            )


def _is_marked(path: FilePath) -> bool:
    with contextlib.suppress(HarpError):
        return marker_at(path) is not None
    return False


def abandon(home: FilePath, shared: SharedFolder) -> None:
    """Removes a folder's ledger and its marker; the files, and the trash with older versions, stay."""
    ledger = ledger_path(home, shared)
    for suffix in ("", "-wal", "-shm"):
        ledger.with_name(ledger.name + suffix).unlink(missing_ok=True)
    with contextlib.suppress(HarpError):
        Root.open(str(shared.path)).remove_marker()
