# SPDX-License-Identifier: AGPL-3.0-or-later
"""The published vectors, replayed from the file alone, as a second implementer would."""

import hashlib
import json
from typing import Any

import pytest

from harp.base.errors import RemoteProtocolError
from harp.identity import device, pairing
from harp.identity.device import DeviceKey
from harp.sync.engine import chain, details, manifest, merge
from harp.sync.engine.chunker import Chunker
from harp.sync.model import (
    NO_ENTRY,
    ChainId,
    ChunkId,
    ChunkRef,
    Entry,
    FolderId,
    Hlc,
    Kind,
    Metadata,
    Path,
    append_metadata,
)
from harp.sync.protocol import batchform, messages
from harp.sync.protocol.frames import ANSWER_TYPE, FrameSplitter, Status, answer_frame, decode_answer
from harp.sync.protocol.messages import MESSAGES
from harp.sync.transport import beaconform, knock
from harp.sync.transport.freshness import SLOT_SECONDS, ReplayMemory
from harp.sync.transport.records import MAX_PLAINTEXT, Opener
from harp.sync.transport.suites import AEADS
from tests.golden import make_vectors


def read(value: Any) -> Any:
    """The inverse of how the file writes byte strings and arrays."""
    if isinstance(value, str) and value.startswith("0x"):
        return bytes.fromhex(value[2:])
    if isinstance(value, list):
        return tuple(read(part) for part in value)
    if isinstance(value, dict):
        return {name: read(part) for name, part in value.items()}
    return value


VECTORS: dict[str, Any] = read(json.loads(make_vectors.FILE.read_text(encoding="utf-8")))


def each(section: str, name: str) -> list[Any]:
    return [pytest.param(row, id=str(row[name])[:60]) for row in VECTORS[section]]


def test_the_file_is_what_its_maker_makes() -> None:
    assert make_vectors.FILE.read_text(encoding="utf-8") == make_vectors.written()


def test_every_kind_of_entry_and_of_message_has_a_vector() -> None:
    assert {row["metadata"]["kind"] for row in VECTORS["entries"]} == set(Kind)
    assert {row["type"] for row in VECTORS["messages"]} == set(MESSAGES)


@pytest.mark.parametrize("row", each("device_ids", "text"))
def test_a_device_id(row: dict[str, Any]) -> None:
    assert DeviceKey.from_seed(row["seed"]).device_id == row["device"]
    assert device.text(row["device"]) == row["text"]
    assert device.parse(row["text"].lower()) == row["device"]


def test_a_chain_of_entries() -> None:
    prev = NO_ENTRY
    for row in VECTORS["entries"]:
        meta = Metadata(**row["metadata"] | {"kind": Kind(row["metadata"]["kind"])})
        assert row["prev"] == prev
        assert meta.serialize() == row["serialized"]
        assert hashlib.sha3_256(row["serialized"] + prev).digest() == row["id"]
        prev = append_metadata(prev, meta)
        assert prev == row["id"]


@pytest.mark.parametrize("row", each("details", "what"))
def test_a_detail(row: dict[str, Any]) -> None:
    parse: dict[str, Any] = {"approve": details.parse_approve, "cut": details.parse_cut, "leave": details.parse_leave}
    read_back = parse.get(row["what"].split()[0], details.parse_grant)(row["cbor"])
    match read_back:
        case details.Grant(of, role, name, nonce):
            assert row["fields"] == (of, role, name, nonce)[: 4 if nonce else 3]
        case details.Cut(of, last, sealed):
            assert row["fields"] == (of, tuple(last.items()), tuple(sealed.items()))
        case details.HeldSet(digest):
            assert row["fields"] == (0, digest)
        case details.ForkBranches(of, branches):
            assert row["fields"] == (1, *of, *branches)
        case None:
            assert row["fields"] == ()
        case _:
            raise AssertionError(read_back)


@pytest.mark.parametrize("row", each("batches", "what"))
def test_a_batch(row: dict[str, Any]) -> None:
    batch = batchform.decode_batch(row["wire"])
    assert batchform.encode_batch(batch) == row["wire"]
    assert batch.folder == row["folder"]
    assert tuple(entry.id for entry in batch.entries) == row["entry_ids"]
    assert batch.vector == {ChainId(*of): sequence for *of, sequence in row["vector"]}
    assert chain.signed_bytes(batch) == row["signed"]
    assert DeviceKey.from_seed(row["seed"]).sign(row["signed"]) == row["signature"] == batch.signature
    chain.check(batch)


def test_the_first_batch_founds_the_folder_of_both() -> None:
    first, second = (batchform.decode_batch(row["wire"]) for row in VECTORS["batches"])
    assert chain.is_genesis(first.entries[0])
    assert first.entries[0].id == second.entries[0].prev
    assert first.folder == second.folder == FolderId(first.entries[0].id)


@pytest.mark.parametrize("row", each("refused_batches", "why"))
def test_a_batch_that_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError):
        batchform.decode_batch(row["wire"])


def content(what: str, size: int) -> bytes:
    if what == "zeros":
        return bytes(size)
    return hashlib.shake_128(what.removeprefix("SHAKE128 of '").removesuffix("'").encode()).digest(size)


@pytest.mark.parametrize("row", each("chunkings", "content"))
def test_where_content_is_cut(row: dict[str, Any]) -> None:
    cuts = Chunker().cut(memoryview(content(row["content"], row["size"])), final=True)
    assert tuple(length for _, length in cuts) == row["chunks"]


def first_cut(data: bytes) -> int:
    """Section 9.2 of docs/protocol.md, word by word."""
    gear = [int.from_bytes(number, "big") for number in VECTORS["chunker"]["gear"]]
    early, late = (int.from_bytes(VECTORS["chunker"][name], "big") for name in ("mask_early", "mask_late"))
    length = min(len(data), 1_048_576)
    if length <= 65_536:
        return length
    print_of_bytes = 0
    for at in range(65_536, length // 2 * 2):
        print_of_bytes = (2 * print_of_bytes + gear[data[at]]) % 2**64
        if print_of_bytes & (early if at < min(262_144, length) // 2 * 2 else late) == 0:
            return at
    return length


@pytest.mark.parametrize("name", ["a file", "one least chunk", "small"])
def test_the_text_says_where_to_cut(name: str) -> None:
    (row,) = (row for row in VECTORS["manifests"] if row["content"] == f"SHAKE128 of '{name}'")
    data, offset = content(row["content"], row["size"]), 0
    for _, size in row["chunks"]:
        assert first_cut(data[offset:]) == size
        offset += size


def test_the_keys_of_a_folder() -> None:
    keys = manifest.keys(VECTORS["content_keys"]["secret"])
    assert (keys.chunk_key, keys.node_key) == (
        VECTORS["content_keys"]["chunk_key"],
        VECTORS["content_keys"]["node_key"],
    )


@pytest.mark.parametrize("row", each("manifests", "content"))
def test_a_manifest(row: dict[str, Any]) -> None:
    keys, data, offset = manifest.keys(VECTORS["content_keys"]["secret"]), content(row["content"], row["size"]), 0
    for id, size in row["chunks"]:
        assert manifest.chunk_id(data[offset : offset + size], keys) == id
        offset += size
    assert offset == row["size"]
    assert tuple(manifest.node_id(node, keys) for node in row["segment_nodes"]) == row["segment_ids"]
    if row["root_node"]:
        size, segments = manifest.parse_root(row["root_node"])
        assert size == row["size"]
        assert tuple(segment.id for segment in segments) == row["segment_ids"]
        listed = [manifest.parse_segment(*pair) for pair in zip(row["segment_nodes"], segments, strict=True)]
        assert tuple(tuple(ref) for refs in listed for ref in refs) == row["chunks"]
        assert row["root"] == manifest.node_id(row["root_node"], keys)
    else:
        assert row["root"] == (row["chunks"][0][0] if row["size"] else b"")


def test_where_segments_end() -> None:
    (row,) = VECTORS["segment_ends"]
    builder = manifest.Builder(manifest.keys(VECTORS["content_keys"]["secret"]))
    lengths = []
    for number in range(row["chunks"]):
        chunk = ChunkId(hashlib.sha3_256(f"chunk {number}".encode()).digest())
        segment = builder.add(ChunkRef(chunk, 100_000))
        lengths += [len(segment.refs)] if segment else []
    finished = builder.finish()
    assert (*lengths, *([len(finished.last.refs)] if finished.last else [])) == row["segments"]
    assert finished.root == row["root"]


@pytest.mark.parametrize("row", each("conflict_names", "name"))
def test_the_name_of_a_conflict_copy(row: dict[str, Any]) -> None:
    made = VECTORS["entries"][0]["metadata"] | {"kind": Kind.FILE, "path": Path(row["path"]), "hlc": Hlc(row["hlc"])}
    loser = Entry(row["entry"], NO_ENTRY, Metadata(**made))
    assert merge.conflict_path(Path(row["path"]), loser) == row["name"]
    assert len(row["name"].rpartition(b"/")[2]) <= 255


@pytest.mark.parametrize("row", each("messages", "message"))
def test_a_message(row: dict[str, Any]) -> None:
    ((type, body),) = FrameSplitter().feed(row["frame"])
    message = messages.decode(type, body)
    assert message is not None
    assert (type, message.__class__.__name__) == (row["type"], row["message"])
    assert message == MESSAGES[type].of(*row["fields"])
    assert messages.encode(message) == row["frame"]


@pytest.mark.parametrize("row", each("answers", "status"))
def test_an_answer(row: dict[str, Any]) -> None:
    ((type, body),) = FrameSplitter().feed(row["frame"])
    assert (type, decode_answer(body)) == (ANSWER_TYPE, (row["request"], row["status"], row["payload"]))
    assert answer_frame(row["request"], Status(row["status"]), row["payload"]) == row["frame"]


@pytest.mark.parametrize("row", each("refused_messages", "why"))
def test_a_message_that_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError):
        messages.decode(row["type"], row["body"])


def test_a_knock() -> None:
    section, row = VECTORS["knocks"], VECTORS["knocks"]["knock"]
    pair = section["pairwise_key"]
    assert knock.pairwise_key(DeviceKey.from_seed(pair["seed"]), pair["other"]) == pair["key"]
    assert pairing.knock_key(section["ticket_key"]["secret"]) == section["ticket_key"]["key"]
    made = {name: row[name] for name in ("listener", "nonce", "slot", "padding")}
    assert knock.make_knock(row["keys"], **made) == row["bytes"]
    for key in row["keys"]:
        found = knock.matching(
            row["bytes"],
            [(bytes(32), "another"), (key, "ours")],
            listeners=[row["listener"]],
            now=row["slot"] * SLOT_SECONDS,
            seen=ReplayMemory(),
        )
        assert found == "ours"


@pytest.mark.parametrize("row", VECTORS["knocks"]["place"], ids=lambda row: row["host"])
def test_the_name_of_a_place(row: dict[str, Any]) -> None:
    assert knock.place(row["host"], row["port"]) == row["place"]


@pytest.mark.parametrize("row", each("beacons", "kind"))
def test_a_beacon(row: dict[str, Any]) -> None:
    made = {name: row[name] for name in ("port", "slot", "nonce", "padding")}
    kind = beaconform.BeaconKind(row["kind"])
    assert beaconform.encode_beacon(kind, row["secrets"], **made) == row["bytes"]
    datagram = beaconform.decode_beacon(row["bytes"])
    assert datagram is not None
    assert (datagram.kind, datagram.port, datagram.slot, datagram.nonce) == (kind, 8783, row["slot"], row["nonce"])
    assert all(datagram.is_under(secret) for secret in row["secrets"])
    assert not datagram.is_under(bytes(32))


@pytest.mark.parametrize("row", each("records", "suite"))
def test_records_open_from_the_text_alone(row: dict[str, Any]) -> None:
    """By the arithmetic of section 12.1, without any of ours; and ours opens them too."""
    aead, exported = AEADS[row["suite"]], row["exported"]
    for end, secret in (("client", exported[:44]), ("server", exported[44:])):
        cipher, first = aead(secret[:32]), int.from_bytes(secret[32:], "big")
        for number, (record, plaintext) in enumerate(zip(row[end], row["plaintexts"], strict=True)):
            nonce = (first ^ number).to_bytes(12, "big")
            assert record == record[:4] + cipher.encrypt(nonce, plaintext, record[:4])
            assert int.from_bytes(record[:4], "big") == len(plaintext) + 16
        opener, buffer = Opener(aead, secret), memoryview(bytearray(MAX_PLAINTEXT))
        whole = b"".join(row[end])
        opener.space()[: len(whole)] = whole
        opener.filled(len(whole))
        assert buffer[: opener.open_into(buffer)] == b"".join(row["plaintexts"])
        assert opener.has_ended
