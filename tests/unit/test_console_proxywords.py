# SPDX-License-Identifier: AGPL-3.0-or-later
"""The proxy's doctor in German: all that it can find is made here, and each line of it is known to a page.

Names harp.console.proxywords and harp.console.daemonwords.
"""

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

from harp.console.daemonwords import recognised
from harp.console.words import words
from harp.proxy.doctor import diagnosis, hosting, remedies
from harp.proxy.doctor.diagnosis import Finding
from harp.proxy.doctor.seen import Answered, Arrival, Container, Door, Engine, Frp, Reach, Through, Upstream

SAME_IN_GERMAN = {"Nextcloud", "AppAPI", "WebSocket", "SSE", "FRP", "harp proxy bans, harp proxy unban IP"}
"""Names, and what is typed in."""
NO_SENTENCES = {"/exapps/", "http://", "127.0.0.1", "no version", "ends in ", " days", "has ended"}
"""Parts of the doctor's code that it compares with, or that stand within a blank of another sentence."""
BOTH = (True, False)


def all_findings() -> Iterator[Finding]:
    for reach in Reach:
        yield diagnosis.reached("public address", Answered(address="https://cloud", reach=reach))
        yield from _of_engines(reach)
        yield from _of_apps(reach)
    yield from _of_keys()
    yield from _of_the_way()
    for runs, listens, ends in itertools.product(BOTH, BOTH, (None, 5000.0, 29.0, -1.0)):
        for elsewhere in ((), ("tcp://192.0.2.5:2375",)):
            yield from diagnosis.frp(
                Frp(address="0.0.0.0:8782", runs=runs, listens=listens, ends=ends, elsewhere=elsewhere)
            )
    for name, setting in (("control", "HP_EXAPPS_ADDRESS"), ("metrics", "HP_METRICS_ADDRESS")):
        for addresses in ({}, {"open_at": ("192.88.99.1",)}, {"published": ("0.0.0.0:8780",)}):
            yield hosting.door(Door(name=name, setting=setting, port=8780, **addresses))


def _of_engines(reach: Reach) -> Iterator[Finding]:
    for is_named, is_public, said, api in itertools.product(BOTH, BOTH, ("", "Status 404: no"), ("1.47", "1.2")):
        yield hosting.engine(
            Engine(
                port=24_000,
                url="unix:///var/run/docker.sock",
                reach=reach,
                is_named=is_named,
                version="27.5.1",
                api=api,
                said=said,
                is_public=is_public,
            )
        )


def _of_apps(reach: Reach) -> Iterator[Finding]:
    insides = [
        Container(
            name="nc_app_a",
            app="a",
            port=23_000,
            is_running=is_running,
            stands="exited, exit code 1",
            heard=heard,
            is_on_host=is_on_host,
            published=published,
        )
        for is_running, heard, is_on_host, published in itertools.product(
            BOTH, (None, {}, {23_000: True}, {23_000: False}), BOTH, ((), ("0.0.0.0:23000",))
        )
    ]
    for address, inside in itertools.product(("127.0.0.1:23001", "172.17.0.2:23000"), (None, *insides)):
        yield diagnosis.upstream(Upstream(app="a", address=address, reach=reach, container=inside))
    yield from hosting.of_containers(insides)


def _of_keys() -> Iterator[Finding]:
    for status, version, takes in itertools.product(
        (200, 401, 403, 429, 500), ("1.0.0", "0.1.0", ""), (True, False, None)
    ):
        seen = Answered(address="http://127.0.0.1:8780", reach=Reach.ANSWERED, status=status, version=version)
        yield from diagnosis.control(seen, appapi_takes=takes)
    for status, is_keyed, harp_takes, strangers in itertools.product((200, 401, 500), BOTH, BOTH, (0, 3)):
        seen = Answered(address="https://cloud", reach=Reach.ANSWERED, status=status)
        yield from diagnosis.nextcloud(seen, is_keyed=is_keyed, harp_takes=harp_takes, strangers=strangers)


def _of_the_way() -> Iterator[Finding]:
    fronts = [Answered(address="https://cloud", reach=reach) for reach in (Reach.SILENT, Reach.REFUSED)]
    fronts += [Answered(address="http://cloud", reach=Reach.ANSWERED, status=status) for status in (200, 400, 502)]
    for front, arrival, works in itertools.product(fronts, Arrival, (True, False, None)):
        for forwarded, counted, trusts in itertools.product(("", "192.0.2.7"), (None, "10.0.0.1"), BOTH):
            yield from diagnosis.through(
                Through(
                    front=front,
                    arrival=arrival,
                    websocket=works,
                    streams=works,
                    forwarded_for=forwarded,
                    counted=counted,
                    trusts=trusts,
                )
            )


def lines() -> set[str]:
    return {
        line for one in all_findings() for text in (one.name, one.text, one.remedy) for line in text.split("\n") if line
    }


def test_each_line_that_the_doctor_can_say_is_known() -> None:
    unknown = {line for line in lines() if line not in SAME_IN_GERMAN and recognised(line) is None}
    assert unknown == set(), "add these to harp.console.proxywords and to the .po files"


def test_all_that_stands_in_the_doctor_s_code_was_said() -> None:
    said = "\n".join(lines())
    missed = {
        part
        for module in (diagnosis, hosting, remedies)
        for part in _texts(Path(str(module.__file__)))
        if part not in said and part not in NO_SENTENCES
    }
    assert missed == set(), "let all_findings() make these too"


def _texts(path: Path) -> Iterator[str]:
    """The parts of a module's texts that hold words: no docstring, no pattern, no name."""
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield from (line for line in node.value.split("\n") if " " in line.strip())


def test_lines_are_said_in_german_and_configuration_stays() -> None:
    german = words("de")
    assert german.said("https://cloud speaks http, and https is asked for").startswith("https://cloud spricht http")
    first, *_others = german.said(remedies.each(remedies.BUFFERED)).split("\n")
    assert first.startswith("nginx: `proxy_buffering off;`")
    assert german.said(remedies.FIREWALL_TO_HARP + "\n" + remedies.each(remedies.UPSTREAM)).count("muss") == 3
    assert "`stat -c %g`" in german.said(remedies.ENGINE[Reach.FORBIDDEN][1])
    assert german.said("<script>%(name)s %s</script> is there") == "<script>%(name)s %s</script> is there"
    assert german.said(remedies.restart("%(x)s%s")).count("%(x)s%s") == 2
