# SPDX-License-Identifier: AGPL-3.0-or-later
"""Makes protocol-vectors.json anew: ``python -m tests.golden.make_vectors``, only ever for a new version of the text.

Everything follows from fixed seeds, so that a second run makes the same file. Byte strings are written ``0x…``.
"""

import json
from dataclasses import asdict
from hashlib import sha3_256, shake_128
from pathlib import Path as FilePath
from typing import Any

import cbor2
from pyfastcdc.py.constants import GEAR, MASKS

from harp.identity import device, pairing
from harp.identity.device import DeviceKey
from harp.sync.engine import chain, details, manifest, merge
from harp.sync.engine.chunker import Chunker
from harp.sync.model import (
    NO_ENTRY,
    Batch,
    ChainId,
    ChunkId,
    ChunkRef,
    Entry,
    EntryId,
    FolderId,
    Hlc,
    Incarnation,
    Kind,
    Metadata,
    Path,
    Role,
    RootId,
    append_metadata,
)
from harp.sync.protocol import batchform, messages
from harp.sync.protocol.frames import Status, answer_frame
from harp.sync.protocol.messages import CloseCode, Message, Wanted, What
from harp.sync.transport import beaconform, knock
from harp.sync.transport.records import EXPORTED_BYTES, Sealer, directions
from harp.sync.transport.suites import AEADS

FILE = FilePath(__file__).with_name("protocol-vectors.json")

ALICE, BOB = (DeviceKey.from_seed(bytes([number]) * 32) for number in (0xA1, 0xB0))
INCARNATION = Incarnation(bytes(range(16)))
HLC = Hlc(1_795_407_300_000 << 16)
"""2026-11-23 04:15:00 UTC."""
SECRET = bytes(range(32))


def plain(value: Any) -> Any:
    """``value`` as JSON has it: byte strings as 0x and hexadecimal digits, arrays as lists."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value if isinstance(value, bool | str) else int(value)


def some_id(name: str) -> bytes:
    """32 bytes that look like an id."""
    return sha3_256(name.encode()).digest()


def stream(name: str, length: int) -> bytes:
    """SHAKE128 (FIPS 202) of the name: content that anyone can make again."""
    return shake_128(name.encode()).digest(length)


# --- history ----------------------------------------------------------------------------------------------------------


def device_ids() -> list[dict[str, Any]]:
    seeds = [bytes(32), SECRET, b"\xa1" * 32]
    keys = [DeviceKey.from_seed(seed) for seed in seeds]
    return [
        {"seed": seed, "device": key.device_id, "text": device.text(key.device_id)}
        for seed, key in zip(seeds, keys, strict=True)
    ]


def metadata(**fields: Any) -> Metadata:
    fixed = {"folder": FolderId(some_id("folder")), "author": ALICE.device_id, "incarnation": INCARNATION}
    return Metadata(**(fixed | fields))


def entries() -> list[dict[str, Any]]:
    """One chain, an entry of each kind."""
    drafts: list[dict[str, Any]] = [
        {"kind": Kind.DIRECTORY, "path": b"Photos", "hlc": HLC},
        {
            "kind": Kind.FILE,
            "path": "Photos/été.jpg".encode(),
            "size": 1 << 40,
            "mtime_ns": 1_795_407_300_123_456_789,
            "root": some_id("root"),
            "hlc": HLC + 1,
        },
        {"kind": Kind.FILE, "path": b"run.sh", "mtime_ns": -1, "executable": True, "hlc": 0},
        {"kind": Kind.FILE, "path": b"not \xff UTF-8\n", "size": 1, "root": some_id("chunk"), "hlc": 2**63 - 1},
        {"kind": Kind.SYMLINK, "path": b"link", "target": b"../elsewhere", "mtime_ns": -(2**63), "hlc": HLC},
        {
            "kind": Kind.TOMBSTONE,
            "path": b"run.sh",
            "hlc": HLC,
            "replaces": (EntryId(some_id("one")), EntryId(some_id("other"))),
        },
        {"kind": Kind.GRANT, "hlc": HLC, "detail": details.grant_detail(BOB.device_id, Role.READ_WRITE, "desk")},
        {
            "kind": Kind.CUT,
            "hlc": HLC,
            "detail": details.cut_detail(BOB.device_id, {INCARNATION: 300}, {ALICE.device_id: b"sealed"}),
        },
        {"kind": Kind.APPROVE, "hlc": HLC, "detail": details.approve_detail(details.HeldSet(some_id("held")))},
        {"kind": Kind.LEAVE, "hlc": HLC, "detail": details.leave_detail()},
    ]
    found, prev = [], NO_ENTRY
    for sequence, draft in enumerate(drafts, 1):
        meta = metadata(sequence=sequence, **draft)
        id = append_metadata(prev, meta)
        found.append({"metadata": asdict(meta), "prev": prev, "serialized": meta.serialize(), "id": id})
        prev = id
    return found


def detail_forms() -> list[dict[str, Any]]:
    branches = (EntryId(some_id("a")), EntryId(some_id("b")))
    fork = details.ForkBranches(ChainId(BOB.device_id, INCARNATION), branches)
    forms = {
        "grant": details.grant_detail(BOB.device_id, Role.READ_ONLY, "Bob's desk"),
        "genesis": details.genesis_detail(ALICE.device_id, "laptop", SECRET),
        "cut": details.cut_detail(BOB.device_id, {Incarnation(bytes(16)): 1, INCARNATION: 70_000}, {}),
        "approve a held set": details.approve_detail(details.HeldSet(details.held_digest(branches))),
        "approve a fork": details.approve_detail(fork),
        "leave": details.leave_detail(),
    }
    return [{"what": what, "fields": cbor2.loads(form), "cbor": form} for what, form in forms.items()]


def founding() -> Batch:
    return chain.genesis(ALICE, INCARNATION, SECRET, "laptop", HLC)


def following() -> Batch:
    """The second batch of the founder, which has merged three entries of another chain."""
    first = founding()
    drafts = [
        chain.Draft(kind=Kind.GRANT, hlc=HLC, detail=details.grant_detail(BOB.device_id, Role.READ_WRITE, "desk")),
        chain.Draft(kind=Kind.FILE, path=Path(b"a.txt"), size=3, root=RootId(some_id("abc")), hlc=Hlc(HLC + 1)),
    ]
    grown = chain.extended(first.entries[-1].id, first.folder, ALICE.device_id, INCARNATION, 2, drafts)
    return chain.sealed(ALICE, first.folder, INCARNATION, {ChainId(BOB.device_id, INCARNATION): 3}, grown)


def batches() -> list[dict[str, Any]]:
    return [
        {
            "what": what,
            "seed": ALICE.seed,
            "folder": batch.folder,
            "vector": [[*of, sequence] for of, sequence in sorted(batch.vector.items())],
            "entry_ids": [entry.id for entry in batch.entries],
            "signed": chain.signed_bytes(batch),
            "signature": batch.signature,
            "wire": batchform.encode_batch(batch),
        }
        for what, batch in (("a genesis", founding()), ("its successor", following()))
    ]


def refused_batches() -> list[dict[str, Any]]:
    """Each is the successor with one thing wrong; the signature is not looked at before the form."""
    value = cbor2.loads(batchform.encode_batch(following()), immutable=True)

    def with_field(number: int, field: object) -> bytes:
        return cbor2.dumps((*value[:number], field, *value[number + 1 :]))

    def with_row(number: int, field: object) -> bytes:
        row = value[7][1]
        return with_field(7, (value[7][0], (*row[:number], field, *row[number + 1 :])))

    wire = batchform.encode_batch(following())
    wrong = {
        "an unknown format version": with_field(0, 2),
        "a short folder id": with_field(1, value[1][:31]),
        "a first sequence of 0": with_field(4, 0),
        "a first sequence of 1 with a predecessor": with_field(4, 1),
        "a vector out of order": with_field(6, value[6][::-1]),
        "a vector that names a chain twice": with_field(6, value[6] + value[6][-1:]),
        "no entries": with_field(7, ()),
        "an unknown kind": with_row(0, 8),
        "a size that is true": with_row(3, True),
        "a negative size": with_row(3, -1),
        "an executable bit that is a number": with_row(5, 1),
        "a root of 31 bytes": with_row(6, bytes(31)),
        "a path that is text": with_row(1, "a.txt"),
        "a detail that is null": with_row(9, None),
        "a field too many": cbor2.dumps((*value, 0)),
        "a byte after it": wire + b"\0",
        "a byte missing": wire[:-1],
        "a length that is not the shortest": wire[:1] + b"\x18\x01" + wire[2:],
        "an array of indefinite length": b"\x9f" + wire[1:] + b"\xff",
        "a tag around it": b"\xd9\xd9\xf7" + wire,
    }
    return [{"why": why, "wire": data} for why, data in wrong.items()]


# --- content ----------------------------------------------------------------------------------------------------------


def cut(data: bytes) -> list[ChunkRef]:
    keys = manifest.keys(SECRET)
    with memoryview(data) as view:
        cuts = Chunker().cut(view, final=True)
        return [ChunkRef(manifest.chunk_id(view[at : at + length], keys), length) for at, length in cuts]


def chunker() -> dict[str, Any]:
    """The gear table as eight bytes a number, big-endian, and the two masks."""
    early, late = MASKS[19], MASKS[17]
    return {
        "gear": [number.to_bytes(8, "big") for number in GEAR],
        "mask_early": early.to_bytes(8, "big"),
        "mask_late": late.to_bytes(8, "big"),
    }


def chunkings() -> list[dict[str, Any]]:
    contents = {
        "SHAKE128 of 'harp 1'": stream("harp 1", 3 * 1024 * 1024 + 7),
        "SHAKE128 of 'harp 2'": stream("harp 2", 300_000),
        "zeros": bytes(2 * 1024 * 1024 + 5),
    }
    return [
        {"content": what, "size": len(data), "chunks": [ref.size for ref in cut(data)]}
        for what, data in contents.items()
    ]


def manifests() -> list[dict[str, Any]]:
    keys = manifest.keys(SECRET)
    found = []
    for name, length in (("empty", 0), ("small", 3), ("one least chunk", 65_536), ("a file", 1_000_000)):
        data = stream(name, length)
        builder = manifest.Builder(keys)
        segments = [builder.add(ref) for ref in cut(data)] if data else []
        finished = builder.finish()
        nodes = [segment.node for segment in (*segments, finished.last) if segment is not None]
        found.append(
            {
                "content": f"SHAKE128 of '{name}'",
                "size": length,
                "chunks": [list(ref) for ref in cut(data)] if data else [],
                "segment_nodes": nodes,
                "segment_ids": [manifest.node_id(node, keys) for node in nodes],
                "root_node": finished.root_node or b"",
                "root": finished.root,
            }
        )
    return found


def segment_ends() -> list[dict[str, Any]]:
    """How many chunks the segments of a long row of chunks have; the ids are SHA3-256 of 'chunk 0', 'chunk 1', …"""
    builder = manifest.Builder(manifest.keys(SECRET))
    refs = [ChunkRef(ChunkId(some_id(f"chunk {number}")), 100_000) for number in range(3000)]
    segments = [builder.add(ref) for ref in refs]
    finished = builder.finish()
    whole = [segment for segment in (*segments, finished.last) if segment is not None]
    return [
        {"chunks": 3000, "segments": [len(segment.refs) for segment in whole], "root": finished.root},
    ]


def conflict_names() -> list[dict[str, Any]]:
    loser = EntryId(bytes.fromhex("1a2b3c4d") + bytes(28))
    paths = [
        b"a.txt",
        b"dir.d/notes",
        b"archive.tar.gz",
        b".profile",
        b"dir/.hidden.txt",
        b".harpignore",
        b"trailing.",
        b"x" * 255,
        b"x" * 250 + b".jpeg",
        b"e." + b"y" * 60,
        "é".encode() * 127,
        b"\xff" * 254 + b".",
    ]
    rows = [(path, HLC) for path in paths] + [(b"a.txt", Hlc(0)), (b"a.txt", Hlc(2**63 - 1))]
    return [
        {"path": path, "hlc": hlc, "entry": loser, "name": merge.conflict_path(Path(path), _entry(path, hlc, loser))}
        for path, hlc in rows
    ]


def _entry(path: bytes, hlc: int, id: EntryId) -> Entry:
    return Entry(id, NO_ENTRY, metadata(sequence=1, kind=Kind.FILE, path=Path(path), hlc=Hlc(hlc)))


# --- link -------------------------------------------------------------------------------------------------------------


def said() -> list[Message]:
    """One of each message."""
    folder = FolderId(some_id("folder"))
    chunk, node = ChunkId(some_id("chunk")), some_id("node")
    vector = {ChainId(BOB.device_id, INCARNATION): 70_000, ChainId(ALICE.device_id, INCARNATION): 3}
    return [
        messages.Hello(1, 1, "harp 0.1.0", "Zoë’s laptop", 8783, 1_795_407_300_000),
        messages.State(folder, vector, settled=True, waiting=0, held=2),
        messages.Proof(folder, (b"a batch",)),
        messages.Get(folder, {}),
        messages.Batches(folder, (b"a batch", b"another")),
        messages.Content(folder, ((chunk, b"small content"),)),
        messages.Ask(folder, (Wanted(1, What.CHUNK, chunk), Wanted(2**32 - 1, What.NODE, node))),
        messages.Cancel((1, 2**32 - 1)),
        messages.Offer(folder, 7, 1_000_000, (ChunkRef(chunk, 65_536),)),
        messages.OfferEnd(folder, 7, RootId(node)),
        messages.OfferEnd(folder, 8, RootId(b"")),
        messages.Addresses(((BOB.device_id, ("192.0.2.1:8783", "[2001:db8::1]:8783")),)),
        messages.Ping(1),
        messages.Pong(2**63 - 1),
        messages.Close(CloseCode.TICKET_USED, "this ticket was used"),
        messages.Join(SECRET, "desk"),
        messages.Welcome(folder, "Photos", Role.READ_WRITE, SECRET, (some_id("epoch"),), (b"a batch",)),
        messages.Forked(folder, b"a batch", b"another"),
        messages.Site(SECRET[:16], 1_000_000, True),
        messages.Circle(folder, True, False, tuple(sorted((ALICE.device_id, BOB.device_id)))),
        messages.Availability(folder, (chunk,), (ChunkId(node),), ((BOB.device_id, (chunk,)),), (), (chunk,)),
    ]


def frames() -> list[dict[str, Any]]:
    return [
        {"message": type(one).__name__, "type": one.TYPE, "fields": one.fields(), "frame": messages.encode(one)}
        for one in said()
    ]


def answers() -> list[dict[str, Any]]:
    rows = [(1, Status.OK, b"content"), (2, Status.GONE, b""), (2**32 - 1, Status.ELSEWHERE, BOB.device_id)]
    return [
        {"request": number, "status": status, "payload": payload, "frame": answer_frame(number, status, payload)}
        for number, status, payload in rows
    ]


def refused_messages() -> list[dict[str, Any]]:
    folder = some_id("folder")
    wrong: dict[str, tuple[int, bytes]] = {
        "a type that is not known": (19, b"\x80"),
        "no CBOR at all": (13, b""),
        "a field missing": (13, cbor2.dumps(())),
        "a map": (13, cbor2.dumps({0: 1})),
        "a nonce that is true": (13, cbor2.dumps((True,))),
        "a nonce of 2^63": (13, cbor2.dumps((2**63,))),
        "a nonce that is not the shortest": (13, bytes.fromhex("811801")),
        "a null in a later field": (13, cbor2.dumps((1, None))),
        "bytes after the array": (13, bytes.fromhex("810100")),
        "a control character in a name": (1, cbor2.dumps((1, 1, "harp", "\x1b[2J", 0, 0))),
        "versions upside down": (1, cbor2.dumps((2, 1, "harp", "laptop", 0, 0))),
        "a folder id of 31 bytes": (4, cbor2.dumps((folder[:31], ()))),
        "a vector out of order": (
            4,
            cbor2.dumps((folder, ((b"\2" * 32, bytes(16), 1), (b"\1" * 32, bytes(16), 1)))),
        ),
        "a sequence of 0 in a vector": (4, cbor2.dumps((folder, ((bytes(32), bytes(16), 0),)))),
        "an ask for a kind of thing unknown": (7, cbor2.dumps((folder, ((1, 2, bytes(32)),)))),
        "an ask twice under one number": (7, cbor2.dumps((folder, ((1, 0, bytes(32)),) * 2))),
        "small content that is empty": (6, cbor2.dumps((folder, ((bytes(32), b""),)))),
        "an offered chunk of more than 1 MiB": (10, cbor2.dumps((folder, 1, 0, ((bytes(32), 1_048_577),)))),
    }
    return [{"why": why, "type": type, "body": body} for why, (type, body) in wrong.items()]


def knocks() -> dict[str, Any]:
    padding, nonce, slot = stream("padding", 128), bytes(range(16)), 29_923_455
    epoch, pairwise = some_id("epoch"), knock.pairwise_key(ALICE, BOB.device_id)
    return {
        "pairwise_key": {"seed": ALICE.seed, "other": BOB.device_id, "key": pairwise},
        "ticket_key": {"secret": SECRET, "key": pairing.knock_key(SECRET)},
        "place": [
            {"host": host, "port": 8783, "place": knock.place(host, 8783)}
            for host in ("192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1")
        ],
        "knock": {
            "keys": [epoch, pairwise],
            "listener": BOB.device_id,
            "nonce": nonce,
            "slot": slot,
            "padding": padding,
            "bytes": knock.make_knock(
                [epoch, pairwise], listener=BOB.device_id, nonce=nonce, slot=slot, padding=padding
            ),
        },
    }


def beacons() -> list[dict[str, Any]]:
    nonce, slot, padding = bytes(range(16)), 29_923_455, stream("padding", 256)
    secrets = [some_id("epoch"), some_id("another epoch")]
    return [
        {
            "kind": kind,
            "secrets": secrets,
            "port": 8783,
            "slot": slot,
            "nonce": nonce,
            "padding": padding,
            "bytes": beaconform.encode_beacon(kind, secrets, port=8783, slot=slot, nonce=nonce, padding=padding),
        }
        for kind in beaconform.BeaconKind
    ]


def record_streams() -> list[dict[str, Any]]:
    """What both ends seal, one record after the other, under what the exporter may give."""
    exported, said = stream("exported", EXPORTED_BYTES), [b"hello", stream("content", 300), b""]
    rows = []
    for suite, aead in AEADS.items():
        row: dict[str, Any] = {"suite": suite, "exported": exported, "plaintexts": said}
        for end, secret in zip(("client", "server"), directions(exported), strict=True):
            sealer, target = Sealer(aead, secret), memoryview(bytearray(1000))
            row[end] = [bytes(target[: sealer.seal_into(target, plaintext)]) for plaintext in said]
        rows.append(row)
    return rows


def vectors() -> dict[str, Any]:
    """All of them, as JSON has them; docs/protocol.md says what each is."""
    keys = manifest.keys(SECRET)
    made: dict[str, Any] = {
        "about": "Test vectors of docs/protocol.md, protocol version 1. Byte strings are 0x and hexadecimal digits.",
        "device_ids": device_ids(),
        "entries": entries(),
        "details": detail_forms(),
        "batches": batches(),
        "refused_batches": refused_batches(),
        "content_keys": {"secret": SECRET, "chunk_key": keys.chunk_key, "node_key": keys.node_key},
        "chunker": chunker(),
        "chunkings": chunkings(),
        "manifests": manifests(),
        "segment_ends": segment_ends(),
        "conflict_names": conflict_names(),
        "messages": frames(),
        "answers": answers(),
        "refused_messages": refused_messages(),
        "knocks": knocks(),
        "beacons": beacons(),
        "records": record_streams(),
    }
    return {name: plain(section) for name, section in made.items()}


def written() -> str:
    """What the file holds."""
    return json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
