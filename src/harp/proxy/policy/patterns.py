# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which regular expressions HAProxy may decide, and their text for PCRE2.

Python's own parser reads an author's expression; the text for HAProxy is written anew from that tree, so that no
construct which the two engines read differently gets through. Expressions whose cost could grow faster than the path
are left out: HAProxy counts a match that PCRE2 gave up as no match, and a weaker route would win.
"""

import functools
import re
import re._constants as op  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_LENGTH = 1024
"""Characters of an expression that HAProxy is given; longer ones go to the agent."""
MAX_TEXT = 8000
"""Characters of the text for PCRE2: HAProxy reads a line of a map into one buffer."""
MAX_ALTERNATIVES = 64
"""Ways through the alternatives of one expression, multiplied."""
MAX_REPEAT = 64
"""The largest bound of a repeat: PCRE2 writes a bounded repeat out."""

# What can be in a request's path: HAProxy refuses 8-bit characters, blanks and controls in it (RFC 9112, section 3.2).
ALPHABET = frozenset(chr(code) for code in range(0x21, 0x7F))
_DIGITS = frozenset("0123456789")
_WORD = frozenset(c for c in ALPHABET if c.isalnum() or c == "_")
_CATEGORIES: dict[Any, frozenset[str]] = {
    op.CATEGORY_DIGIT: _DIGITS,
    op.CATEGORY_NOT_DIGIT: ALPHABET - _DIGITS,
    op.CATEGORY_WORD: _WORD,
    op.CATEGORY_NOT_WORD: ALPHABET - _WORD,
    op.CATEGORY_SPACE: frozenset(),
    op.CATEGORY_NOT_SPACE: ALPHABET,
}
_NOWHERE = "(?!)"
END = "?"
"""What no path holds, behind a beginning that is a whole path."""


@dataclass(frozen=True, slots=True)
class One:
    """Exactly one character out of a set."""

    of: frozenset[str]


@dataclass(frozen=True, slots=True)
class Many:
    """A run of characters out of one set; ``most`` is ``None`` for any number."""

    of: frozenset[str]
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Edge:
    """The start or the end of the path."""

    is_end: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several sequences; the first that leads on counts."""

    of: tuple[tuple["Node", ...], ...]


Node = One | Many | Edge | Choice


class _TooMuch(Exception):
    """The expression holds something that HAProxy is not given."""


@dataclass(slots=True)
class _Cost:
    """How often the engine may turn back on one way through the expression."""

    ambiguous: int = 0
    ways: int = 1
    after: list[Many] = field(default_factory=list)


@functools.lru_cache(maxsize=8192)
def is_valid(pattern: str) -> bool:
    """Whether Python can compile the expression. The contract skips those that it cannot (57)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, OverflowError):
        return False
    except RecursionError:
        # Not a mistake of the author's: the agent refuses what it cannot match, rather than to skip it.
        return True
    return True


@functools.lru_cache(maxsize=8192)
def for_haproxy(pattern: str) -> str | None:
    """The expression as PCRE2 reads it, anchored at the start; ``None`` where the agent has to match it."""
    nodes = _read(pattern)
    if nodes is None:
        return None
    text = "^" + _written(nodes)
    return text if len(text) <= MAX_TEXT else None


@functools.lru_cache(maxsize=8192)
def beginnings(pattern: str) -> tuple[str, ...] | None:
    """How the paths begin that an expression matches, and no others do: a whole path has :data:`END` behind it.

    ``None`` where beginnings do not say it, or where there would have to be many.
    """
    nodes = _read(pattern)
    if nodes is None:
        return None
    found: list[str] = []
    for way in _ways(nodes):
        begun = _begun(way)
        if begun is None or len(found) + len(begun) > MAX_ALTERNATIVES:
            return None
        found += begun
    # Every path has a slash first.
    return tuple(text or "/" for text in found if not text or text[0] == "/")


def _read(pattern: str) -> tuple["Node", ...] | None:
    """What the expression is made of; ``None`` where HAProxy is not given it."""
    if len(pattern) > MAX_LENGTH:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = parser.parse(pattern)
        if tree.state.flags & ~re.UNICODE.value:
            return None
        nodes = tuple(_nodes(tree))
        _demand_linear(nodes)
    except (_TooMuch, re.error, OverflowError, RecursionError):
        return None
    return nodes


def _nodes(tree: Iterable[tuple[Any, Any]]) -> Iterable[Node]:
    for kind, value in tree:
        yield from _node(kind, value)


def _node(kind: Any, value: Any) -> Iterable[Node]:
    if kind is op.AT:
        if value not in (op.AT_BEGINNING, op.AT_BEGINNING_STRING, op.AT_END, op.AT_END_STRING):
            raise _TooMuch
        return (Edge(value in (op.AT_END, op.AT_END_STRING)),)
    if kind is op.SUBPATTERN:
        _group, added, removed, inner = value
        if added or removed:
            raise _TooMuch
        return (Choice((tuple(_nodes(inner)),)),)
    if kind is op.BRANCH:
        return (Choice(tuple(tuple(_nodes(way)) for way in value[1])),)
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
        return (_repeat(*value),)
    return (One(_characters(kind, value)),)


def _repeat(least: int, most: Any, inner: Any) -> Node:
    is_endless = most is op.MAXREPEAT
    if least > MAX_REPEAT or not (is_endless or most <= MAX_REPEAT):
        raise _TooMuch
    if len(inner) == 1 and inner[0][0] not in (op.SUBPATTERN, op.BRANCH, op.AT, op.MAX_REPEAT, op.MIN_REPEAT):
        return Many(_characters(*inner[0]), least, None if is_endless else int(most))
    if (least, most) == (0, 1):
        # A whole group that may be absent is an alternative, not a repeat.
        return Choice((tuple(_nodes(inner)), ()))
    raise _TooMuch


def _characters(kind: Any, value: Any) -> frozenset[str]:
    """The characters of the path's alphabet that an atom matches."""
    if kind is op.LITERAL:
        return ALPHABET & {chr(value)}
    if kind is op.NOT_LITERAL:
        return ALPHABET - {chr(value)}
    if kind is op.ANY:
        return ALPHABET
    if kind is op.IN:
        return _class(value)
    raise _TooMuch


def _class(items: Sequence[tuple[Any, Any]]) -> frozenset[str]:
    found: set[str] = set()
    is_negated = False
    for kind, value in items:
        if kind is op.NEGATE:
            is_negated = True
        elif kind is op.LITERAL:
            found.add(chr(value))
        elif kind is op.RANGE:
            low, high = value
            found.update(c for c in ALPHABET if low <= ord(c) <= high)
        elif kind is op.CATEGORY and value in _CATEGORIES:
            found |= _CATEGORIES[value]
        else:
            raise _TooMuch
    return ALPHABET - found if is_negated else ALPHABET & found


# --- cost -------------------------------------------------------------------------------------------------------------


def _demand_linear(nodes: tuple[Node, ...]) -> None:
    """Raises unless every way through has at most one run that the engine may shorten, and no other run behind it."""
    flat = list(_ways(nodes))
    if len(flat) > MAX_ALTERNATIVES:
        raise _TooMuch
    for way in flat:
        _demand_linear_way(way)


def _ways(nodes: tuple[Node, ...]) -> list[tuple[Node, ...]]:
    """All sequences without a choice in them."""
    found: list[tuple[Node, ...]] = [()]
    for node in nodes:
        ends = [end for way in node.of for end in _ways(way)] if isinstance(node, Choice) else [(node,)]
        found = [start + end for start in found for end in ends]
        if len(found) > MAX_ALTERNATIVES:
            raise _TooMuch
    return found


def _demand_linear_way(way: tuple[Node, ...]) -> None:
    is_loose = False
    for index, node in enumerate(way):
        if not isinstance(node, Many) or node.least == node.most:
            continue
        rest = way[index + 1 :]
        if not rest or (all(isinstance(end, Edge) and end.is_end for end in rest) and node.of == ALPHABET):
            # It takes all there is, and nothing comes after it that could fail.
            continue
        if is_loose:
            raise _TooMuch
        following = rest[0] if rest else None
        if not (isinstance(following, One) and not following.of & node.of):
            is_loose = True


# --- text -------------------------------------------------------------------------------------------------------------


def _written(nodes: tuple[Node, ...]) -> str:
    return "".join(_text(node) for node in nodes)


def _text(node: Node) -> str:
    if isinstance(node, Edge):
        return r"\z" if node.is_end else r"\A"
    if isinstance(node, Choice):
        return "(?:" + "|".join(_written(way) for way in node.of) + ")"
    if isinstance(node, One):
        return _set(node.of)
    if not node.of:
        return "" if node.least == 0 else _NOWHERE
    return _set(node.of) + _bounds(node.least, node.most)


def _bounds(least: int, most: int | None) -> str:
    if most is None:
        return {0: "*", 1: "+"}.get(least, f"{{{least},}}")
    return f"{{{least},{most}}}"


def _set(characters: frozenset[str]) -> str:
    """One character out of a set. Only letters, digits, ``/``, ``-`` and ``_`` stand for themselves."""
    if not characters:
        return _NOWHERE
    if characters == ALPHABET:
        return "."
    if len(characters) == 1:
        (only,) = characters
        return only if only.isalnum() or only in "/_-" else f"\\x{ord(only):02x}"
    is_negated = len(characters) > len(ALPHABET) // 2
    chosen = sorted(ALPHABET - characters if is_negated else characters)
    return f"[{'^' if is_negated else ''}{''.join(_spans(chosen))}]"


def _spans(chosen: list[str]) -> Iterable[str]:
    start = 0
    for index in range(1, len(chosen) + 1):
        if index < len(chosen) and ord(chosen[index]) == ord(chosen[index - 1]) + 1:
            continue
        first, last = chosen[start], chosen[index - 1]
        yield f"\\x{ord(first):02x}" if first == last else f"\\x{ord(first):02x}-\\x{ord(last):02x}"
        start = index


# --- beginnings -------------------------------------------------------------------------------------------------------


def _begun(way: tuple[Node, ...]) -> list[str] | None:
    """The beginnings that one way stands for."""
    texts = [""]
    for index, node in enumerate(way):
        if isinstance(node, Edge) and not node.is_end and not index:
            continue
        if _are_ends(way[index + 1 :]):
            if isinstance(node, Edge) and node.is_end:
                return [text + END for text in texts]
            if node == Many(ALPHABET, 0, None):
                return texts
        options = _options(node)
        if options is None or len(texts) * len(options) > MAX_ALTERNATIVES:
            return None
        texts = [text + option for text in texts for option in options if END not in option]
    return texts


def _are_ends(nodes: Iterable[Node]) -> bool:
    return all(isinstance(node, Edge) and node.is_end for node in nodes)


def _options(node: Node) -> list[str] | None:
    """What a node can stand for, where that is little."""
    match node:
        case One(of):
            return sorted(of)
        case Many(of, least, int(most)) if len(of) == 1:
            return [next(iter(of)) * times for times in range(least, most + 1)]
    return None
