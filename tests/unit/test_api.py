# SPDX-License-Identifier: AGPL-3.0-or-later
"""The API's rules, with a fake daemon behind it: who may ask what, how errors look, what a stream does.

Each request of harp.bridge.requests, harp.bridge.accountview, harp.bridge.browsing and harp.bridge.proxyview is made
once, by the table at the end; the routes are those of harp.bridge.accountroutes and harp.bridge.browseroutes too.
"""

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from harp.base.errors import CorruptStore, FolderError, LinkError, TrustError, UsageError
from harp.base.runtime import Tasks
from harp.bridge import api, browsing, model
from harp.bridge import caller as callers
from harp.bridge.caller import Caller, LocalUser, NextcloudUser, Verb
from harp.bridge.daemonport import Daemon
from harp.bridge.naming import path_fields
from harp.bridge.route import Lines, Route
from harp.bridge.routes import ROUTES
from tests.fakes.daemon import BOB, ENTRY, HOSTILE_NAME, NOTES, PHOTOS, FakeDaemon

Client = TestClient[web.Request, web.Application]
OWNER = LocalUser(1000)
CAROL = NextcloudUser("carol", frozenset({PHOTOS}))
GUEST: dict[str, object] = {"user": "carol", "is_admin": False, "folders": [PHOTOS], "entry": "/enter"}


def as_daemon(fake: FakeDaemon) -> Daemon:
    """The fake is what the port asks for: the type checker says so."""
    return fake


class House:
    """A fake daemon, a client of its API, and who that client is."""

    def __init__(self, daemon: FakeDaemon, client: Client) -> None:
        self.daemon = daemon
        self.client = client
        self.caller: Caller = OWNER

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        data = None if body is None else json.dumps(body).encode()
        async with self.client.request(method, path, data=data) as response:
            answer = await response.json()
            assert isinstance(answer, dict)
            return response.status, answer


@pytest.fixture
async def house() -> AsyncIterator[House]:
    daemon = FakeDaemon()
    houses: list[House] = []

    def identify(_: web.Request) -> Caller:
        return houses[0].caller

    async with Tasks("test") as tasks:
        app = api.application(as_daemon(daemon), tasks, identify, lambda accepted, text: f"{accepted}: {text}")
        server = TestServer(app)
        async with TestClient(server) as client:
            houses.append(House(daemon, client))
            yield houses[0]


async def test_a_status_is_everything_the_daemon_says(house: House) -> None:
    status, answer = await house.ask("GET", "/v1/status")
    assert status == 200
    folders = answer["folders"]
    assert isinstance(folders, list)
    assert [folder["name"] for folder in folders] == ["Photos", "Notes"]
    problem = folders[0]["problems"][0]
    assert problem["path"] == "bad\\x1b[2J\\xff\\nname.txt"
    assert problem["path_b64"] == path_fields(HOSTILE_NAME)["path_b64"]


async def test_who_names_a_language_is_answered_in_it(house: House) -> None:
    async with house.client.get("/v1/status", headers={"Accept-Language": "de"}) as response:
        folder = (await response.json())["folders"][0]
    assert folder["problems"][0] == {**path_fields(HOSTILE_NAME), "why": "de: permission denied"}
    assert folder["name"] == "Photos"
    async with house.client.get("/v1/nothing", headers={"Accept-Language": "de"}) as response:
        refused = await response.json()
    assert (refused["error"], refused["message"]) == ("de: UsageError", "de: GET /v1/nothing: Not Found")
    _, plain = await house.ask("GET", "/v1/nothing")
    assert plain["message"] == "GET /v1/nothing: Not Found"


@pytest.mark.parametrize("reference", ["Photos", PHOTOS, "aaaa"])
async def test_a_folder_is_named_by_name_id_or_prefix_and_reaches_the_daemon_as_its_id(
    house: House, reference: str
) -> None:
    status, answer = await house.ask("POST", f"/v1/folders/{reference}/pause")
    assert (status, answer) == (200, {"message": "paused"})
    assert house.daemon.calls == [("pause", PHOTOS)]


async def test_a_name_of_any_characters_fits_into_the_path(house: House) -> None:
    house.daemon.names[PHOTOS] = "Büro / 100 %?#"
    status, _ = await house.ask("POST", "/v1/folders/B%C3%BCro%20%2F%20100%20%25%3F%23/resume")
    assert status == 200
    assert house.daemon.calls == [("resume", PHOTOS)]


async def test_a_path_that_is_not_text_reaches_the_daemon_as_its_bytes(house: House) -> None:
    body = {**path_fields(HOSTILE_NAME), "entry": ENTRY}
    status, _ = await house.ask("POST", "/v1/folders/Photos/restore", body)
    assert status == 200
    assert house.daemon.calls == [("restore", PHOTOS, HOSTILE_NAME, ENTRY)]


async def test_a_query_is_as_good_as_a_body_for_what_is_read(house: House) -> None:
    _, answer = await house.ask("GET", "/v1/folders/Photos/history?path=a.txt")
    versions = answer["versions"]
    assert isinstance(versions, list)
    assert [version["entry"] for version in versions] == [ENTRY, "e2" * 32]
    _, answer = await house.ask("GET", "/v1/folders/Photos/history?path_b64=YS50eHQ%3D")
    assert answer["versions"] == versions


async def test_a_folder_that_is_not_there_is_an_error_with_a_way_out(house: House) -> None:
    status, answer = await house.ask("POST", "/v1/folders/Musik/pause")
    assert status == 400
    assert answer == {
        "error": "UsageError",
        "message": "no folder Musik here",
        "hint": "shared here: Notes, Photos",
        "exit_code": 2,
    }
    assert house.daemon.calls == []


@pytest.mark.parametrize(
    ("error", "status", "exit_code"),
    [
        (TrustError("no"), 403, 5),
        (FolderError("no"), 409, 7),
        (LinkError("no"), 502, 8),
        (CorruptStore("no"), 503, 6),
    ],
)
async def test_each_class_of_error_has_its_status_and_exit_code(
    house: House, error: Exception, status: int, exit_code: int
) -> None:
    house.daemon.fails = error
    answered, answer = await house.ask("GET", "/v1/device")
    assert (answered, answer["error"], answer["exit_code"]) == (status, type(error).__name__, exit_code)


async def test_hostile_text_in_an_error_is_made_printable(house: House) -> None:
    house.daemon.fails = FolderError("bad \x1b[2J \udcff", hint="\n")
    _, answer = await house.ask("GET", "/v1/device")
    assert (answer["message"], answer["hint"]) == ("bad \\x1b[2J \\xff", "\\n")


async def test_a_defect_is_logged_and_not_told(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.daemon.fails = ZeroDivisionError("the secret is 42")
    status, answer = await house.ask("GET", "/v1/device")
    assert status == 500
    assert "42" not in json.dumps(answer)
    assert "the secret is 42" in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/folders", {}),
        ("POST", "/v1/folders", {"path": 7}),
        ("POST", "/v1/folders", {"path": "relative"}),
        ("POST", "/v1/folders", {"path": "/a", "path_b64": "!"}),
        ("POST", "/v1/folders", {"path": "/nul\0"}),
        ("POST", "/v1/folders", ["a list"]),
        ("POST", "/v1/folders/Photos/invitations", {"expires_s": 0}),
        ("POST", "/v1/folders/Photos/invitations", {"expires_s": 1e12}),
        ("POST", "/v1/folders/Photos/invitations", {"read_only": "yes"}),
        ("POST", "/v1/folders/Photos/restore", {"path": "a"}),
        ("PUT", "/v1/config/colour", {"value": "red"}),
        ("GET", "/v1/config/colour", None),
    ],
)
async def test_what_is_not_understood_is_refused(house: House, method: str, path: str, body: object) -> None:
    status, answer = await house.ask(method, path, body)
    assert (status, answer["error"], answer["exit_code"]) == (400, "UsageError", 2)
    assert not {call[0] for call in house.daemon.calls} & {"share", "invite", "restore"}


async def test_a_body_that_is_no_json_is_refused(house: House) -> None:
    for body in (b"{", b"\xff\xfe", b'{"path": "\\ud800"}'):
        async with house.client.post("/v1/folders", data=body) as response:
            assert response.status == 400


async def test_a_body_without_end_is_refused(house: House) -> None:
    async with house.client.post("/v1/folders", data=io.BytesIO(b" " * (api.MAX_BODY_BYTES + 1))) as response:
        assert response.status == 413
        assert (await response.json())["error"] == "UsageError"


async def test_what_there_is_not_is_an_error_of_the_same_form(house: House) -> None:
    status, answer = await house.ask("GET", "/v1/nothing")
    assert (status, answer["message"]) == (404, "GET /v1/nothing: Not Found")
    status, answer = await house.ask("DELETE", "/v1/device")
    assert (status, answer["error"]) == (405, "UsageError")


async def test_health_readiness_and_metrics_are_plain_text(house: House) -> None:
    async with house.client.get("/healthz") as response:
        assert (response.status, await response.text()) == (200, "ok\n")
    async with house.client.get("/readyz") as response:
        assert response.status == 200
    house.daemon.ready = False
    async with house.client.get("/readyz") as response:
        assert response.status == 503
    async with house.client.get("/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "harp_files_total 3" in await response.text()


# --- streams ----------------------------------------------------------------------------------------------------------


async def lines_of(house: House, path: str, body: object) -> list[dict[str, object]]:
    async with house.client.post(path, data=json.dumps(body).encode()) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/x-ndjson"
        return [json.loads(line) for line in (await response.read()).splitlines()]


async def test_a_wait_is_told_line_by_line(house: House) -> None:
    lines = await lines_of(house, "/v1/folders/Photos/wait", {"timeout_s": 5})
    assert [line["phase"] for line in lines] == ["scanning", "syncing", "done"]
    assert house.daemon.calls == [("wait", PHOTOS, 5.0)]


async def test_a_wait_that_is_refused_at_once_has_a_status(house: House) -> None:
    house.daemon.progress = [FolderError("the folder is stopped")]
    status, answer = await house.ask("POST", "/v1/folders/Photos/wait", {})
    assert (status, answer["error"]) == (409, "FolderError")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(FolderError("the disk\nis gone"), "the disk\\nis gone"), (ZeroDivisionError("42"), "something went wrong")],
)
async def test_a_wait_that_fails_on_the_way_ends_with_a_line_that_says_so(
    house: House, error: Exception, reason: str
) -> None:
    house.daemon.progress[2] = error
    lines = await lines_of(house, "/v1/folders/Photos/wait", {})
    assert [line["phase"] for line in lines] == ["scanning", "syncing", "failed"]
    assert str(lines[-1]["reason"]).startswith(reason)
    assert "42" not in json.dumps(lines)


# --- callers ----------------------------------------------------------------------------------------------------------


async def test_a_nextcloud_user_sees_their_folders_and_who_shares_them_only(house: House) -> None:
    house.caller = CAROL
    _, status = await house.ask("GET", "/v1/status")
    text = json.dumps(status)
    assert "Photos" in text
    assert BOB in text
    for hidden in (NOTES, "Notes", "EVEEVEE", "10.0.0.2", "connection refused", "0.0.0.0", "inotify"):
        assert hidden not in text
    _, folders = await house.ask("GET", "/v1/folders")
    assert NOTES not in json.dumps(folders)
    _, peers = await house.ask("GET", "/v1/peers")
    assert "EVEEVEE" not in json.dumps(peers)
    _, device = await house.ask("GET", "/v1/device")
    assert (device["name"], device["home"], device["listen"]) == ("alice", "", "")


async def test_a_folder_of_others_and_one_that_is_not_there_look_alike(house: House) -> None:
    house.caller = CAROL
    others = await house.ask("GET", "/v1/folders/Notes/conflicts")
    nowhere = await house.ask("GET", "/v1/folders/Musik/conflicts")
    assert others == nowhere
    assert others[0] == 400
    assert house.daemon.calls == []


async def test_a_nextcloud_user_works_with_a_folder_and_manages_none(house: House) -> None:
    house.caller = CAROL
    assert (await house.ask("POST", "/v1/folders/Photos/rescan"))[0] == 200
    for route in ROUTES:
        if route.verb is Verb.MANAGE:
            path = route.path.format(
                folder="Photos",
                held="h1",
                device=BOB,
                key="listen",
                client="10.0.0.9",
                container="nc_app_x",
                account="work",
            )
            body = {
                "path": "/x",
                "ticket": "harp1",
                "value": "x",
                "name": "x",
                "url": "x",
                "user": "x",
                "password": "x",
                **GUEST,
            }
            status, answer = await house.ask(route.method, path, None if route.method == "GET" else body)
            assert (status, answer["error"]) == (403, "TrustError"), route.path
    assert house.daemon.calls == [("rescan", PHOTOS)]


async def test_a_folder_of_an_account_is_shared_by_the_same_route(house: House) -> None:
    status, _ = await house.ask("POST", "/v1/folders", {"account": "work", "path": "/Documents"})
    assert status == 200
    asked = {"account": "work", "path": "/Documents", "name": "Papers", "place": "/srv/papers", "merge": True}
    assert (await house.ask("POST", "/v1/folders", asked))[0] == 200
    assert house.daemon.calls == [
        ("share_account", "work", "/Documents", None, None, False),
        ("share_account", "work", "/Documents", "Papers", Path("/srv/papers"), True),
    ]
    assert (await house.ask("POST", "/v1/folders", asked | {"place": "papers"}))[0] == 400


async def test_a_nextcloud_user_is_told_of_changes_in_their_folders_only(house: House) -> None:
    house.caller = CAROL
    async with house.client.get("/v1/events") as response:
        events = [json.loads(line) for line in (await response.read()).splitlines()]
    assert [event["folders"] for event in events] == [[PHOTOS]] * 3


@pytest.mark.parametrize("query", ["files?limit=0", "files?limit=1001", "changes?limit=-1", "content?offset=-1"])
async def test_a_list_has_a_bound(house: House, query: str) -> None:
    status, answer = await house.ask("GET", f"/v1/folders/Photos/{query}")
    assert (status, answer["error"]) == (400, "UsageError")
    assert house.daemon.calls == []


async def test_a_caller_who_is_nobody_is_refused(house: House) -> None:
    def nobody(_: web.Request) -> Caller:
        raise TrustError("this daemon answers only to its own user")

    async with Tasks("test") as tasks:
        app = api.application(house.daemon, tasks, nobody)
        async with TestClient(TestServer(app)) as client, client.get("/v1/device") as response:
            assert response.status == 403
    assert house.daemon.calls == []


async def test_a_nextcloud_user_does_not_learn_where_a_folder_lies(house: House) -> None:
    for path in ("/v1/status", "/v1/folders"):
        house.caller = OWNER
        told = (await house.ask("GET", path))[1]["folders"]
        assert isinstance(told, list)
        assert all(folder["location"] for folder in told)
        house.caller = CAROL
        told = (await house.ask("GET", path))[1]["folders"]
        assert isinstance(told, list)
        assert [(folder["id"], folder["location"]) for folder in told] == [(PHOTOS, "")]


async def test_nor_does_an_error_tell_a_nextcloud_user(house: House) -> None:
    said = "/home/alice/x is not the folder Photos: its marker is missing"
    house.daemon.error = said
    trouble = FolderError(said, hint="look at /home/alice/x")
    for caller, message in ((CAROL, "Photos is not the folder Photos: its marker is missing"), (OWNER, said)):
        house.caller = caller
        photos = (await house.ask("GET", "/v1/folders"))[1]["folders"][0]
        assert photos["error"] == message
        house.daemon.fails = trouble
        answer = (await house.ask("GET", "/v1/folders/Photos/changes"))[1]
        assert (answer["error"], answer["message"]) == ("FolderError", message)
        assert ("/home/alice" in str(answer["hint"])) == (caller is OWNER)
        house.daemon.progress = [model.Progress(phase=model.Phase.VERIFYING), trouble]
        async with house.client.post("/v1/folders/Photos/verify") as lines:
            assert json.loads((await lines.text()).splitlines()[-1])["reason"] == message


def test_who_may_do_everything_may_ask_for_one_who_may_not() -> None:
    assert callers.of_request(1000, None) == OWNER
    assert callers.of_request(1000, json.dumps({"name": "carol", "folders": [PHOTOS]})) == CAROL
    for wrong in ("", "carol", "{}", '{"name": "carol"}', '{"name": "carol", "folders": 1}'):
        with pytest.raises(UsageError, match="Harp-For"):
            callers.of_request(1000, wrong)


def test_what_callers_may() -> None:
    assert all(OWNER.may(folder, verb) for folder in (None, PHOTOS) for verb in Verb)
    assert CAROL.may(PHOTOS, Verb.READ)
    assert CAROL.may(PHOTOS, Verb.CHANGE)
    assert not CAROL.may(PHOTOS, Verb.MANAGE)
    assert not CAROL.may(NOTES, Verb.READ)
    assert not CAROL.may("", Verb.READ)
    assert CAROL.may(None, Verb.READ)
    assert not CAROL.may(None, Verb.CHANGE)


# --- the table --------------------------------------------------------------------------------------------------------

CALLS: dict[str, tuple[object, ...]] = {
    "post_peers_device_forget": ("forget", BOB),
    "post_folders": ("share", Path("/nowhere/x"), None, False),
    "post_join": ("join", "harp1x", Path("/nowhere/x"), False),
    "post_folders_folder_invitations": ("invite", PHOTOS, False, 3600.0),
    "post_folders_folder_wait": ("wait", PHOTOS, None),
    "post_folders_folder_verify": ("verify", PHOTOS),
    "post_folders_folder_rescan": ("rescan", PHOTOS),
    "get_folders_folder_history": ("history", PHOTOS, b""),
    "get_folders_folder_why": ("why", PHOTOS, b""),
    "get_folders_folder_conflicts": ("conflicts", PHOTOS),
    "post_folders_folder_restore": ("restore", PHOTOS, b"/nowhere/x", "e1"),
    "post_folders_folder_resolve": ("resolve", PHOTOS, b"/nowhere/x", "both"),
    "get_folders_folder_held": ("held", PHOTOS),
    "post_folders_folder_held_held_approve": ("approve", PHOTOS, "h1"),
    "post_folders_folder_held_held_reject": ("reject", PHOTOS, "h1"),
    "post_folders_folder_pause": ("pause", PHOTOS),
    "post_folders_folder_resume": ("resume", PHOTOS),
    "post_folders_folder_leave": ("leave", PHOTOS, False),
    "get_folders_folder_files": ("files", PHOTOS, b"", "", b"", 200, False),
    "get_folders_folder_changes": ("changes", PHOTOS, 50),
    "get_folders_folder_content": ("content", PHOTOS, b"", "", 0, 512 * 1024),
    "get_folders_folder_ignore": ("left_out", PHOTOS),
    "put_folders_folder_ignore": ("leave_out", PHOTOS, None, None),
    "get_events": ("events",),
    "get_traffic": ("traffic", 31),
    "get_log": ("log", 200),
    "get_proxy": ("proxy",),
    "get_proxy_config": ("proxy_configuration",),
    "get_proxy_doctor": ("proxy_doctor", "", ""),
    "get_proxy_containers_container_log": ("container_log", "nc_app_x", 200),
    "post_proxy_bans_client_lift": ("lift", "10.0.0.9"),
    "post_console": ("console_link",),
    "post_console_guests": (
        "console_guest",
        browsing.GuestAsked(user="carol", is_admin=False, folders=[PHOTOS], entry="/enter"),
    ),
    "get_accounts": ("accounts",),
    "post_accounts_account_login": ("log_in", "work", "https://x"),
    "post_accounts": ("add_account", "work", "https://x", "alice", "pw", False),
    "delete_accounts_account": ("remove_account", "work"),
    "get_config": ("config_get",),
    "get_config_key": ("config_get",),
    "put_config_key": ("config_set", "guard_files", "9"),
    "get_doctor": ("doctor",),
    "post_backup": ("backup", Path("/nowhere/x")),
    "post_down": ("down",),
    "get_device": ("device",),
    "get_status": ("status",),
    "get_peers": ("peers",),
    "get_folders": ("folders",),
}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_every_route_makes_its_call(house: House, route: Route) -> None:
    path = route.path.format(
        folder="Photos",
        held="h1",
        device=BOB,
        key="guard_files",
        client="10.0.0.9",
        container="nc_app_x",
        account="work",
    )
    body = {"path": "/nowhere/x", "ticket": "harp1x", "keep": "both", "value": "9", **GUEST}
    if not path.startswith("/v1/console"):
        body["entry"] = "e1"
    if "accounts" in path:
        body = {"name": "work", "url": "https://x", "user": "alice", "password": "pw"}
    data = None if route.method == "GET" else json.dumps(body).encode()
    async with house.client.request(route.method, path, data=data) as response:
        answer = await response.read()
    assert house.daemon.calls[0] == CALLS[route.name]
    assert isinstance(route.how, Lines) == (answer.count(b"\n") == 3)


def test_every_route_has_a_name_of_its_own_and_a_call() -> None:
    assert {route.name for route in ROUTES} == set(CALLS)
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
