# SPDX-License-Identifier: AGPL-3.0-or-later
"""What takes a minute or two, begun when the session begins so that the other tests go on meanwhile."""

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import aiohttp

from tests.contract.instance import Harp
from tests.contract.talk import Reply, cookie, next_name
from tests.fakes.exapp import Answer, ExApp, route
from tests.fakes.nextcloud import META, Nextcloud


@dataclass(frozen=True, slots=True)
class Waits:
    """What was begun when the session began, on a HaRP and a Nextcloud that no other test disturbs."""

    forgetting: Future[list[tuple[int, int]]]
    slow_person: Future[Reply]
    slower_person: Future[Reply]
    idle_socket: Future[str]
    slow_answer: Future[Reply]


def begun(pool: ThreadPoolExecutor, own: Harp, cloud: Nextcloud, app: ExApp) -> Waits:
    name, unknown = next_name("patient"), next_name("unknown")
    cloud.apps[name] = app.record(route("^/user", 1), route("^/"))
    cloud.people = {"slow": ("alice", 1), "slower": ("alice", 1)}
    cloud.slow = {"slow": 20, "slower": 60}
    app.answers["/late"] = Answer(body=b"at last", delay_s=60)

    def forgetting() -> list[tuple[int, int]]:
        found = []
        for pause_s in (0.0, 13.0, 3.0):
            time.sleep(pause_s)
            status = own.caller().get(f"/exapps/{unknown}/x").status
            found.append((status, len(cloud.asked(META, unknown))))
        return found

    async def idle() -> str:
        async with (
            aiohttp.ClientSession() as browser,
            browser.ws_connect(f"http://{own.host}:{own.port}/exapps/{name}/ws") as socket,
        ):
            await asyncio.sleep(125)
            await socket.send_str("still here")
            return await socket.receive_str(timeout=5)

    def asks(path: str, *headers: tuple[str, str]) -> Future[Reply]:
        return pool.submit(own.caller().get, f"/exapps/{name}{path}", headers, patience_s=90)

    return Waits(
        forgetting=pool.submit(forgetting),
        slow_person=asks("/user", cookie("slow")),
        slower_person=asks("/user", cookie("slower")),
        idle_socket=pool.submit(lambda: asyncio.run(idle())),
        slow_answer=asks("/late"),
    )
