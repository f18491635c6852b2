# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of planning: the plan's end is the view, and no prefix of it loses anything."""

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from harp.sync.engine import planner
from harp.sync.engine.merge import Content, PathView, content, view
from harp.sync.model import Action, Applied, Entry, FileKind, Kind, MakeDirectory, Path
from tests.fakes.tree import Tree, directory, head, symlink, tombstone

PATHS = [Path(path) for path in (b"a", b"a/a", b"a/a/a", b"a/b", b"b", b"b/a", b"b.txt", b"c")]
DIRECTORY = Content(Kind.DIRECTORY, 0, b"")


@dataclass(frozen=True)
class World:
    """The heads of every path that has any."""

    heads: dict[Path, tuple[Entry, ...]]

    def view(self, path: Path) -> PathView:
        below = any(self.is_live(other) and other.startswith(path + b"/") for other in self.heads)
        return view(path, self.heads.get(path, ()), lives_below=below)

    def is_live(self, path: Path) -> bool:
        return any(entry.meta.kind is not Kind.TOMBSTONE for entry in self.heads.get(path, ()))

    def shows(self) -> dict[Path, Content]:
        """What a disk has to show."""
        shows: dict[Path, Content] = {}
        for path in PATHS:
            seen = self.view(path)
            if not seen.is_empty:
                shows[path] = content(seen.at_path.meta) if seen.at_path else DIRECTORY
            shows |= {name: content(entry.meta) for name, entry in seen.copies}
        return shows


@st.composite
def worlds(draw: st.DrawFn, era: int = 1) -> World:
    heads: dict[Path, tuple[Entry, ...]] = {}
    for path in draw(st.lists(st.sampled_from(PATHS), unique=True, max_size=6)):
        made = []
        for author in range(1, draw(st.integers(1, 3)) + 1):
            which, hlc = draw(st.integers(0, 9)), draw(st.integers(0, 2))
            held = draw(st.sampled_from([b"", b"one", b"two", b"three"]))
            if which == 0:
                made.append(tombstone(path, author=author, hlc=hlc, sequence=era))
            elif which == 1:
                made.append(directory(path, author=author, hlc=hlc, sequence=era))
            elif which == 2:
                made.append(symlink(path, held or b"x", author=author, hlc=hlc, sequence=era))
            else:
                made.append(
                    head(path, bytes_=held, author=author, hlc=hlc, sequence=era, mtime_ns=which, executable=which > 6)
                )
        heads[path] = tuple(made)
    return World(heads)


def plan_for(world: World, tree: Tree) -> list[Action]:
    """Every path planned as if each had changed."""
    actions: list[Action] = []
    owned = {path for path in world.heads if world.is_live(path)}
    for path in PATHS:
        seen = world.view(path)
        actions += planner.plan(path, seen, tree.nodes.get(path))
        places = {name: node for name, node in tree.nodes.items() if node.copy_of == path}
        actions += planner.plan_copies(path, seen, places, owned)
    return planner.ordered(actions)


def tree_of(world: World) -> Tree:
    tree = Tree()
    tree.apply_all(plan_for(world, tree))
    return tree


@given(worlds(), worlds(era=2))
def test_a_plan_applied_gives_the_view_and_every_step_of_it_can_be_done(old: World, new: World) -> None:
    tree = tree_of(old)
    assert tree.contents() == old.shows()
    outcomes = tree.apply_all(plan_for(new, tree))
    assert all(isinstance(outcome, Applied) for outcome in outcomes)
    assert tree.contents() == new.shows()


@given(worlds(), worlds(era=2))
def test_a_disk_that_shows_the_view_already_is_left_alone(old: World, new: World) -> None:
    tree = tree_of(old)
    tree.apply_all(plan_for(new, tree))
    assert plan_for(new, tree) == []


@given(worlds(), worlds(era=2))
def test_times_and_modes_end_as_the_entries_say(old: World, new: World) -> None:
    tree = tree_of(old)
    tree.apply_all(plan_for(new, tree))
    for path in PATHS:
        seen = new.view(path)
        for place, entry in ((path, seen.at_path), *seen.copies):
            if entry is not None and entry.meta.kind is Kind.FILE:
                stat = tree.nodes[place].stat
                assert (stat.mtime_ns, stat.executable) == (entry.meta.mtime_ns, entry.meta.executable)
                assert tree.nodes[place].applied == (entry.id,)
                assert tree.nodes[place].copy_of == (None if place == path else path)


@given(worlds(), worlds(era=2))
def test_no_prefix_of_a_plan_loses_content(old: World, new: World) -> None:
    tree = tree_of(old)
    before = tree.kept()
    for action in plan_for(new, tree):
        tree.apply(action)
        assert before <= tree.kept()


@given(worlds(), worlds(era=2), st.data())
def test_planning_again_after_a_crash_ends_in_the_same_tree(old: World, new: World, data: st.DataObject) -> None:
    tree = tree_of(old)
    plan = plan_for(new, tree)
    tree.apply_all(plan[: data.draw(st.integers(0, len(plan)))])
    outcomes = tree.apply_all(plan_for(new, tree))
    assert all(isinstance(outcome, Applied) for outcome in outcomes)
    assert tree.contents() == new.shows()


@given(worlds(), worlds(era=2), st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_the_order_of_planning(old: World, new: World, random: object) -> None:
    plan = plan_for(new, tree_of(old))
    shuffled = list(plan)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert planner.ordered(shuffled) == plan


def apply_with_moves(tree: Tree, plan: Sequence[Action]) -> list[object]:
    """As a disk does it: the directories that lead the plan, the renames, the rest."""
    moves, rest = planner.moves(plan)
    lead = 0
    while lead < len(rest) and isinstance(rest[lead], MakeDirectory):
        lead += 1
    outcomes: list[object] = [*tree.apply_all(rest[:lead])]
    outcomes += [tree.move(move) for move in moves]
    return outcomes + list(tree.apply_all(rest[lead:]))


@given(worlds(), worlds(era=2))
def test_moves_end_in_the_same_tree_and_each_can_be_done(old: World, new: World) -> None:
    tree = tree_of(old)
    outcomes = apply_with_moves(tree, plan_for(new, tree))
    assert all(isinstance(outcome, Applied) for outcome in outcomes)
    assert tree.contents() == new.shows()


@given(worlds(), worlds(era=2))
def test_moved_content_is_never_deleted(old: World, new: World) -> None:
    tree = tree_of(old)
    plan = plan_for(new, tree)
    moves, rest = planner.moves(plan)
    apply_with_moves(tree, plan)
    binned = {node.stat.inode for node in tree.trash}
    assert not binned & {move.source.expected.stat.inode for move in moves}
    assert len(rest) + 2 * len(moves) == len(plan)
    assert all(move.source not in rest and move.target not in rest for move in moves)


@given(worlds(), worlds(era=2), st.sets(st.sampled_from(PATHS), min_size=1, max_size=2))
def test_what_this_device_does_not_know_is_never_removed_or_replaced(old: World, new: World, where: set[Path]) -> None:
    tree = tree_of(old)
    tree.foreign = {path for path in where if path not in tree.nodes and has_directory(tree, path)}
    unknown = set(tree.foreign)
    tree.apply_all(plan_for(new, tree))
    assert tree.foreign == unknown
    assert not unknown & set(tree.nodes)
    assert all(has_directory(tree, path) for path in unknown)


def has_directory(tree: Tree, path: Path) -> bool:
    parent = Path(path.rpartition(b"/")[0])
    return not parent or (parent in tree.nodes and tree.nodes[parent].stat.kind is FileKind.DIRECTORY)
