# SPDX-License-Identifier: AGPL-3.0-or-later
"""Messages: what each looks like on the wire, and what none may say."""

from collections.abc import Callable
from typing import Any

import cbor2
import pytest

from harp.base.errors import LocalProtocolError, RemoteProtocolError
from harp.identity.device import DeviceId
from harp.sync.model import MAX_CHUNK, MIN_CHUNK, ChainId, ChunkId, ChunkRef, FolderId, Incarnation, Role, RootId
from harp.sync.protocol import foldermessages, linkmessages, messages
from harp.sync.protocol.batchform import MAX_BATCH_BYTES, MAX_WRITTEN_BYTES
from harp.sync.protocol.foldermessages import MAX_BATCHES
from harp.sync.protocol.frames import MAX_FRAME
from harp.sync.protocol.messages import MESSAGES, CloseCode, Message, Wanted, What

FOLDER = FolderId(bytes([1] * 32))
ID = bytes([2] * 32)
CHAIN = ChainId(DeviceId(bytes([3] * 32)), Incarnation(bytes([4] * 16)))


def test_a_state_on_the_wire() -> None:
    state = messages.State(FOLDER, {CHAIN: 7}, settled=True, waiting=2, held=0, tips=(b"entry id",))
    vector = "81" + "83" + "5820" + "03" * 32 + "50" + "04" * 16 + "07"
    tips = "81" + "48" + b"entry id".hex()
    body = bytes.fromhex("86" + "5820" + "01" * 32 + vector + "f50200" + tips)
    assert messages.encode(state) == (len(body) + 1).to_bytes(4, "big") + b"\x02" + body
    assert messages.decode(2, body) == state


def test_a_state_says_where_each_chain_ends_or_says_nothing_of_it() -> None:
    state = messages.State(FOLDER, {CHAIN: 7}, True, 0, 0, (b"entry id",))
    assert state.tip_of(CHAIN) == b"entry id"
    assert messages.State(FOLDER, {CHAIN: 7}, True, 0, 0).tip_of(CHAIN) is None
    with pytest.raises(LocalProtocolError, match="tips"):
        messages.State(FOLDER, {CHAIN: 7}, True, 0, 0, (b"entry id", b"entry id"))
    with pytest.raises(LocalProtocolError, match="tip"):
        messages.State(FOLDER, {CHAIN: 7}, True, 0, 0, (b"short",))


def test_every_type_has_its_number_and_the_answer_has_none_here() -> None:
    names = {number: kind.__name__ for number, kind in MESSAGES.items()}
    assert names == {
        1: "Hello",
        2: "State",
        3: "Proof",
        4: "Get",
        5: "Batches",
        6: "Content",
        7: "Ask",
        9: "Cancel",
        10: "Offer",
        11: "OfferEnd",
        12: "Addresses",
        13: "Ping",
        14: "Pong",
        15: "Close",
        16: "Join",
        17: "Welcome",
        18: "Forked",
        128: "Site",
        129: "Circle",
        130: "Availability",
    }


def test_types_from_128_on_are_ignored_and_unknown_ones_below_are_not() -> None:
    assert messages.decode(131, b"whatever") is None
    for type in (0, 8, 19, 127):
        with pytest.raises(RemoteProtocolError, match=f"type {type}"):
            messages.decode(type, b"\x80")


def test_further_fields_are_left_out_but_have_to_be_deterministic() -> None:
    assert messages.decode(13, cbor2.dumps((5, "later", (b"x",)))) == messages.Ping(5)
    for body in (cbor2.dumps((5, None)), cbor2.dumps((5, {})), bytes.fromhex("82051801"), b""):
        with pytest.raises(RemoteProtocolError):
            messages.decode(13, body)


def hello(**changes: Any) -> messages.Hello:
    fields: dict[str, Any] = {
        "min_version": 1,
        "max_version": 2,
        "software": "harp 0.1",
        "device_name": "laptop",
        "listen_port": 8783,
        "now_ms": 5,
    }
    return messages.Hello(**(fields | changes))


def welcome(**changes: Any) -> messages.Welcome:
    fields: dict[str, Any] = {
        "folder": FOLDER,
        "name": "n",
        "role": Role.OWNER,
        "content": ID,
        "epochs": (ID,),
        "proof": (b"b",),
    }
    return messages.Welcome(**(fields | changes))


WRONG: dict[str, Callable[[], Message]] = {
    "a hello of no version": lambda: hello(min_version=0),
    "a hello of versions upside down": lambda: hello(min_version=3),
    "a hello of a version that is a truth": lambda: hello(min_version=True),
    "a hello from a port that is none": lambda: hello(listen_port=65536),
    "a hello with an escape in the name": lambda: hello(device_name="\x1b[2J"),
    "a hello before 1970": lambda: hello(now_ms=-1),
    "a state of a short folder id": lambda: messages.State(FolderId(b"x"), {}, True, 0, 0),
    "a state with a sequence 0": lambda: messages.State(FOLDER, {CHAIN: 0}, True, 0, 0),
    "a state settled by number": lambda: messages.State(FOLDER, {}, 1, 0, 0),  # type: ignore[arg-type]
    "a state with fewer than nothing held": lambda: messages.State(FOLDER, {}, True, 0, -1),
    "batches over the limit together": lambda: messages.Batches(FOLDER, (bytes(MAX_BATCH_BYTES),) * 2),
    "more batches than may be": lambda: messages.Batches(FOLDER, (b"x",) * 4097),
    "a batch that is empty": lambda: messages.Proof(FOLDER, (b"",)),
    "content that is no small one": lambda: messages.Content(FOLDER, ((ChunkId(ID), bytes(MIN_CHUNK + 1)),)),
    "content that is none": lambda: messages.Content(FOLDER, ((ChunkId(ID), b""),)),
    "content over the limit together": lambda: messages.Content(FOLDER, ((ChunkId(ID), bytes(MIN_CHUNK)),) * 17),
    "an ask twice under one number": lambda: messages.Ask(FOLDER, (Wanted(1, What.NODE, ID),) * 2),
    "an ask for a short id": lambda: messages.Ask(FOLDER, (Wanted(1, What.NODE, ID[:31]),)),
    "an ask under a great number": lambda: messages.Ask(FOLDER, (Wanted(2**32, What.NODE, ID),)),
    "an ask for a number of what": lambda: messages.Ask(FOLDER, (Wanted(1, 0, ID),)),  # type: ignore[arg-type]
    "more asks than may be": lambda: messages.Ask(FOLDER, tuple(Wanted(n, What.NODE, ID) for n in range(4097))),
    "more cancels than asks": lambda: messages.Cancel(tuple(range(4097))),
    "an offered chunk of no bytes": lambda: messages.Offer(FOLDER, 1, 0, (ChunkRef(ChunkId(ID), 0),)),
    "an offered chunk too long": lambda: messages.Offer(FOLDER, 1, 0, (ChunkRef(ChunkId(ID), MAX_CHUNK + 1),)),
    "the end of an offer with half a root": lambda: messages.OfferEnd(FOLDER, 1, RootId(ID[:16])),
    "an address with a newline": lambda: messages.Addresses(((CHAIN.author, ("host:1\n",)),)),
    "addresses of a short device": lambda: messages.Addresses(((DeviceId(b"x"), ()),)),
    "more addresses than sixteen": lambda: messages.Addresses(((CHAIN.author, ("h:1",) * 17),)),
    "a ping of a negative nonce": lambda: messages.Ping(-1),
    "a pong of a great nonce": lambda: messages.Pong(2**63),
    "a close of a great code": lambda: messages.Close(256),
    "a close in many words": lambda: messages.Close(0, "x" * 256),
    "a join with a short secret": lambda: messages.Join(b"", "laptop"),
    "a welcome in no role": lambda: welcome(role=3),
    "a welcome with a short secret": lambda: welcome(content=b""),
    "a welcome with a short epoch": lambda: welcome(epochs=(b"",)),
    "a welcome with too many epochs": lambda: welcome(epochs=(ID,) * 65),
    "a proof of a fork that lacks one": lambda: messages.Forked(FOLDER, b"x", b""),
    "a site with a short token": lambda: messages.Site(ID[:15], 0, False),
    "a site with less than no limit": lambda: messages.Site(ID[:16], -1, False),
    "a site that sends by number": lambda: messages.Site(ID[:16], 0, 1),  # type: ignore[arg-type]
    "a circle that names a neighbour twice": lambda: messages.Circle(FOLDER, True, False, (CHAIN.author,) * 2),
    "a circle of a short device": lambda: messages.Circle(FOLDER, True, False, (DeviceId(b"x"),)),
    "an availability of a short id": lambda: messages.Availability(FOLDER, held=(ChunkId(b"x"),)),
    "an availability of a short source": lambda: messages.Availability(FOLDER, fetching=((DeviceId(b"x"), ()),)),
    "an availability of more ids than may be": lambda: messages.Availability(
        FOLDER, missing=(ChunkId(ID),) * 16_384, dropped=(ChunkId(ID),)
    ),
}


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
def test_what_may_not_be_said_cannot_even_be_built(make: Callable[[], Message]) -> None:
    with pytest.raises(LocalProtocolError):
        make()


@pytest.mark.parametrize(
    ("type", "fields"),
    [
        (1, (1, 1, b"harp", "laptop", 1, 1)),
        (2, (FOLDER, (), True, 0, 0.0)),
        (2, (FOLDER, ((CHAIN.author, 1),), True, 0, 0)),
        (5, (FOLDER, b"batch")),
        (5, (FOLDER, ("batch",))),
        (6, (FOLDER, ((ID,),))),
        (7, (FOLDER, ((1, 2, ID),))),
        (7, (FOLDER, ((1, True, ID),))),
        (7, (FOLDER, 7)),
        (7, (FOLDER, ((1, 0, ID, 0),))),
        (10, (FOLDER, 1, 1, ((ID, True),))),
        (12, (((ID, "host:1"),),)),
        (15, (True, "")),
        (15, (-1, "")),
        (17, (FOLDER, "n", 4, ID, (), ())),
        (17, (FOLDER, "n", False, ID, (), ())),
        (128, (ID, 0, False)),
        (129, (FOLDER, True, 0, ())),
        (130, (FOLDER, (), (), ((ID,),), (), ())),
        (130, (FOLDER, (), (), (), ())),
    ],
)
def test_what_may_not_be_said_is_refused_when_a_peer_says_it(type: int, fields: tuple[object, ...]) -> None:
    with pytest.raises(RemoteProtocolError):
        messages.decode(type, cbor2.dumps(fields))


def test_the_largest_of_each_fits_into_a_frame() -> None:
    many = tuple(ChainId(DeviceId(n.to_bytes(32, "big")), Incarnation(bytes(16))) for n in range(4096))
    largest: list[Message] = [
        messages.State(FOLDER, dict.fromkeys(many, 2**63 - 1), True, 2**63 - 1, 2**63 - 1),
        messages.Batches(FOLDER, (b"x" * (MAX_WRITTEN_BYTES // MAX_BATCHES),) * MAX_BATCHES),
        messages.Content(FOLDER, ((ChunkId(ID), bytes(1024)),) * foldermessages.MAX_CONTENT_ITEMS),
        messages.Ask(FOLDER, tuple(Wanted(2**32 - 1 - n, What.NODE, ID) for n in range(4096))),
        messages.Cancel(tuple(2**32 - 1 - n for n in range(4096))),
        messages.Offer(FOLDER, 2**32 - 1, 2**63 - 1, (ChunkRef(ChunkId(ID), MAX_CHUNK),) * 4096),
        messages.Addresses(((CHAIN.author, ("x" * 255,) * 16),) * linkmessages.MAX_DEVICES_NAMED),
        messages.Forked(FOLDER, bytes(MAX_BATCH_BYTES), bytes(MAX_BATCH_BYTES)),
        messages.Circle(FOLDER, True, True, tuple(DeviceId(n.to_bytes(32, "big")) for n in range(4096))),
        messages.Availability(FOLDER, fetching=((CHAIN.author, (ChunkId(ID),)),) * 8192),
        welcome(epochs=(ID,) * 64, proof=(b"x" * 4096,) * 256, name="x" * 255),
    ]
    for message in largest:
        assert len(messages.encode(message)) <= MAX_FRAME + 4


def test_a_close_code_may_be_one_that_is_not_known_yet() -> None:
    assert messages.decode(15, cbor2.dumps((99, "new"))) == messages.Close(99, "new")
    assert messages.decode(15, cbor2.dumps((2, ""))) == messages.Close(CloseCode.VERSION)


def test_secrets_and_content_are_not_shown() -> None:
    shown = [
        messages.Join(ID, "laptop"),
        welcome(content=ID, epochs=(ID,), proof=(ID,)),
        messages.Batches(FOLDER, (ID,)),
        messages.Content(FOLDER, ((ChunkId(bytes(32)), ID),)),
        messages.Forked(FOLDER, ID, ID),
    ]
    assert not any("\\x02" in repr(message) for message in shown)
