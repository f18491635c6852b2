# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is in a folder: invited, finding each other without the inviter, read-only, forgotten, gone and back.

What people ask the daemons goes through harp.daemon.answers, and harp.sync.service.dialler finds who is missing.
"""

import concurrent.futures
import os
import time

import pytest

from harp.bridge import model
from tests.integration.office import NAME, Desk, Office, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


def _trio(office: Office) -> tuple[Desk, Desk, Desk]:
    ada, ben = office.pair()
    cyd = office.newcomer(ada, "cyd")
    office.linked(ada, ben, cyd)
    return ada, ben, cyd


def test_two_whom_one_invited_go_on_without_it(office: Office) -> None:
    ada, ben, cyd = _trio(office)
    ada.write("from ada", b"a")
    office.agreed(ada, ben, cyd)
    ada.stop()
    ben.write("from ben", b"b")
    cyd.write("large", os.urandom(3_000_000))
    office.agreed(ben, cyd)
    ada.at("from ada").write_bytes(b"changed while it was down")
    ada.start()
    office.linked(ada, ben, cyd)
    assert len(office.agreed(ada, ben, cyd)) == 3
    assert cyd.read("from ada") == b"changed while it was down"


def test_one_passes_on_what_the_author_is_too_far_away_to_send(office: Office) -> None:
    ada, ben, cyd = _trio(office)
    cyd.stop()
    ada.write("file", b"by ada")
    ada.write("large", content := os.urandom(5_000_000))
    office.agreed(ada, ben)
    ada.stop()
    cyd.start()
    office.agreed(cyd, ben)
    assert cyd.read("large") == content
    cyd.verified()


def test_restarted_members_find_each_other_again(office: Office) -> None:
    ada, ben, cyd = _trio(office)
    for desk in (ada, ben, cyd):
        desk.stop()
    cyd.start()
    ben.start()
    office.linked(ben, cyd)
    ben.write("new", b"n")
    office.agreed(ben, cyd)


def test_nobody_accepts_what_a_read_only_member_writes(office: Office) -> None:
    ada = office.founder()
    ada.write("plan", b"ada's")
    ben = office.newcomer(ada, "ben", read_only=True)
    cyd = office.newcomer(ada, "cyd")
    office.linked(ada, ben, cyd)
    office.agreed(ada, ben, cyd)

    ben.write("own", b"ben's")
    ben.write("plan", b"ben's")
    ben.settled()
    office.agreed(ada, cyd)
    assert ada.tree().keys() == {b"plan"}
    assert cyd.read("plan") == b"ada's"
    status = ben.status()
    assert status.role == "read-only"
    assert status.local_only == 2
    assert {problem.path for problem in status.problems} == {"own", "plan"}
    assert "read" in ben.refuses("resolve", NAME, "plan", "--keep", "both").err

    # The folder's version goes on: it has the name, what was changed here is kept beside it.
    ada.write("plan", b"ada's second")
    until(lambda: ben.at("plan").exists() and ben.read("plan") == b"ada's second", "the folder's version is shown")
    copies = [ben.read(path) for path in ben.tree() if path.startswith(b"plan (conflict")]
    assert copies == [b"ben's"]
    assert ada.tree().keys() == {b"plan"}

    ben.at("own").unlink()
    ada.write("more", b"m")
    ada.settled()
    ben.settled()
    assert ben.read("more") == b"m"


def test_a_read_only_member_may_be_given_more(office: Office) -> None:
    ada = office.founder()
    ben = office.newcomer(ada, "ben", read_only=True)
    ada.write("plan", b"one")
    office.agreed(ada, ben)
    ben.write("own", b"ben's")
    ben.settled()
    ben.do("leave", NAME)
    ben.do("join", ada.invites(), ben.folder, "--merge")
    assert office.agreed(ada, ben).keys() == {b"own", b"plan"}
    assert ben.status().role == "read-write"


def test_a_forgotten_device_gets_nothing_more(office: Office) -> None:
    ada, ben, cyd = _trio(office)
    ada.write("before", b"b")
    office.agreed(ada, ben, cyd)
    gone = ada.ask("forget", "ben")
    assert gone["cut_from"] == [NAME]
    until(lambda: not ada.knows(ben) and not cyd.knows(ben), "nobody is linked to it any more")
    ada.write("after", b"a")
    cyd.write("after too", b"a")
    office.agreed(ada, cyd)

    # It tries to come back, and changes things.
    ben.write("from outside", b"x")
    ben.at("before").unlink()
    ben.stop()
    ben.start()
    ended = ben.wait()
    assert ended.phase is model.Phase.FAILED
    assert not ben.knows(ada)
    assert not ben.knows(cyd)
    assert ben.tree().keys() == {b"from outside"}
    assert office.agreed(ada, cyd).keys() == {b"before", b"after", b"after too"}
    for desk in (ada, cyd):
        desk.stop()
        desk.start()
    office.linked(ada, cyd)
    assert not ada.knows(ben)
    assert office.agreed(ada, cyd).keys() == {b"before", b"after", b"after too"}


def test_a_forgotten_device_may_be_invited_again(office: Office) -> None:
    ada, ben = office.pair()
    ada.write("one", b"1")
    office.agreed(ada, ben)
    ada.do("forget", "ben")
    until(lambda: not ada.knows(ben), "the link is closed")
    ada.write("two", b"2")
    ben.do("leave", NAME)
    ben.do("join", ada.invites(), ben.folder, "--merge")
    assert office.agreed(ada, ben).keys() == {b"one", b"two"}
    ben.write("three", b"3")
    assert office.agreed(ada, ben).keys() == {b"one", b"two", b"three"}


def test_who_leaves_keeps_the_files_and_hears_no_more(office: Office) -> None:
    ada, ben = office.pair()
    ada.write("one", b"1")
    office.agreed(ada, ben)
    ben.do("leave", NAME)
    until(lambda: not ada.knows(ben), "the link is closed")
    ada.write("two", b"2")
    assert ben.tree().keys() == {b"one"}
    assert ben.ask("folders")["folders"] == []
    assert ada.peers() == []


def test_the_last_owner_cannot_leave_the_others_alone(office: Office) -> None:
    ada, ben = office.pair()
    office.agreed(ada, ben)
    refused = ada.refuses("leave", NAME).err
    assert "last owner" in refused
    assert "harp leave NAME --for-all" in refused
    assert "own" in ben.refuses("invite", NAME).err
    assert "own" in ben.refuses("leave", NAME, "--for-all").err
    assert office.agreed(ada, ben) == {}


def test_an_owner_ends_the_sharing_for_all_who_keep_what_they_have(office: Office) -> None:
    ada, ben, cyd = _trio(office)
    ada.write("one", b"1")
    office.agreed(ada, ben, cyd)
    cyd.stop()
    said = ada.do("leave", NAME, "--for-all")
    assert f"its files stay at {ada.folder}" in said
    assert "not told of it: cyd" in said
    until(lambda: "ended the sharing" in ben.status().error, "ben has heard of it")
    assert ben.status().role == "none"
    assert ada.ask("folders")["folders"] == []
    cyd.start()
    for desk in (ben, cyd):
        desk.write(f"of {desk.name}, too late", b"x")
    until(lambda: ben.knows(cyd), "ben and cyd are linked: cyd has not heard of it")
    assert ben.wait().phase is model.Phase.FAILED
    assert ada.tree().keys() == {b"one"}
    assert ben.tree().keys() == {b"one", b"of ben, too late"}
    assert cyd.tree().keys() == {b"one", b"of cyd, too late"}
    ben.do("leave", NAME)
    assert ben.tree().keys() == {b"one", b"of ben, too late"}


# --- joining ----------------------------------------------------------------------------------------------------------


def test_a_ticket_is_good_once(office: Office) -> None:
    ada = office.founder()
    ticket = ada.invites()
    ben, cyd = office.desk("ben").start(), office.desk("cyd").start()
    ben.do("join", ticket, ben.folder)
    assert "used" in cyd.refuses("join", ticket, cyd.folder).err
    assert cyd.ask("folders")["folders"] == []
    assert "already" in ben.refuses("join", ticket, ben.folder.parent / "again").err
    office.agreed(ada, ben)


def test_of_two_who_redeem_one_ticket_at_once_one_gets_in(office: Office) -> None:
    ada = office.founder()
    ticket = ada.invites()
    ben, cyd = office.desk("ben").start(), office.desk("cyd").start()
    with concurrent.futures.ThreadPoolExecutor() as both:
        ended = list(both.map(lambda desk: desk.run("join", ticket, desk.folder), (ben, cyd)))
    assert sorted(said.code == 0 for said in ended) == [False, True]
    (refused,) = [said for said in ended if said.code]
    assert "used" in refused.err
    inside, outside = (ben, cyd) if ended[0].code == 0 else (cyd, ben)
    office.agreed(ada, inside)
    assert [peer.name for peer in ada.peers()] == [inside.name]
    assert outside.ask("folders")["folders"] == []


def test_whoever_had_not_heard_of_a_cut_takes_back_what_it_accepted(office: Office) -> None:
    ada, ben, cyd = _trio(office)
    ada.write("before", b"b")
    office.agreed(ada, ben, cyd)
    cyd.stop()
    ben.stop()
    ada.do("forget", "ben")
    # Neither has heard of it when they meet without Ada.
    ada.stop()
    cyd.start()
    ben.start()
    office.linked(ben, cyd)
    ben.write("after the cut", b"a")
    until(lambda: cyd.at("after the cut").exists(), "Cyd, who cannot know, accepts it")
    ada.start()
    office.linked(ada, cyd)
    assert office.agreed(ada, cyd).keys() == {b"before"}
    trashed = [path for path in cyd.at(".harp/trash").rglob("*") if path.is_file()]
    assert b"a" in [path.read_bytes() for path in trashed], "it lies in the trash"
    assert not cyd.knows(ben)


def test_a_ticket_expires(office: Office) -> None:
    ada = office.founder()
    invitation = ada.ask("invite", NAME, "--expires", "1s")
    ben = office.desk("ben").start()
    until(lambda: time.time() > invitation["expires_at"] + 1, "the clock passes it")
    assert "expired" in ben.refuses("join", invitation["ticket"], ben.folder).err
    assert ben.ask("folders")["folders"] == []
    assert not any(ben.folder.glob("**/*"))


def test_a_mistyped_ticket_is_noticed_before_anything_is_done(office: Office) -> None:
    ada = office.founder()
    ticket = ada.invites()
    ben = office.desk("ben").start()
    middle = len(ticket) // 2
    other = "b" if ticket[middle] == "a" else "a"  # upper case would be no mistake
    for wrong in (ticket[:-1], ticket[:middle] + other + ticket[middle + 1 :], "x"):
        assert "ticket" in ben.refuses("join", wrong, ben.folder).err
        assert not ben.folder.exists()
    ben.do("join", ticket, ben.folder)


def test_a_folder_that_is_not_empty_is_joined_on_request_only(office: Office) -> None:
    ada = office.founder()
    ada.write("equal", content := os.urandom(5_000_000), mtime_ns=1_700_000_000_000_000_000)
    ada.write("differs", b"ada's")
    ada.write("only ada's", b"a")
    ben = office.desk("ben")
    ben.write("equal", content, mtime_ns=1_600_000_000_000_000_000)
    ben.write("differs", b"ben's")
    ben.write("only ben's", b"b")
    before = ben.tree()
    ben.start()
    ticket = ada.invites()
    assert "not empty" in ben.refuses("join", ticket, ben.folder).err
    assert ben.tree() == before
    ben.do("join", ticket, ben.folder, "--merge")
    shared = office.agreed(ada, ben)
    copy = next(path for path in shared if path.startswith(b"differs (conflict"))
    assert shared.keys() == {b"equal", b"differs", copy, b"only ada's", b"only ben's"}
    assert ben.read("differs") == b"ada's"
    assert ada.read(copy) == b"ben's"
    assert shared[b"equal"].mtime_ns == 1_700_000_000_000_000_000
    assert ben.traffic() < 200_000


def test_when_the_inviter_is_away_the_join_says_so(office: Office) -> None:
    ada = office.founder()
    ticket = ada.invites()
    ada.stop()
    ben = office.desk("ben").start()
    assert "reach" in ben.refuses("join", ticket, ben.folder).err
    ada.start()
    ben.do("join", ticket, ben.folder)
    office.agreed(ada, ben)
