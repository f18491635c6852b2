# SPDX-License-Identifier: AGPL-3.0-or-later
"""The protocol's text says the same numbers as the code: a reader of one must not be misled about the other."""

import re
from pathlib import Path

import pytest

from harp.sync import model
from harp.sync.engine import manifest
from harp.sync.protocol import (
    asks,
    batchform,
    foldermessages,
    frames,
    gate,
    linkmessages,
    officemessages,
    pulse,
    wire,
)
from harp.sync.protocol.messages import MESSAGES, CloseCode
from harp.sync.transport import beaconform, knock, leg

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    below = TEXT.split(f"\n{heading}\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


def number(value: int) -> str:
    return f"{value:,}"


def test_the_table_of_messages_is_that_of_the_code() -> None:
    table = {int(type): (name, fields) for type, name, fields in rows("### 15.1 All of them")}
    assert table.pop(frames.ANSWER_TYPE)[0] == "(an answer)"
    assert {type: name for type, (name, _) in table.items()} == {type: of.__name__ for type, of in MESSAGES.items()}
    for type, of in MESSAGES.items():
        listed = re.sub(r"\(.*?\)|;.*", "", table[type][1])
        while "[" in listed:
            listed = re.sub(r"\[[^\[\]]*\]", "array", listed)
        assert len(listed.split(",")) == len(of.__slots__), f"{of.__name__} has other fields"


def test_the_close_codes_are_those_of_the_code() -> None:
    assert {name: int(code) for code, name, _ in rows("## 17. Close codes")} == CloseCode.__members__


def test_the_statuses_are_those_of_the_code() -> None:
    said = dict(row[0].split(" ")[::-1] for row in rows("### 15.3 Asks and answers"))
    assert {name: int(value) for name, value in said.items()} == frames.Status.__members__


@pytest.mark.parametrize(
    ("what", "values"),
    [
        ("frame (`n`)", [frames.MAX_FRAME]),
        ("nesting of arrays", [wire.MAX_DEPTH]),
        ("text", [wire.MAX_TEXT_BYTES]),
        ("chains in a vector", [wire.MAX_CHAINS]),
        ("entry", [model.MAX_ENTRY_BYTES]),
        ("`replaces`", [model.MAX_REPLACES]),
        ("batch", [model.MAX_BATCH_ENTRIES, batchform.MAX_BATCH_BYTES]),
        ("Batches", [foldermessages.MAX_BATCHES, batchform.MAX_WRITTEN_BYTES]),
        ("Proof, and the proof in Welcome", [linkmessages.MAX_PROOF_BATCHES, batchform.MAX_WRITTEN_BYTES]),
        ("epoch secrets in Welcome", [linkmessages.MAX_EPOCHS]),
        ("Content", [foldermessages.MAX_CONTENT_ITEMS, model.MIN_CHUNK]),
        ("Ask, Cancel", [foldermessages.MAX_ASKS]),
        ("Offer", [foldermessages.MAX_OFFERED, model.MAX_CHUNK, asks.MAX_OPEN_OFFERS]),
        ("Addresses", [linkmessages.MAX_DEVICES_NAMED, linkmessages.MAX_ADDRESSES]),
        ("Availability", [officemessages.MAX_TIDINGS]),
        ("Circle", [officemessages.MAX_CIRCLE]),
        ("path", [model.MAX_PATH_BYTES, model.MAX_DEPTH, model.MAX_NAME_BYTES]),
        ("manifest node", [model.MAX_SEGMENT_CHUNKS]),
    ],
)
def test_a_limit_is_that_of_the_code(what: str, values: list[int]) -> None:
    (said,) = (limit for name, limit in rows("## 16. Limits") if name == what)
    assert all(number(value) in re.findall(r"[\d,]*\d", said) for value in values), said


@pytest.mark.parametrize(
    "said",
    [
        f"at most {pulse.HANDSHAKE_S:.0f} s pass",
        f"After {pulse.PING_AFTER_S:.0f} s without one",
        f"after {pulse.DEAD_AFTER_S:.0f} s it sends",
        f"{number(gate.CLAIM_BURST)} at once, and {gate.CLAIMS_PER_S:.0f}\na second",
        f"exactly {beaconform.BEACON_BYTES} bytes",
        f"reads exactly {knock.KNOCK_BYTES} bytes",
        f"{leg.IPV4_GROUP} and {leg.IPV6_GROUP}, port {leg.BEACON_PORT}",
        f'derive_key("{manifest.CHUNK_CONTEXT}"',
        f'derive_key("{manifest.NODE_CONTEXT}"',
    ],
)
def test_what_the_text_says_in_passing_is_so(said: str) -> None:
    assert said in TEXT
