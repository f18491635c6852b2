# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of causes: three replicas agree whatever the links do to the stream of batches."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harp.sync.engine import chain, dag
from harp.sync.model import Batch, Kind, Path, Role
from tests.fakes.history import Replica, device_key, file_draft, incarnation

WHO = st.integers(0, 2)


class ThreeReplicas(RuleBasedStateMachine):
    """Batches travel one by one, in any order, any number of times, or not at all until the end."""

    def __init__(self) -> None:
        super().__init__()
        self.replicas = [Replica(device_key(number), incarnation(number)) for number in (1, 2, 3)]
        self.sent: list[Batch] = []

    @initialize(roles=st.tuples(st.sampled_from(Role), st.sampled_from(Role)))
    def found(self, roles: tuple[Role, Role]) -> None:
        founder, *others = self.replicas
        self.sent.append(founder.found())
        for other, role in zip(others, roles, strict=True):
            self.sent.append(founder.grant(other.device, role))
            other.folder = founder.folder
            other.receive(self.sent[0])

    @rule(who=WHO, contents=st.lists(st.integers(0, 5), min_size=1, max_size=3))
    def write(self, who: int, contents: list[int]) -> None:
        self.sent.append(self.replicas[who].write(*(file_draft(b"%d" % content, content) for content in contents)))

    @rule(who=WHO, whom=WHO, role=st.sampled_from(Role))
    def grant(self, who: int, whom: int, role: Role) -> None:
        self.sent.append(self.replicas[who].grant(self.replicas[whom].device, role, hlc=len(self.sent)))

    @rule(who=WHO, whom=WHO)
    def cut(self, who: int, whom: int) -> None:
        self.sent.append(self.replicas[who].cut(self.replicas[whom].device))

    @rule(who=WHO)
    def leave(self, who: int) -> None:
        self.sent.append(self.replicas[who].leave())

    @rule(who=WHO, which=st.randoms(use_true_random=False), times=st.integers(1, 2))
    def deliver(self, who: int, which: object, times: int) -> None:
        batch = which.choice(self.sent)  # type: ignore[attr-defined]
        for _ in range(times):
            self.replicas[who].receive(batch)

    @rule(who=WHO, whom=WHO, limit=st.integers(1, 4))
    def pull_until_the_link_is_cut(self, who: int, whom: int, limit: int) -> None:
        lacking = [batch for batch in self.replicas[whom].merged if batch not in self.replicas[who].merged]
        self.replicas[who].receive_all(lacking[:limit])

    @precondition(lambda self: self.sent)
    @rule(who=WHO, which=st.randoms(use_true_random=False), how=st.integers(0, 4))
    def forge(self, who: int, which: object, how: int) -> None:
        batch: Batch = which.choice(self.sent)  # type: ignore[attr-defined]
        entry = batch.entries[0]
        stranger = device_key(99)
        forged = [
            replace(batch, signature=stranger.sign(chain.signed_bytes(batch))),
            replace(batch, vector={}),
            replace(batch, author=stranger.device_id),
            replace(batch, entries=(replace(entry, meta=replace(entry.meta, kind=Kind.FILE, path=Path(b"x"))),)),
            chain.sealed(
                stranger,
                batch.folder,
                incarnation(1),
                batch.vector,
                chain.extended(entry.prev, batch.folder, stranger.device_id, incarnation(1), 2, [file_draft(b"x")]),
            ),
        ][how]
        replica = self.replicas[who]
        before = dict(replica.vector), set(replica.entries)
        replica.receive(forged)
        assert (replica.vector, set(replica.entries)) == before

    @invariant()
    def what_is_merged_is_closed_under_causes(self) -> None:
        for replica in self.replicas:
            assert all(dag.covers(replica.vector, batch.vector) for batch in replica.merged)
            reached: dict[object, int] = {}
            for batch in replica.merged:
                assert all(reached.get(chain_id, 0) >= sequence for chain_id, sequence in batch.vector.items())
                reached[batch.chain] = batch.last_sequence
            assert reached == replica.vector
            assert not replica.forks

    def teardown(self) -> None:
        for number, replica in enumerate(self.replicas):
            replica.receive_all(self.sent[number:][::-1] + self.sent[:number])
            assert all(
                isinstance(dag.position(replica.ids[b.chain], b.last_sequence, b), dag.Duplicate) for b in self.sent
            )
        first, *others = self.replicas
        if first.genesis is None:
            return
        for other in others:
            assert other.vector == first.vector
            assert other.entries.keys() == first.entries.keys()
            assert other.ids == first.ids
            assert other.membership().members == first.membership().members
            assert other.counted() == first.counted()


TestThreeReplicas = ThreeReplicas.TestCase


@st.composite
def histories(draw: st.DrawFn) -> tuple[Replica, list[Batch]]:
    """What three devices wrote while they fetched from each other now and then."""
    replicas = [Replica(device_key(number), incarnation(number)) for number in (1, 2, 3)]
    founder = replicas[0]
    sent = [founder.found()]
    for other in replicas[1:]:
        other.join(founder)
    for who, whom in draw(st.lists(st.tuples(WHO, WHO), max_size=30)):
        replicas[who].pull(replicas[whom])
        sent.append(replicas[who].write(file_draft(b"a")))
    reader = Replica(device_key(9), incarnation(9), folder=founder.folder)
    return reader, sent


@given(histories(), st.randoms(use_true_random=False), st.integers(0, 100))
def test_what_can_be_merged_does_not_depend_on_the_order_in_which_it_waits(
    history: tuple[Replica, list[Batch]], chance: object, percent: int
) -> None:
    _, sent = history
    arrived = [batch for batch in sent if chance.random() * 100 < percent]  # type: ignore[attr-defined]
    shuffled = list(arrived)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]

    ready, other_ready = dag.mergeable({}, arrived), dag.mergeable({}, shuffled)

    assert {batch.signature for batch in ready} == {batch.signature for batch in other_ready}
    reached: dict[object, int] = {}
    for batch in other_ready:
        assert all(reached.get(chain_id, 0) >= sequence for chain_id, sequence in batch.vector.items())
        assert batch.first_sequence == reached.get(batch.chain, 0) + 1
        reached[batch.chain] = batch.last_sequence
    left = [batch for batch in arrived if batch not in ready]
    assert not any(dag.covers(reached, batch.vector) for batch in left)  # type: ignore[arg-type]


@given(histories(), st.randoms(use_true_random=False))
def test_any_order_gives_the_same_set(history: tuple[Replica, list[Batch]], chance: object) -> None:
    reader, sent = history
    doubled = sent * 2
    chance.shuffle(doubled)  # type: ignore[attr-defined]
    reader.receive_all(doubled)

    assert {batch.signature for batch in reader.merged} == {batch.signature for batch in sent}
    assert reader.waiting == []


@given(st.integers(1, 6), st.integers(0, 12), st.integers(1, 6), st.integers(1, 12))
def test_position_tells_new_from_known_from_gap_from_fork(first: int, last: int, length: int, branch: int) -> None:
    author = Replica(device_key(1))
    author.found()
    assert author.folder
    drafts = [file_draft(b"a", number) for number in range(1, 20)]
    whole = chain.extended(author.ids[author.chain][1], author.folder, author.device, author.incarnation, 2, drafts)
    other = [*drafts[: max(branch - 2, 0)], file_draft(b"branch"), *drafts]
    forked = chain.extended(author.ids[author.chain][1], author.folder, author.device, author.incarnation, 2, other)
    known = {
        entry.meta.sequence: entry.id for entry in (author.merged[0].entries[0], *whole) if entry.meta.sequence <= last
    }
    first += 1

    def sealed(entries: tuple[object, ...]) -> Batch:
        chosen = entries[first - 2 : first - 2 + length]
        assert author.folder
        return chain.sealed(author.key, author.folder, author.incarnation, {}, chosen)  # type: ignore[arg-type]

    batch, forked_batch = sealed(whole), sealed(forked)
    position = dag.position(known, last, batch)
    if first > last + 1:
        assert position == dag.Gap(last + 1, first - 1)
    elif batch.last_sequence <= last:
        assert position == dag.Duplicate()
    else:
        assert isinstance(position, dag.Extends)
        assert [entry.meta.sequence for entry in position.new] == list(range(last + 1, batch.last_sequence + 1))
    split_at = max(branch, 2)
    if first <= last + 1 and split_at <= min(last, forked_batch.last_sequence):
        assert dag.position(known, last, forked_batch) == dag.Fork(max(split_at, first - 1))
    assert dag.fork_sequence(dag.ForkProof(batch, forked_batch)) == (
        split_at if first <= split_at <= batch.last_sequence else None
    )


vectors = st.dictionaries(st.sampled_from("abc"), st.integers(0, 3))


@given(vectors, vectors, vectors)
def test_vectors_are_a_lattice(a: dict[str, int], b: dict[str, int], c: dict[str, int]) -> None:
    join = dag.joined
    assert join(a, b) == join(b, a)  # type: ignore[arg-type]
    assert join(join(a, b), c) == join(a, join(b, c))  # type: ignore[arg-type]
    assert dag.covers(join(a, b), a)  # type: ignore[arg-type]
    assert dag.covers(a, b) == (dag.missing(b, a) == {})  # type: ignore[arg-type]
    if dag.covers(c, a) and dag.covers(c, b):  # type: ignore[arg-type]
        assert dag.covers(c, join(a, b))  # type: ignore[arg-type]
