# SPDX-License-Identifier: AGPL-3.0-or-later
"""The database of a test's own Nextcloud: SQLite, or a server that lives in the scratch folder for as long as it.

``NEXTCLOUD_DATABASE`` names it: ``sqlite``, which is meant where it is not set, ``pgsql``, or ``mysql`` for MariaDB. In
SQLite one writer waits for the other; the servers lock rows, and know deadlocks.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.lab.namespace import tied

START_S = 60.0
_NAME = "nextcloud"
_PASSWORD = "none"
"""Whoever reaches the socket is this test."""


@dataclass(frozen=True, slots=True)
class Server:
    """How a server is made in a folder, run there, asked whether it answers and for an empty database, and told of."""

    title: str
    packages: str
    php_module: str
    program: str
    end_by: signal.Signals
    """On which it ends at once, and in order."""
    make: Callable[[Path], list[str]]
    run: Callable[[Path], list[str]]
    ping: Callable[[Path], list[str]]
    create: Callable[[Path], list[str]]
    tell: Callable[[Path], list[str]]


def _program(name: str) -> str | None:
    """Debian has PostgreSQL's own programs in a folder for each version, and servers where only root looks."""
    versions = sorted(str(path) for path in Path("/usr/lib/postgresql").glob("*/bin"))
    return shutil.which(name, path=os.pathsep.join([*versions[-1:], os.environ.get("PATH", ""), "/usr/sbin"]))


def _found(name: str) -> str:
    found = _program(name)
    assert found is not None, f"{name} is not installed"
    return found


SERVERS = {
    "pgsql": Server(
        "PostgreSQL",
        "postgresql php-pgsql",
        "pdo_pgsql",
        "postgres",
        signal.SIGINT,
        lambda at: [_found("initdb"), "-D", f"{at}/data", "-U", _NAME, "-A", "trust", "-E", "UTF8"],
        lambda at: [_found("postgres"), "-D", f"{at}/data", "-k", str(at), "-c", "listen_addresses="],
        lambda at: [_found("pg_isready"), "-h", str(at)],
        lambda at: [_found("createdb"), "-h", str(at), "-U", _NAME, _NAME],
        lambda at: ["--database=pgsql", f"--database-host={at}"],
    ),
    "mysql": Server(
        "MariaDB",
        "mariadb-server php-mysql",
        "pdo_mysql",
        "mariadbd",
        signal.SIGTERM,
        lambda at: [
            *(_found("mariadb-install-db"), "--no-defaults", f"--datadir={at}/data"),
            *("--auth-root-authentication-method=normal", "--skip-test-db"),
        ],
        # What Nextcloud's manual asks for.
        lambda at: [
            *(_found("mariadbd"), "--no-defaults", f"--datadir={at}/data", f"--socket={at}/socket"),
            *("--skip-networking", "--transaction-isolation=READ-COMMITTED", "--binlog-format=ROW"),
        ],
        lambda at: [_found("mariadb-admin"), "--no-defaults", f"--socket={at}/socket", "-u", "root", "ping"],
        lambda at: [
            *(_found("mariadb"), "--no-defaults", f"--socket={at}/socket", "-u", "root", "-e"),
            f"CREATE DATABASE {_NAME} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci; "
            f"GRANT ALL ON {_NAME}.* TO {_NAME}@localhost IDENTIFIED BY '{_PASSWORD}'",
        ],
        lambda at: ["--database=mysql", f"--database-host=localhost:{at}/socket"],
    ),
}


def chosen() -> str:
    return os.environ.get("NEXTCLOUD_DATABASE", "") or "sqlite"


def title() -> str:
    return SERVERS[chosen()].title if chosen() in SERVERS else "SQLite"


def why_not(php_modules: frozenset[str]) -> str:
    """Why the chosen one cannot be had; empty if it can."""
    kind = chosen()
    if kind == "sqlite":
        return ""
    if kind not in SERVERS:
        return f"NEXTCLOUD_DATABASE={kind} is none of sqlite, {', '.join(SERVERS)}"
    server = SERVERS[kind]
    if _program(server.program) is None or server.php_module not in php_modules:
        return f"there is no {server.title}, or none for PHP (apt install {server.packages})"
    return ""


def make(folder: Path, user: str) -> None:
    """An empty one in ``folder``, which is ``user``'s; empty for whoever runs this."""
    if chosen() in SERVERS:
        server = SERVERS[chosen()]
        with (folder / "log").open("ab") as log:
            subprocess.run(tied(server.make(folder), user=user), stdout=log, stderr=log, check=True)
        with served(folder, user):
            _ask(server, server.create(folder), folder, user)


def told(folder: Path) -> list[str]:
    """What ``occ maintenance:install`` is told of it."""
    if chosen() not in SERVERS:
        return ["--database=sqlite"]
    known = (f"--database-name={_NAME}", f"--database-user={_NAME}", f"--database-pass={_PASSWORD}")
    return [*SERVERS[chosen()].tell(folder), *known]


@contextlib.contextmanager
def served(folder: Path, user: str) -> Iterator[None]:
    """It answers, until the block ends."""
    if chosen() not in SERVERS:
        yield
        return
    server = SERVERS[chosen()]
    command = tied(server.run(folder), by=server.end_by.name.removeprefix("SIG"), user=user)
    with (folder / "log").open("ab") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        _ask(server, server.ping(folder), folder, user)
        yield
    finally:
        running.send_signal(server.end_by)
        running.wait(START_S)


def _ask(server: Server, command: list[str], folder: Path, user: str) -> None:
    deadline = time.monotonic() + START_S
    while (done := subprocess.run(tied(command, user=user), capture_output=True, text=True, check=False)).returncode:
        log = (folder / "log").read_text(errors="replace")[-2000:]
        assert time.monotonic() < deadline, f"{server.title} does not answer: {done.stderr}\n{log}"
        time.sleep(0.2)
