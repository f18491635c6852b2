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
    """How a server is made in a folder, run there, asked for an empty database, and told of to ``occ``."""

    title: str
    packages: str
    php_module: str
    program: str
    end_by: signal.Signals
    """On which it ends at once, and in order."""
    make: Callable[[Path], list[str]]
    run: Callable[[Path], list[str]]
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


@contextlib.contextmanager
def opened(folder: Path, user: str) -> Iterator[list[str]]:
    """What ``occ maintenance:install`` is told of it. ``folder`` is ``user``'s; empty for whoever runs this."""
    kind = chosen()
    if kind not in SERVERS:
        yield ["--database=sqlite"]
        return
    server = SERVERS[kind]
    with (folder / "log").open("ab") as log:
        subprocess.run(tied(server.make(folder), user=user), stdout=log, stderr=log, check=True)
        command = tied(server.run(folder), by=server.end_by.name.removeprefix("SIG"), user=user)
        running = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            _create(server, folder, user, running)
            known = (f"--database-name={_NAME}", f"--database-user={_NAME}", f"--database-pass={_PASSWORD}")
            yield [*server.tell(folder), *known]
        finally:
            running.send_signal(server.end_by)
            running.wait(START_S)


def _create(server: Server, folder: Path, user: str, running: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while True:
        done = subprocess.run(tied(server.create(folder), user=user), capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        has_ended = running.poll() is not None or time.monotonic() > deadline
        assert not has_ended, f"{server.title} does not start: {done.stderr}\n{(folder / 'log').read_text()[-2000:]}"
        time.sleep(0.2)
