# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small contents in memory until their entries are applied; what is there and what is awaited is bounded."""

from collections.abc import Callable, Iterator

from harp.sync.model import ChunkId, RootId

MAX_BYTES = 64 * 1024 * 1024


class Larder:
    """For the folder's thread; :meth:`awaits` also for links' threads."""

    def __init__(self) -> None:
        self._there: dict[RootId, bytes] = {}
        self._awaited: dict[RootId, int] = {}
        self._bytes = 0
        self.is_crowded = False
        """Something was not awaited for want of room: try again when some of it is spent."""

    def __len__(self) -> int:
        return len(self._there)

    def get(self, root: RootId) -> bytes | None:
        return self._there.get(root)

    def awaits(self, id_: bytes) -> bool:
        return id_ in self._awaited

    @property
    def awaited(self) -> Iterator[tuple[ChunkId, int]]:
        """Id and size of each content that is to be asked for."""
        return ((ChunkId(root), size) for root, size in self._awaited.items())

    @property
    def awaited_bytes(self) -> int:
        return sum(self._awaited.values())

    def has_room(self, size: int) -> bool:
        return self._bytes + size <= MAX_BYTES

    def expect(self, root: RootId, size: int) -> bool:
        """Whether there is room to await it; if not, :attr:`is_crowded`."""
        if root not in self._awaited:
            if not self.has_room(size):
                self.is_crowded = True
                return False
            self._awaited[root] = size
            self._bytes += size
        return True

    def put(self, root: RootId, data: bytes) -> None:
        """The content came; it was verified."""
        self.forget(root)
        if root not in self._there:
            self._there[root] = data
            self._bytes += len(data)

    def forget(self, root: RootId) -> bool:
        """It is not awaited any more; whether it was."""
        size = self._awaited.pop(root, None)
        if size is not None:
            self._bytes -= size
        return size is not None

    def spend(self, root: RootId) -> None:
        """The content lies on the disk now, or nobody wants it."""
        data = self._there.pop(root, None)
        if data is not None:
            self._bytes -= len(data)

    def unwanted(self, wanted: Callable[[RootId], bool]) -> tuple[list[RootId], list[RootId]]:
        """What is awaited, and what is there, that ``wanted`` is false for."""
        awaited = [root for root in self._awaited if not wanted(root)]
        return awaited, [root for root in self._there if not wanted(root)]
