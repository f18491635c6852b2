# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which paths are not shared: gitignore rules from ``.harpignore`` (synced) and ``.harp/ignore`` (this device's own).

The synced rules come first, so a local one can take back what they say (the last rule that matches decides). Unlike a
peer's batch, the synced file may hold anything: what costs too much to match is left out and named in ``problems``.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from harp.sync.folder.names import SYNCED_IGNORE
from harp.sync.model import Path

MAX_BYTES = 256 * 1024
MAX_RULES = 2000
MAX_RULE_BYTES = 1024
_KEPT_DIRECTORIES = 4096

# What pathspec writes for the parts of a rule; see pathspec.patterns.gitignore.spec.
_ANYWHERE = "^(?:.+/)?"
_BETWEEN = "(?:/.+)?"
_NO_SLASH = "[^/]"
_NOT_A_SLASH = "(?!/)"
_STAR = "[^/]*"
_DIRECTORY_END = "(?P<ps_d>/)"
_END = f"(?:{_DIRECTORY_END}|$)"
_SET = re.compile(r"(?<!\\)\[(?!\^/\])")
"""Where a set begins, which may hold a slash (``[+-1]``, ``[!a]``) but never matches one."""
_DIRECTORIES_BELOW = re.compile(rb"(?:/\*\*)+/(?= *$)")
"""``name/**/``: the directories below, of which pathspec makes the directory itself; ``name/**/*/`` says the same."""
_NESTED_SET = re.compile(rb"(?<!\\)\[[^]]*(\[|--|&&|~~|\|\|)")
"""``[[:alpha:]]`` and what Python may read in another way some day."""


@dataclass(frozen=True, slots=True)
class _Rule:
    regex: str
    """Matches the very path that is named, written with a slash at its end if it is a directory."""
    ignores: bool
    by_name: bool
    """Whether the last component alone decides, as it does for a rule without a slash inside."""
    matches: Callable[[str], object]


class IgnoreRules:
    """Rules that were read once. Safe to use from several threads."""

    def __init__(self, rules: list[_Rule], problems: tuple[str, ...]) -> None:
        self.problems = problems
        """Rules that are not followed, each with the reason, for people to see."""
        self._rules = rules[::-1]
        self._any_name = _united(rule for rule in rules if rule.ignores and rule.by_name)
        self._any_path = _united(rule for rule in rules if rule.ignores and not rule.by_name)
        self._directories: dict[bytes, bool] = {}

    @classmethod
    def parse(cls, synced: bytes, local: bytes) -> Self:
        """The rules in the two files' contents. Never fails: what cannot be followed stands in ``problems``."""
        rules: list[_Rule] = []
        problems: list[str] = []
        for file, content in ((".harpignore", synced), (".harp/ignore", local)):
            if len(content) > MAX_BYTES:
                problems.append(f"{file} is longer than {MAX_BYTES} bytes: the rest of it is not followed")
            for number, line in enumerate(content[:MAX_BYTES].splitlines()[: MAX_RULES + 1], 1):
                if number > MAX_RULES:
                    problems.append(f"{file} has more than {MAX_RULES} lines: the rest of it is not followed")
                    break
                rule = _compiled(line)
                if isinstance(rule, str):
                    problems.append(f"{file}, line {number}: {rule}")
                elif rule is not None:
                    rules.append(rule)
        return cls(rules, tuple(problems))

    def ignores(self, path: Path, is_directory: bool) -> bool:
        """Whether ``path`` is ignored, by itself or because a directory above it is. ``.harpignore`` never is."""
        if not self._rules or not path or path == SYNCED_IGNORE:
            return False
        cut = path.rfind(b"/")
        if cut > 0 and self._ignores_directory(path[:cut]):
            return True
        if is_directory:
            return self._ignores_directory(path)
        return self._is_named(path, is_directory=False)

    def _ignores_directory(self, path: bytes) -> bool:
        known = self._directories.get(path)
        if known is None:
            cut = path.rfind(b"/")
            known = (cut > 0 and self._ignores_directory(path[:cut])) or self._is_named(path, is_directory=True)
            if len(self._directories) >= _KEPT_DIRECTORIES:
                self._directories.clear()
            self._directories[path] = known
        return known

    def _is_named(self, path: bytes, *, is_directory: bool) -> bool:
        text = path.decode("utf-8", "surrogateescape")
        name = text[text.rfind("/") + 1 :]
        if is_directory:
            text, name = text + "/", name + "/"
        by_name = self._any_name is not None and self._any_name.search(name)
        if not by_name and (self._any_path is None or self._any_path.search(text) is None):
            return False
        for rule in self._rules:
            if rule.matches(name if rule.by_name else text):
                return rule.ignores
        return False


def _compiled(line: bytes) -> _Rule | str | None:
    """One line's rule, None for a blank or a comment, or why it is not followed."""
    if len(line) > MAX_RULE_BYTES:
        return f"longer than {MAX_RULE_BYTES} bytes"
    if _NESTED_SET.search(line):
        return "sets within sets are not known"
    if line.rstrip(b" ") == b"!/":
        return None  # git finds nothing of that name; pathspec makes every directory of it
    try:
        text = _DIRECTORIES_BELOW.sub(b"/**/*/", line).decode("utf-8", "surrogateescape")
        regex, ignores = GitIgnoreSpecPattern.pattern_to_regex(text)
        if regex is None or ignores is None:
            return None
        exact = _in_linear_time(_exact(_SET.sub(_NOT_A_SLASH + "[", regex)))
        rest = exact.removeprefix("^(?:[^/]+/)*?")
        inside = rest.removesuffix(r"/?\Z").removesuffix(r"/\Z")
        by_name = exact == _EVERY_DIRECTORY or (rest != exact and not _has_slash(inside))
        if by_name:
            exact = exact if rest == exact else "^" + rest
        return _Rule(exact, ignores, by_name, re.compile(exact, re.DOTALL).search)
    except (GitIgnorePatternError, re.error, ValueError):
        return "not a gitignore rule"


_EVERY_DIRECTORY = r"/\Z"


def _exact(regex: str) -> str:
    """The rule without what lies below the paths it names: a directory's verdict is asked for on its own.

    So a directory that is taken back (``!name/``) has its content judged anew, as git does.
    """
    if regex == _DIRECTORY_END:
        return _EVERY_DIRECTORY
    if regex.endswith(_END):
        return regex.removesuffix(_END) + r"/?\Z"
    if regex.endswith(_DIRECTORY_END):
        return regex.removesuffix(_DIRECTORY_END) + r"/\Z"
    # "name/**" is about what lies below, not about the directory itself.
    return regex + "." if regex.endswith("/") else regex


def _in_linear_time(regex: str) -> str:
    """The same language, matched in a time that no name can make grow with each ``*`` and ``**``.

    What stands between two ``**`` has a fixed number of components, and what stands between two ``*`` of a component a
    fixed length. So its first match is as good as any later one and need not be taken back: an atomic group.
    """
    is_anywhere = regex.startswith(_ANYWHERE)
    blocks = [_without_backtracking(block) for block in regex.removeprefix(_ANYWHERE).split(_BETWEEN)]
    if is_anywhere:
        blocks[0] = "(?:[^/]+/)*?" + blocks[0]
    blocks[1:] = ["(?:/[^/]+)*?" + block for block in blocks[1:]]
    joined = "".join(f"(?>{block.removeprefix('^')}(?=/))" for block in blocks[:-1]) + blocks[-1]
    return "^" + joined.removeprefix("^") if is_anywhere or regex.startswith("^") else joined


def _without_backtracking(block: str) -> str:
    """The block with every star but the last of each component in an atomic group with what follows it."""
    first, *pieces = block.split(_STAR)
    safe = [first]
    for number, piece in enumerate(pieces, 1):
        ends_component = _has_slash(piece) or number == len(pieces)
        safe.append(_STAR + piece if ends_component else f"(?>{_STAR}?{piece})")
    return "".join(safe)


def _has_slash(regex: str) -> bool:
    return "/" in regex.replace(_NO_SLASH, "").replace(_NOT_A_SLASH, "")


def _united(rules: Iterable[_Rule]) -> re.Pattern[str] | None:
    """One expression that matches wherever a rule may: most paths are decided by it alone."""
    parts = [f"(?:{rule.regex})" for rule in rules]
    return re.compile("|".join(parts), re.DOTALL) if parts else None


NO_RULES = IgnoreRules([], ())
