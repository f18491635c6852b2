# SPDX-License-Identifier: AGPL-3.0-or-later
"""A Nextcloud of two web nodes: the daemon is beside one of them, and hears of what is saved through the other."""

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harp.bridge import model
from harp.cli.client import at
from tests.e2e import database, node
from tests.e2e.cloud import WEB_USER, Cloud, Person, as_web_user
from tests.e2e.node import Node
from tests.integration.office import INSTALLED, Desk, Office, until
from tests.integration.office import opened as office_opened

pytestmark = pytest.mark.skipif(bool(node.why_not()), reason=node.why_not())

EVERY_S = 2.0
"""What the how-to names for ``journal_poll_s``."""
ROUNDS = 8
REST_S = 3.0
"""After which a mirror looks again only when it is told to: what it wrote itself has been looked at."""


class Nodes:
    """``near`` has the daemon ``hub`` beside it, ``far`` has not; anna's and ben's Documents are mirrored."""

    def __init__(self, near: Cloud, far: Node, hub: Desk) -> None:
        self.near, self.far, self.hub = near, far, hub
        self.anna, self.ben = near.person("nora"), near.person("nils")

    def place(self, person: Person) -> Path:
        """Where the hub keeps that person's folder."""
        status = self.hub.client.get(at("status"), model.Status)
        return next(Path(one.location) for one in status.folders if one.location.endswith(f"/{person.name}s"))

    def saves(self, through: Cloud, person: Person, name: str, content: bytes) -> float:
        """Through one of the nodes; how long (s) after its answer the hub has it."""
        path = self.place(person) / name
        through.dav(person, "PUT", f"files/{person.name}/{person.name}s/{name}", content)
        answered = time.monotonic()
        until(lambda: path.exists() and path.read_bytes() == content, f"the hub has {name}", 30)
        return time.monotonic() - answered

    def mark(self) -> dict[str, int]:
        said = self.near.request(self.anna, "GET", "/ocs/v2.php/apps/harpbridge/api/v1/journal/mark?format=json")
        found: dict[str, int] = json.loads(said)["ocs"]["data"]
        return found

    def rows(self, since: int) -> list[dict[str, Any]]:
        """Of anna's files, as her devices are told."""
        path = f"/ocs/v2.php/apps/harpbridge/api/v1/journal?since={since}&limit=1000&format=json"
        found: list[dict[str, Any]] = json.loads(self.near.request(self.anna, "GET", path))["ocs"]["data"]["rows"]
        return found

    def checks(self, on: Cloud) -> dict[str, dict[str, Any]]:
        _, said = on.occ_tried("harpbridge:self-test", "--output=json")
        return {check["name"]: check for check in json.loads(said)["checks"]}


@pytest.fixture(scope="module")
def nodes(harpbridge: Cloud) -> Iterator[Nodes]:
    place = Path(tempfile.mkdtemp(prefix="harp-nodes-"))
    place.chmod(0o755)
    sockets = place / "run"
    sockets.mkdir()
    with office_opened(place) as office:
        hub = _hub(office, sockets)
        harpbridge.occ_tried(
            "harpbridge:setup",
            f"--bridge-socket={sockets}/bridge.sock",
            f"--control-socket={hub.home}/harp.sock",
            f"--nextcloud-url={harpbridge.url}",
        )
        with node.opened(harpbridge, sockets, hub.home) as far:
            made = Nodes(harpbridge, far, hub)
            for person in (made.anna, made.ben):
                harpbridge.dav(person, "MKCOL", f"files/{person.name}/{person.name}s")
                harpbridge.occ("harpbridge:pair", person.name, f"/{person.name}s")
                made.saves(harpbridge, person, "first", b"before all")
            yield made
        for key in ("control_socket", "bridge_socket", "nextcloud_url"):
            harpbridge.occ("config:app:delete", "harpbridge", key)
    shutil.rmtree(place, ignore_errors=True)


def _hub(office: Office, sockets: Path) -> Desk:
    # Without harpbridge it would notice anything ten minutes later.
    settings = {"account_poll_s": "600", "journal_poll_s": f"{EVERY_S}"}
    hub = office.desk("hub", bridge_socket=f"{sockets}/bridge.sock", **settings)
    hub.home.mkdir(mode=0o700)
    hub.program = (*as_web_user(), *INSTALLED)
    for path in (hub.home, sockets):
        shutil.chown(path, WEB_USER, WEB_USER)
    return hub.start()


def test_what_is_saved_through_the_node_without_the_daemon_is_there_by_the_journal(nodes: Nodes) -> None:
    near, far = [], []
    for number in range(ROUNDS):
        near.append(nodes.saves(nodes.near, nodes.anna, f"near-{number}", b"by the socket"))
        time.sleep(REST_S + number * EVERY_S / ROUNDS)
        far.append(nodes.saves(nodes.far, nodes.anna, f"far-{number}", b"by the journal"))
    for name, took in (("beside the daemon", near), ("without it", far)):
        print(
            f"saved through the node {name}, {database.title()}: median {statistics.median(took):.2f} s,"
            f" {min(took):.2f} to {max(took):.2f} s"
        )
    assert statistics.median(near) < EVERY_S / 2
    assert max(far) < EVERY_S + 3.0


@contextlib.contextmanager
def _held(cloud: Cloud, person: Person, name: str) -> Iterator[subprocess.Popen[str]]:
    """A file of theirs that is written, and in the journal, in a transaction that commits when it is told to."""
    program = """
        require_once 'lib/base.php'; \\OC_App::loadApps(); \\OC_User::setUserId($argv[1]);
        $database = \\OCP\\Server::get(\\OCP\\IDBConnection::class);
        $folder = \\OCP\\Server::get(\\OCP\\Files\\IRootFolder::class)->getUserFolder($argv[1])->get("$argv[1]s");
        $database->beginTransaction();
        $folder->newFile($argv[2], 'committed late');
        \\OCP\\Server::get(\\OCA\\HarpBridge\\Hooks::class)->atEndOfRequest();
        echo "written\\n";
        fgets(STDIN);
        $database->commit();
    """
    running = subprocess.Popen(
        [*as_web_user(), "php", "-d", "memory_limit=512M", "-r", program, "--", person.name, name],
        cwd=cloud.tree,
        env={"PATH": os.environ["PATH"], "NEXTCLOUD_CONFIG_DIR": str(cloud.scratch / "config")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


@pytest.mark.skipif(database.chosen() == "sqlite", reason="SQLite has one writer at a time: NEXTCLOUD_DATABASE=pgsql")
def test_rows_that_are_committed_behind_a_greater_id_are_not_missed(nodes: Nodes) -> None:
    late = nodes.place(nodes.anna) / "late"
    before = nodes.mark()["newest"]
    with _held(nodes.near, nodes.anna, "late") as session:
        assert session.stdout is not None
        assert session.stdout.readline() == "written\n"
        nodes.saves(nodes.far, nodes.ben, "meanwhile", b"from ben")
        time.sleep(2 * EVERY_S)
        between = nodes.mark()
        assert not late.exists()
        assert nodes.rows(before) == []
        session.communicate("commit\n")
        committed = time.monotonic()
        until(late.exists, "the hub has the file that was committed late", 30)
        print(f"committed behind a greater id, {database.title()}: {time.monotonic() - committed:.2f} s")
    after = nodes.mark()
    assert after["newest"] == between["newest"], "the late row is not the last one"
    assert after["recent"] > between["recent"]
    [row] = [row for row in nodes.rows(before) if row["path"].endswith("/late")]
    assert before < row["id"] < between["newest"], "who reads on from the cursor alone would miss it"


def test_the_self_test_is_content_on_both_nodes_while_the_daemon_reads(nodes: Nodes) -> None:
    near, far = nodes.checks(nodes.near), nodes.checks(nodes.far)
    assert near["bridge socket"]["text"].endswith("takes datagrams")
    assert "on another one, and read the journal" in far["bridge socket"]["text"]
    assert "requests with harpbridge in their path" in far["daemon"]["text"]
    for checks in (near, far):
        assert [checks[name]["ok"] for name in ("bridge socket", "daemon")] == [True, True]
    _, lines = nodes.far.occ_tried("setupchecks", "--output=json")  # what checks of others write to the log comes first
    said = json.loads(lines.splitlines()[-1])
    assert {one["severity"] for one in said["harpbridge"].values()} == {"success"}


def test_without_a_daemon_that_reads_each_node_says_what_to_do(nodes: Nodes) -> None:
    nodes.hub.freeze()
    try:
        nodes.near.occ("config:app:set", "harpbridge", "read_at", "--value=1", "--type=integer", "--lazy")
        check = nodes.checks(nodes.far)["bridge socket"]
        assert not check["ok"]
        assert "journal_poll_s" in check["remedy"]
    finally:
        nodes.hub.thaw()
    until(lambda: nodes.checks(nodes.far)["bridge socket"]["ok"], "it reads again")


def test_the_pages_work_on_either_node_where_harpbridges_paths_lead_to_the_daemon(nodes: Nodes) -> None:
    path = "/ocs/v2.php/apps/harpbridge/api/v1/folders?format=json"
    leads = f"""
    location ~ harpbridge {{
      proxy_pass {nodes.near.url};
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
    }}
    """
    with pytest.raises(urllib.error.HTTPError) as refused:
        nodes.far.request(nodes.anna, "GET", path)
    with refused.value as answer:
        assert (answer.code, b"cannot be reached" in answer.read()) == (502, True)
    with nodes.far.led_to(leads, "harpbridge"):
        said = json.loads(nodes.far.request(nodes.anna, "GET", path))["ocs"]["data"]["folders"]
        assert [one["path"] for one in said] == ["/noras"]
        page = nodes.far.request(nodes.anna, "GET", "/index.php/settings/user/harpbridge")
        assert b'<p class="harpbridge-said" role="status"></p>' in page
