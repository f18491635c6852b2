# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the parts of the daemon in memory share: they note who calls, and fail where they are told to."""

from harp.bridge import model


class Noting:
    """``calls`` are the port's calls in order, ``fails`` is raised by the next of them."""

    names: dict[str, str]
    """The folders, by id."""
    rules: str
    has_console: bool
    lifted: bool
    streams_open: int

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.fails: Exception | None = None

    def _folder(self, folder: str, location: str) -> model.FolderStatus:
        raise NotImplementedError

    def _version(self, entry: str, *, is_current: bool) -> model.Version:
        raise NotImplementedError

    def _called(self, *call: object) -> None:
        self.calls.append(call)
        if self.fails is not None:
            error, self.fails = self.fails, None
            raise error
