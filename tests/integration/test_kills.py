# SPDX-License-Identifier: AGPL-3.0-or-later
"""``kill -9`` at random moments, over and over, during steady changes: nothing is lost, and all is well afterwards."""

import hashlib
import os
import random
import shutil
import threading
import time

import pytest

from tests.integration.office import Desk, Office

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(400)]

SEED = int(os.environ.get("HARP_TEST_SEED", "20261123"))
ROUNDS = int(os.environ.get("HARP_TEST_KILLS", "5"))


class Scribe:
    """Changes files in one desk's own corner of the folder until told to stop; knows what must be there then."""

    def __init__(self, desk: Desk, seed: int) -> None:
        self._thread = threading.Thread(target=self._run, name=f"scribe of {desk.name}", daemon=True)
        self._desk = desk
        self._random = random.Random(seed)
        self._ending = threading.Event()
        self.written: dict[str, str] = {}

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(0.01):
            path = f"{self._desk.name}/{self._random.randrange(5)}/{self._random.randrange(12)}"
            what = self._random.random()
            if what < 0.1 and path in self.written:
                self._delete(path)
            elif what < 0.2 and path in self.written:
                self._rename(path)
            else:
                self._write(path, self._random.choice((0, 10, 5_000, 80_000, 1_500_000)))

    def _write(self, path: str, size: int) -> None:
        content = self._random.randbytes(size)
        self._desk.write(path, content)
        self.written[path] = hashlib.sha256(content).hexdigest()

    def _delete(self, path: str) -> None:
        self._desk.at(path).unlink()
        del self.written[path]

    def _rename(self, path: str) -> None:
        new = path + " renamed"
        self._desk.at(path).rename(self._desk.at(new))
        self.written[new] = self.written.pop(path)


def test_killed_at_random_moments_nothing_is_lost(office: Office) -> None:
    print(f"HARP_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    # The scribes delete a good part of the folder each minute: that is not what this is about.
    ada, ben = office.pair(guard_files="1000000")
    scribes = [Scribe(desk, SEED + number) for number, desk in enumerate((ada, ben))]
    for scribe in scribes:
        scribe.start()
    for _ in range(ROUNDS):
        time.sleep(chance.uniform(0.05, 1.5))
        victims = chance.choice([(ada,), (ben,), (ada, ben)])
        for victim in victims:
            victim.kill()
        time.sleep(chance.uniform(0.0, 0.3))
        for victim in victims:
            victim.start()
    for scribe in scribes:
        scribe.end()
    office.linked(ada, ben)
    office.agreed(ada, ben)
    for desk in (ada, ben):
        desk.verified()
        for scribe in scribes:
            found = {path: hashlib.sha256(desk.read(path)).hexdigest() for path in scribe.written}
            assert found == scribe.written
    # Each wrote in a corner of its own, so there is nothing to be in conflict about.
    own = {os.fsencode(path) for scribe in scribes for path in scribe.written}
    files = {path for path, item in ada.tree().items() if item.kind == "file"}
    assert files == own
    for desk in (ada, ben):
        assert desk.status().conflicts == 0


def test_killed_in_the_middle_of_a_large_transfer_it_goes_on(office: Office) -> None:
    ada = office.founder()
    ada.write("large", content := random.Random(SEED).randbytes(60_000_000))
    ben = office.newcomer(ada, "ben")
    for victim in (ben, ada, ben):
        time.sleep(0.15)
        victim.kill()
        victim.start()
    office.linked(ada, ben)
    office.agreed(ada, ben)
    assert ben.read("large") == content
    ben.verified()
    leftovers = os.listdir(ben.folder / ".harp" / "tmp") if (ben.folder / ".harp" / "tmp").is_dir() else []
    assert leftovers == []


def test_killed_while_a_tree_is_moved_back_and_forth(office: Office) -> None:
    ada, ben = office.pair(guard_files="1000000")
    for number in range(200):
        ada.write(f"tree/{number % 7}/{number}", b"%d" % number)
    before = office.agreed(ada, ben)
    for number in range(4):
        ada.at("tree").rename(ada.at("moved"))
        time.sleep(0.05 * number)
        ben.kill()
        ben.start()
        ada.at("moved").rename(ada.at("tree"))
        ada.kill()
        ada.start()
    office.linked(ada, ben)
    assert office.agreed(ada, ben) == before
    shutil.rmtree(ada.folder / "tree" / "3")
    office.agreed(ada, ben)
    ada.verified()
    ben.verified()
