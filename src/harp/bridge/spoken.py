# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sentences of an answer in the language of whoever reads it: those of ``Accept-Language`` (RFC 9110, 12.5.4). Pure.

The daemon speaks English. A client that shows its sentences to a person and has no words of its own, as the app inside
Nextcloud, asks for them in that person's language.
"""

from collections.abc import Callable

Said = Callable[[str, str], str]
"""A sentence for a reader with that ``Accept-Language``; as it was where it is not known."""

_SENTENCES = frozenset(("error", "hint", "message", "note", "problems", "remedy", "why"))
"""The fields that hold some; in a list of them each is one."""


def in_english(_: str, text: str) -> str:
    """Implements :data:`Said` for who knows no other language."""
    return text


def translated(value: object, accepted: str, said: Said) -> object:
    """An answer's builtins, with each sentence said anew; names, paths and numbers stay."""
    match value:
        case dict():
            return {
                key: _sentence(item, accepted, said) if key in _SENTENCES else translated(item, accepted, said)
                for key, item in value.items()
            }
        case list():
            return [translated(item, accepted, said) for item in value]
        case _:
            return value


def _sentence(value: object, accepted: str, said: Said) -> object:
    match value:
        case str():
            return said(accepted, value)
        case list():
            return [_sentence(item, accepted, said) for item in value]
        case _:
            return translated(value, accepted, said)
