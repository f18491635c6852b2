# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a version looks like: its text, its picture, or neither. What it is, its first bytes say and not its name."""

import base64
import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from harp.console.client import Json, Refused, at
from harp.console.page import Page

MOST_TEXT = 64 * 1024
MOST_PICTURE = 16 << 20
MOST_LINES = 1500
_PIECE = 512 * 1024
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
)


@dataclass(frozen=True, slots=True)
class Look:
    """``kind`` is ``text``, ``picture``, ``other``, or ``away`` where the content does not lie here."""

    kind: str
    text: str = ""
    is_cut: bool = False
    media_type: str = ""


async def of(page: Page, folder: str, path_b64: str, version: Json) -> Look:
    """The look of one version of a path."""
    if version["kind"] != "file":
        return Look("other")
    try:
        head = await piece(page, folder, path_b64, version["entry"], 0, MOST_TEXT)
    except Refused:
        return Look("away")
    media_type = picture_type(head)
    if media_type:
        return Look("picture" if version["size"] <= MOST_PICTURE else "other", media_type=media_type)
    text = as_text(head)
    return Look("other") if text is None else Look("text", text, is_cut=version["size"] > len(head))


async def piece(page: Page, folder: str, path_b64: str, entry: str, offset: int, length: int) -> bytes:
    """Bytes of a version. Raises :class:`Refused`."""
    answer = await page.client.get(
        at("folders", folder, "content"), path_b64=path_b64, entry=entry, offset=offset, length=length
    )
    return base64.b64decode(answer["data_b64"])


async def whole(page: Page, folder: str, path_b64: str, entry: str, most: int) -> bytes:
    """All of a version, if that is at most ``most`` bytes. Raises :class:`Refused`."""
    found = bytearray()
    while True:
        answer = await page.client.get(
            at("folders", folder, "content"), path_b64=path_b64, entry=entry, offset=len(found), length=_PIECE
        )
        if answer["size"] > most:
            raise Refused(page.words.gettext("This is too large to be shown here."), "", 413)
        found += base64.b64decode(answer["data_b64"])
        if len(found) >= answer["size"]:
            return bytes(found)


def picture_type(head: bytes) -> str:
    """The media type of a picture that browsers show, by its first bytes; never one that can hold a script."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif"
    return next((media for magic, media in _MAGIC if head.startswith(magic)), "")


def as_text(head: bytes) -> str | None:
    """The bytes as text, if that is what they are; a character that was cut at the end is left out."""
    if b"\0" in head:
        return None
    for cut in range(4):
        try:
            text = head[: len(head) - cut].decode("utf-8")
        except UnicodeDecodeError:
            continue
        odd = sum(1 for c in text if not c.isprintable() and c not in "\n\r\t\f")
        return text if odd * 50 <= len(text) else None
    return None


def side_by_side(texts: Sequence[str]) -> list[list[tuple[str, bool]]]:
    """The lines of each text, each with whether it is another one than in the first (in the first: in the second)."""
    lines = [text.splitlines()[:MOST_LINES] for text in texts]
    if len(lines) < 2:
        return [[(line, False) for line in one] for one in lines]
    marked: list[list[tuple[str, bool]]] = []
    for place, own in enumerate(lines):
        other = lines[1] if place == 0 else lines[0]
        same: set[int] = set()
        for block in difflib.SequenceMatcher(None, other, own, autojunk=True).get_matching_blocks():
            same.update(range(block.b, block.b + block.size))
        marked.append([(line, number not in same) for number, line in enumerate(own)])
    return marked
