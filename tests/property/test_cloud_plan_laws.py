# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of the plan between a disk and an account: nothing is lost, it ends, and both sides are the same then."""

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harp.sync.cloud import doubts, nodes, plan, steps
from harp.sync.cloud.nodes import Agreed, CloudPath, Etag, FileId, Local, Remote

NAMES = [CloudPath(name) for name in ("a", "b", "d", "e", "d/x", "d/y", "e/x", "e/z")]


@dataclass
class World:
    """Both sides in memory, with the content of each file; what was superseded on purpose is remembered."""

    local: dict[CloudPath, Local] = field(default_factory=dict)
    remote: dict[CloudPath, Remote] = field(default_factory=dict)
    agreed: dict[CloudPath, Agreed] = field(default_factory=dict)
    here: dict[int, str] = field(default_factory=dict)
    there: dict[Etag, str] = field(default_factory=dict)
    superseded: set[str] = field(default_factory=set)
    count: int = 0

    def number(self) -> int:
        self.count += 1
        return self.count

    def write_here(self, path: CloudPath, content: str) -> None:
        for above in nodes.ancestors(path):
            if above not in self.local or not self.local[above].is_directory:
                self.local[above] = Local(True, self.number())
        stamp = self.number()
        self.here[stamp] = content
        self.local[path] = Local(False, stamp, len(content), stamp)

    def write_there(self, path: CloudPath, content: str) -> None:
        for above in nodes.ancestors(path):
            if above not in self.remote or not self.remote[above].is_directory:
                self.remote[above] = Remote(True, FileId(f"f{self.number()}"), Etag(""))
        old = self.remote.get(path)
        etag = Etag(f"e{self.number()}")
        self.there[etag] = content
        self.remote[path] = Remote(False, old.fileid if old else FileId(f"f{self.number()}"), etag, len(content))

    def contents(self) -> set[str]:
        return {self.here[one.inode] for one in self.local.values() if not one.is_directory} | {
            self.there[one.etag] for one in self.remote.values() if not one.is_directory
        }

    def agree(self, path: CloudPath) -> None:
        self.agreed[path] = Agreed(self.local[path], self.remote[path].fileid, self.remote[path].etag)

    def supersede(self, path: CloudPath) -> None:
        """What both had at ``path`` gives way: only that may go."""
        known = self.agreed[path]
        if not known.is_directory:
            self.superseded.add(self.here[known.local.inode])

    def move(self, tree: dict[CloudPath, Any], source: CloudPath, target: CloudPath) -> None:
        assert target not in tree
        for path in [one for one in tree if one == source or nodes.is_below(one, source)]:
            tree[nodes.moved(path, source, target)] = tree.pop(path)

    def act(self, step: steps.Action) -> None:  # noqa: C901 - one case a kind of step
        match step:
            case steps.MoveRemote(source, target, _):
                self.move(self.remote, source, target)
                self.move(self.agreed, source, target)
            case steps.MoveLocal(source, target, _):
                self.move(self.local, source, target)
                self.move(self.agreed, source, target)
            case steps.MakeRemote(path):
                self.remote.setdefault(path, Remote(True, FileId(f"f{self.number()}"), Etag("")))
            case steps.MakeLocal(path):
                self.local.setdefault(path, Local(True, self.number()))
            case steps.Upload(path, local, over):
                assert self.local[path] == local
                assert self.remote.get(path) == over
                if over is not None:
                    self.supersede(path)
                self.write_there(path, self.here[local.inode])
                self.agree(path)
            case steps.Download(path, remote, over_local):
                assert self.remote[path] == remote
                assert self.local.get(path) == over_local
                if over_local is not None:
                    self.supersede(path)
                self.write_here(path, self.there[remote.etag])
                self.agree(path)
            case steps.Reconcile(path, local, remote):
                if self.here[local.inode] != self.there[remote.etag]:
                    self.act(steps.SetAside(path, local))
                    self.write_here(path, self.there[remote.etag])
                self.agree(path)
            case steps.SetAside(path, local):
                aside = nodes.conflict_name(path, "2026-11-23 041500Z", f"{local.inode:08x}")
                self.local[aside] = self.local.pop(path)
                self.agreed.pop(path, None)
            case steps.SetAsideRemote(path, remote):
                aside = nodes.conflict_name(path, "2026-11-23 041500Z", remote.etag.rjust(8, "0"))
                self.remote[aside] = self.remote.pop(path)
            case steps.RemoveRemote(path, remote):
                assert self.remote[path] == remote
                assert not any(nodes.is_below(one, path) for one in self.remote)
                if not remote.is_directory:
                    self.supersede(path)
                del self.remote[path]
                self.agreed.pop(path, None)
            case steps.RemoveLocal(path, local):
                assert self.local[path] == local
                assert not any(nodes.is_below(one, path) for one in self.local)
                if not local.is_directory:
                    self.supersede(path)
                del self.local[path]
                self.agreed.pop(path, None)
            case steps.Agree(path, _, _):
                self.agree(path)
            case steps.Forget(path):
                self.agreed.pop(path, None)
            case steps.Refuse():
                raise AssertionError("everything is permitted here")

    def settle(self, most: int = 8) -> int:
        for rounds in range(most):
            chosen = plan.plan(self.agreed, self.local, self.remote)
            if chosen.is_empty:
                return rounds
            for step in (*chosen.moves, *chosen.makes, *chosen.files, *chosen.removals):
                self.act(step)
        raise AssertionError(f"it does not end: {plan.plan(self.agreed, self.local, self.remote)}")


def remove(tree: dict[CloudPath, Any], path: CloudPath) -> None:
    for one in [one for one in tree if one == path or nodes.is_below(one, path)]:
        del tree[one]


def do(world: World, step: tuple[str, str, CloudPath, CloudPath], content: str) -> None:
    """One thing that a person does on one side, if it can be done there."""
    side, what, path, other = step
    tree: dict[CloudPath, Any] = world.local if side == "here" else world.remote
    is_blocked = any(above in tree and not tree[above].is_directory for above in nodes.ancestors(path))
    if what == "write" and not is_blocked and not (path in tree and tree[path].is_directory):
        world.write_here(path, content) if side == "here" else world.write_there(path, content)
    elif what == "remove":
        remove(tree, path)
    elif what == "move" and path in tree and other not in tree and not nodes.is_below(other, path):
        above = nodes.parent(other)
        if not above or (above in tree and tree[above].is_directory):
            world.move(tree, path, other)


Steps = list[tuple[str, str, CloudPath, CloudPath]]
SIDES = st.sampled_from(["here", "there"])
STEPS = st.lists(
    st.tuples(
        SIDES, st.sampled_from(["write", "write", "remove", "move"]), st.sampled_from(NAMES), st.sampled_from(NAMES)
    ),
    max_size=8,
)


def shape(tree: dict[CloudPath, Any]) -> dict[CloudPath, bool]:
    return {path: one.is_directory for path, one in tree.items()}


@given(STEPS, STEPS)
def test_whatever_happens_on_both_sides_nothing_is_lost_and_both_become_the_same(first: Steps, then: Steps) -> None:
    world = World()
    for done in (first, then):
        for number, step in enumerate(done):
            do(world, step, f"content {world.number()} {number}")
        before = world.contents()
        world.superseded.clear()
        world.settle()
        assert before <= world.contents() | world.superseded
        assert shape(world.local) == shape(world.remote)
        for path, one in world.local.items():
            if not one.is_directory:
                assert world.here[one.inode] == world.there[world.remote[path].etag]


@given(STEPS)
def test_a_settled_world_asks_for_nothing_more(done: Steps) -> None:
    world = World()
    for number, step in enumerate(done):
        do(world, step, f"content {number}")
    world.settle()
    assert world.settle() == 0


def test_a_rename_is_a_move_and_carries_no_content() -> None:
    world = World()
    world.write_here(CloudPath("d/x"), "one")
    world.settle()
    do(world, ("here", "move", CloudPath("d"), CloudPath("e")), "")
    chosen = plan.plan(world.agreed, world.local, world.remote)
    assert [type(step) for step in chosen.moves] == [steps.MoveRemote]
    assert not chosen.files


def test_files_that_go_back_in_time_at_once_look_like_a_restored_server() -> None:
    agreed = {
        CloudPath(f"{n}"): Agreed(Local(False, n, 1, 900_000_000_000), FileId(f"{n}"), Etag("new")) for n in range(5)
    }
    older = {path: Remote(False, one.fileid, Etag("old"), 1, 5) for path, one in agreed.items()}
    newer = {path: replace(one, mtime_s=901) for path, one in older.items()}
    crossed = {path: replace(one, mtime_s=860) for path, one in older.items()}
    assert doubts.looks_restored(agreed, older) == "5 files went back to older versions at once"
    assert doubts.looks_restored(agreed, newer) == ""
    assert doubts.looks_restored(agreed, crossed) == "", "two wrote them within a minute, and the older one came last"
