# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a Nextcloud says that it can and will not have: small files in bulk, names (pure).

The names' rules are those of ``lib/private/Files/FilenameValidator.php`` (32.0.1). They are the same on Windows-like
settings (``files:windows-compatible-filenames``), which only fill the lists.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NEW_FILES = 1
"""The form of such a request that is spoken here."""
MOST_NAME_BYTES = 250
"""Nextcloud's table of files has no room for more."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Without an answer nothing is taken for possible, and only what no Nextcloud takes for forbidden."""

    has_bulk: bool = False
    has_new_files: bool = False
    """Whether Harp Bridge is there and makes many files at once where nothing lies."""
    forbidden_names: frozenset[str] = frozenset()
    forbidden_stems: frozenset[str] = frozenset()
    """What may not stand before the first dot, e.g. ``con`` on Windows."""
    forbidden_ends: tuple[str, ...] = ()
    forbidden_characters: str = "\\/"
    push: str = ""
    """Where its app notify_push tells of changed files, as the server says it; empty where it does not have that."""

    def refusal(self, name: str) -> str:
        """Why the server has no file or folder of that name; empty if it can."""
        small = name.lower()
        dot = small.find(".", 1)
        stem = small if dot < 0 else small[:dot]
        if len(name.encode("utf-8", "surrogatepass")) > MOST_NAME_BYTES:
            return f"its name has more than {MOST_NAME_BYTES} bytes: Nextcloud has no room for it"
        if small in self.forbidden_names:
            return "its name is one that this Nextcloud forbids"
        if stem in self.forbidden_stems:
            return f"its name begins with “{stem}”, which this Nextcloud forbids"
        if end := next((end for end in self.forbidden_ends if small.endswith(end)), ""):
            return f"its name ends with “{end}”, which this Nextcloud forbids"
        if found := next((one for one in name if ord(one) < 32 or one in self.forbidden_characters), ""):
            shown = "a control character" if ord(found) < 32 else f"“{found}”"
            return f"its name has {shown}, which this Nextcloud forbids"
        return ""


def read(told: Any) -> Capabilities:
    """From ``/ocs/v2.php/cloud/capabilities``; whatever of it is not as it should be counts as not said."""
    data = _part(_part(_part(told, "ocs"), "data"), "capabilities")
    files = _part(data, "files")
    names = _words(files, "forbidden_filenames") or _words(files, "blacklisted_files")
    return Capabilities(
        has_bulk=bool(_part(data, "dav").get("bulkupload")),
        has_new_files=_part(data, "harpbridge").get("newFiles") == NEW_FILES,
        forbidden_names=frozenset(one.lower() for one in names),
        forbidden_stems=frozenset(one.lower() for one in _words(files, "forbidden_filename_basenames")),
        forbidden_ends=tuple(one.lower() for one in _words(files, "forbidden_filename_extensions")),
        forbidden_characters="\\/" + "".join(_words(files, "forbidden_filename_characters")),
        push=_push(_part(data, "notify_push")),
    )


def _push(told: Mapping[str, Any]) -> str:
    address = _part(told, "endpoints").get("websocket")
    return address if isinstance(address, str) and "files" in _words(told, "type") else ""


def _part(told: Any, name: str) -> Mapping[str, Any]:
    found = told.get(name) if isinstance(told, dict) else None
    return found if isinstance(found, dict) else {}


def _words(told: Mapping[str, Any], name: str) -> list[str]:
    found = told.get(name)
    return [one for one in found if isinstance(one, str) and one] if isinstance(found, list) else []
