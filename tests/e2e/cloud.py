# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real Nextcloud of a test's own: database, PHP-FPM and nginx in a scratch folder, from a tree that stays as it is.

::

    with cloud.opened(Path(os.environ["NEXTCLOUD"])) as nextcloud:
        nextcloud.occ("app:list")                          # what it wrote; fails with what it wrote
        alice = nextcloud.person("alice")                  # made, with an app password
        browser = nextcloud.browser("alice")               # logged in, with a session
        nextcloud.place("location /exapps/ { … }")         # one more piece of nginx's server
        nextcloud.install_app(Path("harpbridge"))          # an app of one's own, enabled

As root, PHP and nginx's workers run as ``www-data``, else as whoever starts it. Where there can be none,
:func:`why_not` says why.
"""

import base64
import contextlib
import functools
import http.client
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.lab.namespace import tied
from tests.e2e import complaints, database
from tests.e2e.browser import Browser
from tests.fakes.ports import free_port

ADMIN = "admin"
WEB_USER = "www-data"
START_S = 30.0
LOGIN_TRIES = 10
WORKERS = 8
_PHP_MODULES = ("curl", "dom", "gd", "mbstring", "pdo_sqlite", "posix", "SimpleXML", "XMLReader", "zip")
_PACKAGES = "php-fpm php-cli php-sqlite3 php-curl php-gd php-mbstring php-xml php-zip php-apcu nginx-light"


def why_not(tree: str | None = None) -> str:
    """Why there can be no Nextcloud here; empty if there can."""
    tree = os.environ.get("NEXTCLOUD", "") if tree is None else tree
    if not tree:
        return "NEXTCLOUD names no tree of a Nextcloud (NEXTCLOUD=/path/to/nextcloud)"
    if not (Path(tree) / "occ").is_file() or not (Path(tree) / "version.php").is_file():
        return f"NEXTCLOUD={tree} is no tree of a Nextcloud: it has no occ and version.php"
    lacking = [
        name for name, path in (("php", shutil.which("php")), ("php-fpm", _fpm()), ("nginx", _nginx())) if not path
    ]
    if lacking:
        return f"not installed: {', '.join(lacking)} (apt install {_PACKAGES})"
    if missing := [name for name in _PHP_MODULES if name.lower() not in _php_modules()]:
        return f"PHP has no {', '.join(missing)} (apt install {_PACKAGES})"
    if lacking_database := database.why_not(_php_modules()):
        return lacking_database
    if _as_other() and subprocess.run([*as_web_user(), "test", "-r", f"{tree}/occ"], check=False).returncode:
        return f"{WEB_USER} cannot read {tree}: a folder above it is closed to others"
    return ""


def _fpm() -> str | None:
    """PHP's FastCGI server, which Debian calls by its version."""
    found = sorted(path for folder in ("/usr/sbin", "/usr/local/sbin") for path in Path(folder).glob("php-fpm*"))
    return str(found[-1]) if found else None


def _nginx() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@functools.cache
def _php_modules() -> frozenset[str]:
    done = subprocess.run(["php", "-m"], capture_output=True, text=True, check=False)
    return frozenset(line.strip().lower() for line in done.stdout.splitlines())


def has_php(module: str) -> bool:
    """Whether PHP has this module."""
    return module.lower() in _php_modules()


def _as_other() -> bool:
    return os.geteuid() == 0


def _other_user() -> str:
    return WEB_USER if _as_other() else ""


def as_web_user() -> list[str]:
    return ["setpriv", "--reuid", WEB_USER, "--regid", WEB_USER, "--clear-groups"] if _as_other() else []


@dataclass(slots=True)
class Person:
    """Somebody with an account; ``app_password`` is for clients, ``password`` for the login page."""

    name: str
    password: str
    app_password: str = ""

    @property
    def basic(self) -> dict[str, str]:
        """The header of a client that has the app password."""
        token = base64.b64encode(f"{self.name}:{self.app_password or self.password}".encode()).decode()
        return {"Authorization": f"Basic {token}"}


@dataclass(slots=True)
class Cloud:
    """One Nextcloud at :attr:`url`. ``host`` is where nginx listens: 127.0.0.1 and, with ``0.0.0.0``, everywhere."""

    tree: Path
    scratch: Path
    port: int
    host: str = "127.0.0.1"
    admin: Person = field(default_factory=lambda: Person(ADMIN, secrets.token_urlsafe(12)))
    people: dict[str, Person] = field(default_factory=dict)
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _served: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self.scratch / "data"

    @property
    def database(self) -> Path:
        """Where a server keeps it; SQLite's lies in :attr:`data`."""
        return self.scratch / "database"

    @property
    def log(self) -> str:
        """What Nextcloud itself has to say, one JSON object a line."""
        path = self.data / "nextcloud.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def pids(self) -> dict[str, int]:
        """The main processes, by program."""
        fpm, nginx = self._running
        return {"php-fpm": fpm.pid, "nginx": nginx.pid}

    @property
    def version(self) -> str:
        return str(json.loads(self.occ("status", "--output=json"))["versionstring"])

    # --- its life -----------------------------------------------------------------------------------------------------

    def install(self) -> None:
        """Makes the account ``admin`` and an empty database; takes a few seconds."""
        for name in ("config", "data", "apps", "tmp", "sessions", "nginx", "places", "database"):
            folder = self.scratch / name
            folder.mkdir(parents=True, exist_ok=True)
            if _as_other():
                shutil.chown(folder, WEB_USER, WEB_USER)
        (self.scratch / "config" / "harp.config.php").write_text(self._settings())
        database.make(self.database, _other_user())
        with database.served(self.database, _other_user()):
            self.occ(
                *("maintenance:install", "--no-interaction", *database.told(self.database)),
                *(f"--data-dir={self.data}", f"--admin-user={ADMIN}", f"--admin-pass={self.admin.password}"),
            )
        self.people[ADMIN] = self.admin

    def start(self) -> None:
        """Returns when the login page is answered."""
        self._served.enter_context(database.served(self.database, _other_user()))
        self.serve()

    def serve(self) -> None:
        """The web server alone, and PHP behind it."""
        (self.scratch / "fpm.conf").write_text(self._fpm_settings())
        (self.scratch / "nginx.conf").write_text(self._nginx_settings())
        fpm, nginx = _fpm(), _nginx()
        assert fpm is not None
        assert nginx is not None
        commands = (
            [fpm, "--nodaemonize", "-y", "fpm.conf"],
            [nginx, "-p", str(self.scratch), "-c", str(self.scratch / "nginx.conf"), "-g", "daemon off;"],
        )
        with (self.scratch / "servers.log").open("ab") as log:
            for command in commands:
                command = tied([*self._apart, *command], by="TERM")
                self._running.append(
                    subprocess.Popen(command, cwd=self.scratch, stdout=log, stderr=log, start_new_session=True)
                )
        deadline = time.monotonic() + START_S
        while self.status("/status.php") != 200:
            ended = [process.args for process in self._running if process.poll() is not None]
            assert not ended, f"{ended} ended:\n{self._servers_log()}"
            assert time.monotonic() < deadline, f"Nextcloud does not answer:\n{self._servers_log()}\n{self.log[-2000:]}"
            time.sleep(0.1)

    def stop(self) -> None:
        for process in self._running:
            process.terminate()
        for process in self._running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._running.clear()
        self._served.close()

    # --- what is asked of it ------------------------------------------------------------------------------------------

    def occ(self, *arguments: str, env: dict[str, str] | None = None, patience_s: float = 120.0) -> str:
        """What ``occ`` wrote; AssertionError with it where it failed."""
        code, said = self.occ_tried(*arguments, env=env, patience_s=patience_s)
        assert code == 0, f"occ {' '.join(arguments)} ended with {code}:\n{said}"
        return said

    def occ_tried(
        self, *arguments: str, env: dict[str, str] | None = None, patience_s: float = 120.0
    ) -> tuple[int, str]:
        """How ``occ`` ended, and what it wrote."""
        return self._php(str(self.tree / "occ"), "--no-ansi", *arguments, env=env, patience_s=patience_s)

    def sql(self, statement: str) -> None:
        """Behind Nextcloud's back, whatever its database is; ``*PREFIX*`` stands before its tables."""
        program = (
            "require_once 'lib/base.php'; \\OCP\\Server::get(\\OCP\\IDBConnection::class)->executeStatement($argv[1]);"
        )
        code, said = self._php("-r", program, "--", statement, env=None, patience_s=120.0)
        assert code == 0, f"{statement}: {said}"

    def _php(self, *arguments: str, env: dict[str, str] | None, patience_s: float) -> tuple[int, str]:
        done = subprocess.run(
            [*self._beside(), *as_web_user(), "php", "-d", "memory_limit=512M", *arguments],
            cwd=self.tree,
            env={"PATH": os.environ["PATH"], "NEXTCLOUD_CONFIG_DIR": str(self.scratch / "config"), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=patience_s,
            check=False,
        )
        return done.returncode, done.stdout

    def person(self, name: str) -> Person:
        """An account with an app password, made where there is none."""
        if name not in self.people:
            made = Person(name, secrets.token_urlsafe(12))
            self.occ("user:add", "--password-from-env", name, env={"OC_PASS": made.password})
            self.people[name] = made
        found = self.people[name]
        found.app_password = found.app_password or self.app_password(name)
        return found

    def app_password(self, name: str) -> str:
        """One more app password for somebody."""
        said = self.occ(
            "user:auth-tokens:add", name, "--password-from-env", env={"NC_PASS": self.people[name].password}
        )
        return said.strip().splitlines()[-1].strip()

    def browser(self, name: str = "") -> Browser:
        """A browser at this Nextcloud; with ``name``, logged in through the login page.

        On SQLite a login may be answered 500: Nextcloud looks for an old token and deletes it in one transaction, and
        where somebody else writes just then, SQLite refuses at once. A person tries again, and so does this.
        """
        tries_left = LOGIN_TRIES
        while True:
            browser, before = Browser(self.url), len(self.log)
            tries_left -= 1
            try:
                if name:
                    browser.log_in(name, self.people[name].password)
            except AssertionError:
                if not tries_left or "database is locked" not in self.log[before:]:
                    raise
            else:
                return browser

    def status(self, path: str) -> int:
        """What nobody in particular gets for a path; 0 for no answer."""
        try:
            return Browser(self.url).get(path).status
        except (OSError, http.client.HTTPException):
            return 0

    def request(self, person: Person, method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
        """What a client with the person's app password is answered; ``Content_Type="…"`` is the header Content-Type."""
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            self.url + path, body, {**person.basic, "OCS-APIRequest": "true", **said}, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())

    def dav(self, person: Person, method: str, path: str, body: bytes | None = None, to: str = "") -> bytes:
        """One WebDAV request; ``path`` and ``to`` are below ``remote.php/dav``."""
        headers = {"Destination": f"{self.url}/remote.php/dav/{to}"} if to else {}
        return self.request(person, method, f"/remote.php/dav/{path}", body, **headers)

    def install_app(self, folder: Path) -> None:
        """Copies an app of one's own to where Nextcloud may write; returns when the web server knows it as enabled."""
        target = self.scratch / "apps" / folder.name
        shutil.copytree(folder, target)
        if _as_other():
            for path in (target, *target.rglob("*")):
                shutil.chown(path, WEB_USER, WEB_USER)
        self.occ("app:enable", folder.name)
        deadline = time.monotonic() + START_S
        asked = "/ocs/v2.php/cloud/apps?filter=enabled&format=json"
        # Its processes believe for some seconds what they have read of the settings.
        while folder.name not in json.loads(self.request(self.admin, "GET", asked))["ocs"]["data"]["apps"]:
            assert time.monotonic() < deadline, f"{folder.name} is not enabled"
            time.sleep(0.2)

    def place(self, text: str, name: str = "exapps") -> None:
        """Puts a piece (locations) into nginx's server, in place of the one of that name; empty takes it away."""
        path = self.scratch / "places" / f"{name}.conf"
        path.write_text(text)
        if self._running:
            checked = subprocess.run(
                [_nginx() or "nginx", "-t", "-p", str(self.scratch), "-c", str(self.scratch / "nginx.conf")],
                capture_output=True,
                text=True,
                check=False,
            )
            assert checked.returncode == 0, checked.stderr
            before = self._worker_pids()
            self._running[1].send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 10
            while not self._worker_pids() - before or any(_still_serves(pid) for pid in before):
                assert time.monotonic() < deadline, f"nginx did not take up {path}:\n{self._servers_log()}"
                time.sleep(0.02)

    @contextlib.contextmanager
    def led_to(self, text: str, name: str = "exapps") -> Iterator[None]:
        """:meth:`place` for the block; then it is as before."""
        path = self.scratch / "places" / f"{name}.conf"
        before = path.read_text() if path.exists() else ""
        self.place(text, name)
        try:
            yield
        finally:
            self.place(before, name)

    def _worker_pids(self) -> set[str]:
        nginx = self._running[1].pid
        return set(Path(f"/proc/{nginx}/task/{nginx}/children").read_text().split())

    def _servers_log(self) -> str:
        return (self.scratch / "servers.log").read_text(errors="replace")[-2000:]

    @property
    def _apart(self) -> list[str]:
        """What its servers are started by: nothing on the machine on which the tests run."""
        return []

    def _beside(self) -> list[str]:
        """What ``occ`` is started by, to run where the servers do."""
        return []

    # --- settings -----------------------------------------------------------------------------------------------------

    def _settings(self) -> str:
        return f"""<?php
$CONFIG = [
  'apps_paths' => [
    ['path' => '{self.tree}/apps', 'url' => '/apps', 'writable' => false],
    ['path' => '{self.scratch}/apps', 'url' => '/scratch-apps', 'writable' => true],
  ],
  'trusted_domains' => ['*'],
  'trusted_proxies' => ['127.0.0.1'],
  'overwrite.cli.url' => '{self.url}',
  'auth.bruteforce.protection.enabled' => false,
  'allow_local_remote_servers' => true,
  'skeletondirectory' => '',
  'appstoreenabled' => false,
  'has_internet_connection' => false,
  'updatechecker' => false,
  'memcache.local' => '{_memcache()}',
];
"""

    def _fpm_settings(self) -> str:
        user = f"user = {WEB_USER}\ngroup = {WEB_USER}\nlisten.owner = {WEB_USER}\n" if _as_other() else ""
        return f"""[global]
error_log = {self.scratch}/fpm.log
[www]
{user}listen = {self.scratch}/fpm.sock
pm = static
pm.max_children = {WORKERS}
env[NEXTCLOUD_CONFIG_DIR] = {self.scratch}/config
env[PATH] = {os.environ["PATH"]}
php_admin_value[memory_limit] = 512M
php_admin_value[upload_max_filesize] = 8G
php_admin_value[post_max_size] = 8G
php_admin_value[upload_tmp_dir] = {self.scratch}/tmp
php_admin_value[session.save_path] = {self.scratch}/sessions
php_admin_value[apc.enabled] = 1
"""

    def _nginx_settings(self) -> str:
        """As Nextcloud's manual has it, without what a test does not need."""
        return f"""{f"user {WEB_USER};" if _as_other() else ""}
worker_processes 2;
pid {self.scratch}/nginx.pid;
error_log {self.scratch}/nginx-error.log;
events {{ worker_connections 1024; }}
http {{
  include /etc/nginx/mime.types;
  types {{ text/javascript mjs; }}  # Debian's file does not know modules
  log_format conditions '[$time_local] $remote_user "$request" $status $body_bytes_sent "$http_user_agent" '
    'match=$http_if_match none=$http_if_none_match etag=$sent_http_oc_etag sha256=$sent_http_x_hash_sha256';
  access_log {self.scratch}/nginx-access.log conditions;
{self._temporary_folders()}
  client_max_body_size 8G;
  fastcgi_buffers 64 4K;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ""; }}
  server {{
    listen {self.host}:{self.port};
    root {self.tree};
    include {self.scratch}/places/*.conf;
    index index.php;
    location ^~ /scratch-apps/ {{
      root {self.scratch};
      rewrite ^/scratch-apps/(.*)$ /apps/$1 break;
    }}
    location = / {{ return 302 /index.php/apps/dashboard/; }}
    location ^~ /.well-known {{ return 301 /index.php$request_uri; }}
    location ~ ^/(?:build|tests|config|lib|3rdparty|templates|data)(?:$|/) {{ return 404; }}
    location ~ \\.php(?:$|/) {{
      rewrite ^/(?!index|remote|public|cron|core/ajax/update|status|ocs/v[12]|ocs-provider/.+) /index.php$request_uri;
      fastcgi_split_path_info ^(.+?\\.php)(/.*)$;
      set $path_info $fastcgi_path_info;
      try_files $fastcgi_script_name =404;
      include /etc/nginx/fastcgi_params;
      fastcgi_param HTTP_HOST $host:$server_port;  # Debian's file has it without the port
      fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
      fastcgi_param PATH_INFO $path_info;
      fastcgi_param modHeadersAvailable true;
      fastcgi_param front_controller_active true;
      fastcgi_pass unix:{self.scratch}/fpm.sock;
      fastcgi_intercept_errors on;
      fastcgi_request_buffering off;
      fastcgi_max_temp_file_size 0;
      fastcgi_read_timeout 300;
    }}
    location / {{ try_files $uri $uri/ /index.php$request_uri; }}
  }}
}}
"""

    def _temporary_folders(self) -> str:
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        return "\n".join(f"  {kind}_temp_path {self.scratch}/nginx/{kind};" for kind in kinds)


def _still_serves(worker: str) -> bool:
    """Whether one of nginx's workers takes new connections: one of a moment ago does after the next one runs."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return b"shutting down" not in Path(f"/proc/{worker}/cmdline").read_bytes()
    return False


def _memcache() -> str:
    return "\\\\OC\\\\Memcache\\\\APCu" if "apcu" in _php_modules() else ""


@contextlib.contextmanager
def opened(tree: Path, *, host: str = "127.0.0.1", apps: Sequence[str] = ("app_api",)) -> Iterator[Cloud]:
    """One that is installed and runs, until the block ends; nothing of it is left then."""
    scratch = Path(tempfile.mkdtemp(prefix="harp-cloud-"))
    scratch.chmod(0o755)  # it is another user's too
    nextcloud = Cloud(tree.resolve(), scratch, free_port(), host)
    try:
        nextcloud.install()
        nextcloud.start()
        for app in apps:
            nextcloud.occ("app:enable", app)
        yield nextcloud
    except Exception as error:
        error.add_note("\n".join(["nextcloud.log:", *complaints.of(nextcloud.log)]))
        raise
    finally:
        nextcloud.stop()
        shutil.rmtree(scratch, ignore_errors=True)
