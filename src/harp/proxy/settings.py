# SPDX-License-Identifier: AGPL-3.0-or-later
"""The variables of the app plane: those of HaRP under their names, and Harp's own. All are read once, together."""

import ipaddress
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harp.base.errors import ConfigError
from harp.proxy.model import ENGINE_PORTS, BindFolder, EngineAddress

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOG_LEVELS = ("debug", "info", "warning", "error")
LONGEST = "24d"
"""What ``0`` means as a tunnel's time-out: HAProxy's clock of milliseconds has 31 bits."""
_DURATION = re.compile(r"([0-9]+)(us|ms|s|m|h|d)?")
LOCAL_ENGINE = "24000=unix:///var/run/docker.sock"
_SOCKET_MOST = 107
"""unix(7): a socket's path has at most so many bytes."""
_INSTANCE = re.compile(r"(?:\[[0-9A-Fa-f:]+\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}))\:([0-9]{1,5})")
_UNIT_MS = {"us": 0.001, None: 1, "ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_QUOTES = "\"'\u2018\u2019\u201c\u201d\u00ab\u00bb`"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """Everything that can be set, valid; times in seconds unless the text is HAProxy's own (``30s``)."""

    key: str = field(repr=False)
    nextcloud: str
    http: str
    https: str
    certificate: Path
    metrics: str
    agent: str
    trusted: tuple[Network, ...]
    timeout_connect: str
    timeout_client: str
    timeout_server: str
    timeout_tunnel: str
    session_lifetime_s: float
    ban_window_s: int
    ban_count: int
    log_level: str
    access_log: bool
    forward_credentials: bool
    control_via_proxy: bool
    haproxy: str
    threads: int
    ca_file: str
    run: Path
    watchdog: bool
    watchdog_interval_s: float
    watchdog_fails: int
    drain_s: float
    engines: tuple[EngineAddress, ...]
    names_engines: bool
    """Whether HP_DOCKER_ENGINES is set at all."""
    bind_mounts: tuple[BindFolder, ...]
    frps: str
    frp: str
    frp_has_tls: bool
    frp_certificate_days: int
    frp_folder: Path | None
    """None: beside the certificate, where that folder is there, else in the run folder."""
    exapp_upstreams: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Apps of several instances, and ``host:port`` of each."""


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether the variables speak of a proxy at all."""
    return any(environ.get(name) for name in ("HP_SHARED_KEY", "HP_SHARED_KEY_FILE"))


def load(environ: Mapping[str, str], *, run: Path, read_file: Callable[[Path], str]) -> ProxySettings:
    """The settings in an environment. ``run`` is where files go unless ``HP_RUN_DIR`` names another folder.

    Raises :class:`ConfigError`, which names the variable and what it may be, and never its secret value.
    """
    given = _Given(environ)
    server = given.duration("HP_TIMEOUT_SERVER", "1800s")
    tunnel = given.duration("HP_TIMEOUT_TUNNEL", server)
    level = given.text("HP_LOG_LEVEL", "warning").lower()
    if level not in LOG_LEVELS:
        raise ConfigError(f"HP_LOG_LEVEL cannot be {level!r}", hint="one of " + ", ".join(LOG_LEVELS))
    return ProxySettings(
        key=shared_key(environ, read_file),
        nextcloud=instance_url(environ.get("NC_INSTANCE_URL", "")),
        http=given.address("HP_EXAPPS_ADDRESS", "0.0.0.0:8780"),
        https=given.address("HP_EXAPPS_HTTPS_ADDRESS", "0.0.0.0:8781"),
        certificate=Path(given.text("HP_CERTIFICATE", "/certs/cert.pem")),
        metrics=given.address("HP_METRICS_ADDRESS", "127.0.0.1:8784"),
        agent=given.address("HP_SPOA_ADDRESS", "") if environ.get("HP_SPOA_ADDRESS") else "",
        trusted=networks(environ.get("HP_TRUSTED_PROXY_IPS", "")),
        timeout_connect=given.duration("HP_TIMEOUT_CONNECT", "30s"),
        timeout_client=given.duration("HP_TIMEOUT_CLIENT", "30s"),
        timeout_server=server,
        timeout_tunnel=LONGEST if _milliseconds(tunnel) == 0 else tunnel,
        session_lifetime_s=given.number("HP_SESSION_LIFETIME", 3.0, 0.0, 10.0),
        ban_window_s=given.whole("HP_BLACKLIST_WINDOW", 300, 1, 1_000_000),
        ban_count=given.whole("HP_BLACKLIST_COUNT", 10, 1, 1_000_000_000),
        log_level=level,
        access_log=given.boolean("HP_ACCESS_LOG", level in ("debug", "info")),
        forward_credentials=given.boolean("HP_FORWARD_CREDENTIALS", False),
        control_via_proxy=given.boolean("HP_CONTROL_VIA_PROXY", False),
        haproxy=given.text("HP_HAPROXY", "haproxy"),
        threads=given.whole("HP_THREADS", 0, 0, 64),
        ca_file=given.text("HP_CA_FILE", ""),
        run=Path(environ.get("HP_RUN_DIR") or run),
        watchdog=given.boolean("HP_WATCHDOG_ENABLED", True),
        watchdog_interval_s=given.number("HP_WATCHDOG_INTERVAL", 2.0, 0.1, 3600.0),
        watchdog_fails=given.whole("HP_WATCHDOG_FAILS", 5, 1, 10_000),
        drain_s=given.number("HP_DRAIN", 5.0, 0.0, 86_400.0),
        engines=engines(given.text("HP_DOCKER_ENGINES", LOCAL_ENGINE)),
        names_engines=bool(given.text("HP_DOCKER_ENGINES", "")),
        bind_mounts=bind_folders(given.text("HP_BIND_MOUNTS", "")),
        frps=given.text("HP_FRPS", "frps"),
        frp=frp_address(given.address("HP_FRP_ADDRESS", "0.0.0.0:8782")),
        # Only this word, for it takes the protection away.
        frp_has_tls=environ.get("HP_FRP_DISABLE_TLS") != "true",
        frp_certificate_days=given.whole("HP_FRP_CERT_VALIDITY_DAYS", 5000, 1, 36_500),
        frp_folder=Path(environ["HP_FRP_DIR"]) if environ.get("HP_FRP_DIR") else None,
        exapp_upstreams=upstreams(environ.get("HP_EXAPP_UPSTREAMS", "")),
    )


def frp_address(address: str) -> str:
    """``HP_FRP_ADDRESS``: frps takes port 0 for another one, which nobody is told."""
    if address.endswith(":0"):
        raise ConfigError(f"HP_FRP_ADDRESS cannot be {address!r}", hint="a port of its own, e.g. 0.0.0.0:8782")
    return address


def shared_key(environ: Mapping[str, str], read_file: Callable[[Path], str]) -> str:
    """The key of AppAPI and Harp, from the variable or the file it names (144–146)."""
    inline, path = environ.get("HP_SHARED_KEY", ""), environ.get("HP_SHARED_KEY_FILE", "")
    if inline and path:
        raise ConfigError("HP_SHARED_KEY and HP_SHARED_KEY_FILE are both set", hint="set one of them")
    if not inline and not path:
        raise ConfigError("HP_SHARED_KEY is not set", hint="set it, or HP_SHARED_KEY_FILE to a file with the key")
    key = inline or _key_of_file(Path(path), read_file)
    if not all(" " <= c <= "~" for c in key):
        raise ConfigError("HP_SHARED_KEY has a character that is no printable ASCII", hint="choose another key")
    for quote in ('"', "'"):
        if len(key) >= 2 and key.startswith(quote) and key.endswith(quote):
            key = key[1:-1]
    if '"' in key or "\\" in key:
        raise ConfigError('HP_SHARED_KEY has a " or a \\ in it', hint="choose another key")
    if not key.strip():
        raise ConfigError("HP_SHARED_KEY is empty", hint="choose a long random one: openssl rand -hex 32")
    return key


def _key_of_file(path: Path, read_file: Callable[[Path], str]) -> str:
    try:
        key = read_file(path).rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"HP_SHARED_KEY_FILE {path} cannot be read: {why}", hint="name a readable file") from None
    if not key:
        raise ConfigError(f"HP_SHARED_KEY_FILE {path} is empty", hint="write the key into it")
    return key


def instance_url(text: str) -> str:
    """``NC_INSTANCE_URL`` without a last ``/`` and ``/index.php`` (28)."""
    url = text.strip().removesuffix("/").removesuffix("/index.php")
    if not url:
        raise ConfigError("NC_INSTANCE_URL is not set", hint="the address of Nextcloud, e.g. https://cloud.example.org")
    if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", url):
        raise ConfigError(f"NC_INSTANCE_URL cannot be {text!r}", hint="e.g. https://cloud.example.org")
    return url


def networks(text: str) -> tuple[Network, ...]:
    """``HP_TRUSTED_PROXY_IPS``: what is no address or network is left out (108)."""
    found: list[Network] = []
    for part in text.split(","):
        bare = part.strip().strip(_QUOTES).strip()
        try:
            found.append(ipaddress.ip_network(bare, strict=False))
        except ValueError:
            continue
    return tuple(dict.fromkeys(found))


def unreadable_networks(text: str) -> list[str]:
    """The parts of ``HP_TRUSTED_PROXY_IPS`` that :func:`networks` leaves out."""
    return [part.strip() for part in text.split(",") if part.strip() and not networks(part)]


def engines(text: str) -> tuple[EngineAddress, ...]:
    """``HP_DOCKER_ENGINES``: ``24001=unix:///PATH,24002=tcp://HOST:PORT``; 24000 is the local socket if not named."""
    found: dict[int, EngineAddress] = {}
    for part in (f"{text},{LOCAL_ENGINE}" if "24000=" not in text.replace(" ", "") else text).split(","):
        if not part.strip():
            continue
        engine = _engine(part.strip())
        if engine.port in found:
            raise ConfigError(
                f"HP_DOCKER_ENGINES names {engine.port} twice", hint="each engine has a number of its own"
            )
        found[engine.port] = engine
    return tuple(found[port] for port in sorted(found))


def _engine(part: str) -> EngineAddress:
    match = re.fullmatch(r"([0-9]{1,5})\s*=\s*(unix|tcp)://(\S+)", part)
    if match is None:
        raise ConfigError(f"HP_DOCKER_ENGINES cannot be {part!r}", hint="NUMBER=unix:///PATH or NUMBER=tcp://HOST:PORT")
    port, place = int(match.group(1)), match.group(3)
    if port not in ENGINE_PORTS:
        raise ConfigError(f"HP_DOCKER_ENGINES cannot number an engine {port}", hint="24000 to 24099")
    if match.group(2) == "unix":
        if not place.startswith("/") or len(place.encode()) > _SOCKET_MOST:
            raise ConfigError(
                f"HP_DOCKER_ENGINES: {place!r} is no path of a socket",
                hint=f"an absolute path of at most {_SOCKET_MOST} bytes, as in {LOCAL_ENGINE}",
            )
        return EngineAddress(port, "unix", place)
    host, _colon, number = place.rstrip("/").rpartition(":")
    if not re.fullmatch(r"[\w.-]+|\[[0-9A-Fa-f:.]+\]", host) or not re.fullmatch(r"[0-9]{1,5}", number):
        raise ConfigError(
            f"HP_DOCKER_ENGINES: {place!r} is no address", hint="HOST:PORT, as in 24001=tcp://192.0.2.5:2375"
        )
    if not 1 <= int(number) <= 65_535:
        raise ConfigError(f"HP_DOCKER_ENGINES: {number} is no port", hint="1 to 65535")
    return EngineAddress(port, "tcp", f"{host}:{int(number)}")


def bind_folders(text: str) -> tuple[BindFolder, ...]:
    """``HP_BIND_MOUNTS``: absolute paths with commas between them; ``:ro`` behind one allows reading alone."""
    found = []
    for part in text.split(","):
        path = part.strip()
        if not path:
            continue
        bare = path.removesuffix(":ro").removesuffix(":rw")
        if not re.fullmatch(r"(/[^/:]+)+", bare) or any(name in (".", "..") for name in bare.split("/")):
            raise ConfigError(
                f"HP_BIND_MOUNTS cannot name {path!r}",
                hint="absolute paths below / without . and .. in them, e.g. /srv/models:ro,/srv/shared",
            )
        found.append(BindFolder(bare, path.endswith(":ro")))
    return tuple(found)


def upstreams(text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """``HP_EXAPP_UPSTREAMS``: ``app=host:port,host:port;app2=host:port``, app ids in lower case."""
    found: dict[str, tuple[str, ...]] = {}
    for part in (part.strip() for part in text.split(";")):
        if not part:
            continue
        app, equals, listed = part.partition("=")
        app, instances = app.strip().lower(), tuple(instance.strip() for instance in listed.split(","))
        if not equals or not re.fullmatch(r"[a-z0-9_][a-z0-9_.-]{0,99}", app):
            raise _no_upstreams(part, "has no app's id before a =")
        if app in found:
            raise _no_upstreams(part, "names an app for the second time")
        for instance in instances:
            match = _INSTANCE.fullmatch(instance)
            if match is None or not 0 < int(match[1]) < 65_536:
                raise _no_upstreams(part, f"has {instance!r}, which is no HOST:PORT")
        if len(set(instances)) < len(instances):
            raise _no_upstreams(part, "names an instance twice")
        found[app] = instances
    return tuple(found.items())


def _no_upstreams(part: str, why: str) -> ConfigError:
    return ConfigError(
        f"HP_EXAPP_UPSTREAMS cannot be read: {part!r} {why}",
        hint="e.g. app=10.0.0.5:23000,10.0.0.6:23000;other=host:8080",
    )


def _milliseconds(text: str) -> float:
    match = _DURATION.fullmatch(text)
    assert match is not None
    return int(match.group(1)) * _UNIT_MS[match.group(2)]


@dataclass(frozen=True, slots=True)
class _Given:
    """The variables, each read as what it has to be; an empty one counts as absent."""

    environ: Mapping[str, str]

    def text(self, name: str, default: str) -> str:
        text = self.environ.get(name, "").strip() or default
        if not text.isprintable():
            raise ConfigError(f"{name} has a character that cannot be printed", hint=f"e.g. {default}")
        return text

    def address(self, name: str, default: str) -> str:
        text = self.text(name, default)
        host, colon, port = text.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if (
            not colon
            or not port.isascii()
            or not port.isdecimal()
            or not 0 < int(port) < 65_536
            or not re.fullmatch(r"[\w.:*-]*", bare)
        ):
            raise ConfigError(f"{name} cannot be {text!r}", hint=f"HOST:PORT, e.g. {default or '127.0.0.1:9600'}")
        return f"{bare or '*'}:{port}"

    def duration(self, name: str, default: str) -> str:
        text = self.text(name, default)
        if not _DURATION.fullmatch(text) or _milliseconds(text) >= 1 << 31:
            raise ConfigError(f"{name} cannot be {text!r}", hint="a number with ms, s, m, h or d, below 24 days")
        return text

    def number(self, name: str, default: float, least: float, most: float) -> float:
        text = self.text(name, str(default))
        try:
            number = float(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise ConfigError(f"{name} cannot be {text!r}", hint=f"a number from {least:g} to {most:g}")
        return number

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        text = self.text(name, str(default))
        if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise ConfigError(f"{name} cannot be {text!r}", hint=f"a whole number from {least} to {most}")
        return int(text)

    def boolean(self, name: str, default: bool) -> bool:
        word = self.text(name, "true" if default else "false").lower()
        if word not in ("true", "false", "1", "0", "yes", "no"):
            raise ConfigError(f"{name} cannot be {word!r}", hint="true or false")
        return word in ("true", "1", "yes")


def trusting(ca_file: str) -> ssl.SSLContext:
    """Whom ``NC_INSTANCE_URL`` may have its certificate from: the system's authorities, and those of a PEM file.

    Raises :class:`ConfigError` where there is no such file, or no certificate in it.
    """
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            why = "there is no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
            raise ConfigError(
                f"HP_CA_FILE {ca_file} cannot be used: {why}", hint="a PEM file that Harp's user may read"
            ) from None
    return context
