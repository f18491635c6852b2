# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is measured: the upstream itself, HAProxy with one server, Harp, the reference; each on ports of its own."""

import abc
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Undone
from benchmarks.processes import Running, family, last_words, wait_until
from benchmarks.proxy.figures import HARP, PLAIN, REFERENCE, UPSTREAM
from benchmarks.proxy.reference import free_port, python_of, what_is_missing

ROOT = Path(__file__).resolve().parents[2]
KEY = "the-key-of-the-bench"
_TICKS = os.sysconf("SC_CLK_TCK")
_READY_S = 30.0


def cpu_by_program(pid: int) -> dict[str, float]:
    """Seconds so far of a process and its descendants, by their program; Harp's own and Python's count as agent."""
    found: dict[str, float] = {}
    for one in family(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_bytes().rpartition(b")")[2].split()
            name = Path(f"/proc/{one}/comm").read_text().strip()
        except OSError:
            continue
        program = PLAIN if name == "haproxy" else "agent"
        found[program] = found.get(program, 0.0) + (int(fields[11]) + int(fields[12])) / _TICKS
    return found


class Peer(abc.ABC):
    """Something that answers on :attr:`port` of 127.0.0.1."""

    name = ""

    def __init__(self, work: Path, threads: int) -> None:
        self.work = work
        self.threads = threads
        self.port = free_port()
        self.running: Running | None = None
        work.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @abc.abstractmethod
    def start(self) -> None:
        """Runs it until it answers. Raises :class:`Undone` where it does not."""

    def stop(self) -> None:
        if self.running is not None:
            self.running.stop()

    def cpu_s(self) -> dict[str, float]:
        return {} if self.running is None else cpu_by_program(self.running.pid)

    def rss_bytes(self) -> int:
        return 0 if self.running is None else self.running.rss_bytes()

    def _run(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.running = running = Running(argv, log=self.work / "log", env=env)

        def is_listening() -> bool:
            running.check_alive()
            with socket.socket() as tried:
                return tried.connect_ex(("127.0.0.1", self.port)) == 0

        wait_until(is_listening, deadline_s=_READY_S, every_s=0.05, what=f"{self.name} listens")


_HAPROXY = """
global
    nbthread {threads}
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend bench
    bind 127.0.0.1:{port}
    {rule}
"""


class HAProxy(Peer):
    """Answers by itself, or, given the port of an upstream, passes all to that one server."""

    def __init__(self, work: Path, threads: int, upstream: int | None = None) -> None:
        super().__init__(work, threads)
        self.name = UPSTREAM if upstream is None else PLAIN
        self.upstream = upstream

    def start(self) -> None:
        rule = "default_backend one"
        if self.upstream is None:
            rule = 'http-request return status 200 content-type text/plain string "the same short answer to all"'
        text = _HAPROXY.format(threads=self.threads, port=self.port, rule=rule)
        if self.upstream is not None:
            text += f"backend one\n    server only 127.0.0.1:{self.upstream}\n"
        config = self.work / "haproxy.cfg"
        config.write_text(text)
        self._run(["haproxy", "-f", str(config), "-db"])


class Proxy(Peer):
    """A HaRP: started with the variables of the contract, in front of a Nextcloud."""

    def __init__(self, work: Path, threads: int, nextcloud: str, command: Sequence[str]) -> None:
        super().__init__(work, threads)
        self.nextcloud = nextcloud
        self.command = command

    def start(self) -> None:
        def address() -> str:
            return f"127.0.0.1:{free_port()}"

        self._run(
            self.command,
            env={
                "HOME": str(self.work),
                "XDG_DATA_HOME": str(self.work / "data"),
                "XDG_RUNTIME_DIR": str(self.work),
                "PATH": f"{self._with_threads()}:{os.environ['PATH']}",
                "HP_SHARED_KEY": KEY,
                "NC_INSTANCE_URL": self.nextcloud,
                "HP_EXAPPS_ADDRESS": f"127.0.0.1:{self.port}",
                "HP_EXAPPS_HTTPS_ADDRESS": address(),
                "HP_FRP_ADDRESS": address(),
                "HP_SPOA_ADDRESS": address(),
                "HP_METRICS_ADDRESS": address(),
                "HP_FRP_DISABLE_TLS": "true",
                "HP_VERBOSE_START": "0",
                **self.own_settings(),
            },
        )
        wait_until(self._answers, deadline_s=_READY_S, every_s=0.1, what=f"{self.name} answers")

    def own_settings(self) -> dict[str, str]:
        return {}

    def _answers(self) -> bool:
        asked = urllib.request.Request(f"{self.url}/exapps/app_api/heartbeat", headers={"harp-shared-key": KEY})
        try:
            with urllib.request.urlopen(asked, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _with_threads(self) -> Path:
        """A folder with an ``haproxy`` that reads one more file first: the only way to give both the same threads."""
        folder = self.work / "bin"
        folder.mkdir(exist_ok=True)
        extra = self.work / "threads.cfg"
        extra.write_text(f"global\n    nbthread {self.threads}\n")
        program = folder / "haproxy"
        program.write_text(f'#!/bin/sh\nexec {shutil.which("haproxy")} -f {extra} "$@"\n')
        program.chmod(0o755)
        return folder


class Harp(Proxy):
    name = HARP

    def __init__(self, work: Path, threads: int, nextcloud: str) -> None:
        super().__init__(work, threads, nextcloud, [str(Path(sys.executable).parent / "harp"), "proxy"])

    @staticmethod
    def why_not() -> str | None:
        program = Path(sys.executable).parent / "harp"
        tried = subprocess.run([program, "proxy", "--help"], capture_output=True, text=True, check=False)
        return f"harp proxy --help: {tried.stderr.strip()[-200:]}" if tried.returncode else None


class Reference(Proxy):
    name = REFERENCE

    def __init__(self, work: Path, threads: int, nextcloud: str, checkout: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.proxy.reference", str(checkout)]
        super().__init__(work, threads, nextcloud, command)
        self.python = python_of(checkout)

    def own_settings(self) -> dict[str, str]:
        return {"HARP_REFERENCE_PYTHON": str(self.python), "PYTHONPATH": str(ROOT)}

    @staticmethod
    def why_not(checkout: Path) -> str | None:
        return what_is_missing(checkout, python_of(checkout))


class Nextcloud:
    """The tests' stand-in, as a process of its own."""

    def __init__(self, work: Path, *, apps: Mapping[str, Any], people: Mapping[str, Any], delay_s: float) -> None:
        self.port = free_port()
        self.settings = work / "nextcloud.json"
        self.settings.write_text(
            json.dumps({"port": self.port, "key": KEY, "apps": apps, "people": people, "delay_s": delay_s})
        )
        self.log = work / "nextcloud.log"
        self.running: Running | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        argv = [sys.executable, "-m", "tests.fakes.nextcloud", str(self.settings)]
        self.running = running = Running(argv, log=self.log, env={"PYTHONPATH": str(ROOT)})

        def is_there() -> bool:
            running.check_alive()
            try:
                return self.calls() is not None
            except OSError:
                return False

        wait_until(is_there, deadline_s=_READY_S, every_s=0.1, what=f"Nextcloud's stand-in: {last_words(self.log)}")

    def calls(self) -> dict[str, int]:
        """How often it was asked, by kind, since it was told to forget."""
        with urllib.request.urlopen(f"{self.url}/stand-in/calls", timeout=5) as answer:
            found: dict[str, int] = json.load(answer)
            return found

    def forget(self) -> None:
        urllib.request.urlopen(f"{self.url}/stand-in/forget", timeout=5).close()

    def stop(self) -> None:
        if self.running is not None:
            self.running.stop()


def measured(peers: Mapping[str, Peer], act: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What ``act`` gave, and the CPU seconds of the peers meanwhile, by label or else by program."""
    before = {label: peer.cpu_s() for label, peer in peers.items()}
    found = act()
    spent: dict[str, float] = {}
    for label, peer in peers.items():
        for program, seconds in peer.cpu_s().items():
            name = label or program
            spent[name] = spent.get(name, 0.0) + seconds - before[label].get(program, 0.0)
    return found, spent


def checked(peer: Peer, path: str, headers: Mapping[str, str]) -> None:
    """One request has to succeed, within 10 s, before thousands are counted. Raises :class:`Undone`."""
    asked = urllib.request.Request(peer.url + path, headers=dict(headers))
    problems: list[str] = []

    def is_answered() -> bool:
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                answer.read()
        except OSError as error:
            problems.append(str(error))
            return False
        return True

    try:
        wait_until(is_answered, deadline_s=10, every_s=0.5, what=path)
    except Undone as error:
        raise Undone(f"{error}: {problems[-1]}; {last_words(peer.work / 'log')}") from error
