# SPDX-License-Identifier: AGPL-3.0-or-later
"""What can be set, what it may be and where it comes from: ``HOME/config.toml``, ``HARP_*``, the command line.

A setting is text until the last arrow, where all of them are read once and together into a frozen :class:`Config`.
"""

import contextlib
import ipaddress
import os
import re
import socket
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from harp.base import privatefile
from harp.base.errors import ConfigError, UsageError
from harp.base.timetable import Timetable, timetable
from harp.base.webaddress import WebAddress, https_address, web_address

FILE_NAME = "config.toml"
DEFAULT_PORT = 8783
BRIDGE_SOCKET = "/run/harp/bridge.sock"
DEFAULT_CONSOLE = "127.0.0.1:8785"
_LOG_LEVELS = ("debug", "info", "warning", "error")
_MAX_NAME_BYTES = 64
_MAX_FILE_BYTES = 64 * 1024

_T = TypeVar("_T")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 means any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that can be set, valid. The fields but ``home`` are the keys of ``harp config``."""

    home: Path
    listen: Address
    websocket: Address | None
    websocket_path: str
    websocket_url: WebAddress | None
    bridge_socket: Path | None
    bridge_group: str
    discovery: bool
    device_name: str
    lan_subnets: tuple[Network, ...]
    wan_subnets: tuple[Network, ...]
    lan_round_trip_ms: float
    lan_only: bool
    office_cache: bool
    receive_limit: Timetable
    send_limit: Timetable
    scan_interval_s: float
    account_poll_s: float
    journal_poll_s: float | None
    nextcloud_data: Path | None
    trash_days: float
    trash_share: float
    guard_files: int
    guard_share: float
    guard_entries: int
    console: Address | None
    console_url: str
    console_certificate: str
    log_level: str


@dataclass(frozen=True, slots=True)
class Setting:
    """One key: how its text is read (``ValueError`` says what it must be), and its default as text."""

    summary: str
    read: Callable[[str], object]
    default: Callable[[], str]


def home_folder(given: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> Path:
    """The home: as given, else ``HARP_HOME``, else ``harp`` in the XDG data folder (``~/.local/share``)."""
    named = os.fspath(given) if given else environ.get("HARP_HOME", "")
    if named:
        return Path(named).expanduser().absolute()
    data = environ.get("XDG_DATA_HOME", "")
    # The XDG Base Directory Specification: a path that is not absolute must be ignored.
    folder = Path(data) if data.startswith("/") else Path.home() / ".local" / "share"
    return folder / "harp"


def load(home: Path, *, environ: Mapping[str, str], overrides: Mapping[str, str]) -> Config:
    """The configuration of ``home``; ``overrides`` are texts by key, from the command line.

    Raises :class:`ConfigError`, which names the key, where it was set, and what it may be.
    """
    values: dict[str, object] = {}
    stored = _stored(home)
    for key, setting in SETTINGS.items():
        text, source = _written(key, setting, stored, environ, overrides)
        try:
            values[key] = setting.read(text)
        except ValueError as error:
            raise ConfigError(f"{key} = {text!r} ({source}): {error}", hint=setting.summary) from error
    return Config(home=home, **values)  # type: ignore[arg-type]


def get(home: Path, key: str, *, environ: Mapping[str, str]) -> str:
    """The text of one setting, as it holds without a command line. Raises :class:`UsageError` for an unknown key."""
    setting = _known(key)
    return _written(key, setting, _stored(home), environ, {})[0]


def check(key: str, value: str) -> None:
    """Raises :class:`UsageError` where there is no such key, or where it cannot have this value."""
    setting = _known(key)
    try:
        setting.read(value)
    except ValueError as error:
        raise UsageError(f"{key} cannot be {value!r}: {error}", hint=setting.summary) from error


def set_value(home: Path, key: str, value: str) -> None:
    """Write one setting to ``HOME/config.toml``, whole or not at all; the comments in it are not kept.

    Raises :class:`UsageError` for an unknown key or an unfit value, :class:`ConfigError` where the file is not good or
    cannot be written.
    """
    check(key, value)
    texts = _stored(home) | {key: value}
    body = "".join(f"{name} = {_quoted(texts[name])}\n" for name in SETTINGS if name in texts)
    privatefile.replace(home / FILE_NAME, body)


def address(text: str) -> Address:
    """``HOST:PORT`` or ``[V6]:PORT``. Raises ``ValueError``."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or int(port) > 65_535:
        raise ValueError("it must be HOST:PORT, with a port from 0 to 65535")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or (":" in bare and bare == host) or any(c.isspace() for c in bare):
        raise ValueError("it must be HOST:PORT, and an IPv6 address stands in brackets: [::]:8783")
    return Address(bare, int(port))


def _optional_address(text: str) -> Address | None:
    return None if text.strip().lower() == "none" else address(text)


def _url(text: str) -> str:
    return https_address(text) if text.strip() else ""


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("true", "false", "yes", "no", "on", "off", "1", "0"):
        raise ValueError("it must be true or false")
    return word in ("true", "yes", "on", "1")


def _number(least: float, most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        with contextlib.suppress(ValueError):
            number = float(text)
            if least <= number <= most:
                return number
        raise ValueError(f"it must be a number from {least:g} to {most:g}")

    return read


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        with contextlib.suppress(ValueError):
            number = int(text)
            if least <= number <= most:
                return number
        raise ValueError(f"it must be a whole number from {least} to {most}")

    return read


def _unless_none(read: Callable[[str], _T]) -> Callable[[str], _T | None]:
    return lambda text: None if text.strip().lower() in ("", "none") else read(text)


def _web_path(text: str) -> str:
    try:
        if text.startswith("/"):
            return web_address(f"wss://host{text}").path
    except ValueError:
        pass
    raise ValueError("it must be the path of a web address, e.g. /harp")


def _absolute(text: str) -> Path:
    if not text.startswith("/") or not text.isprintable():
        raise ValueError("it must be a path that begins with /")
    return Path(text)


def _group(text: str) -> str:
    # useradd(8) and groupadd(8): what a name may be
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", text):
        raise ValueError("it must be the name of a group, e.g. www-data")
    return text


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part, strict=False) for part in text.replace(",", " ").split())
    except ValueError as error:
        raise ValueError("it must be networks with commas between them, e.g. 192.168.0.0/16, fd00::/8") from error


def _device_name(text: str) -> str:
    name = text.strip()
    if not name or len(name.encode("utf-8", "replace")) > _MAX_NAME_BYTES or not name.isprintable():
        raise ValueError(f"it must be 1 to {_MAX_NAME_BYTES} bytes of printable text")
    return name


def _log_level(text: str) -> str:
    level = text.strip().lower()
    if level not in _LOG_LEVELS:
        raise ValueError("it must be one of " + ", ".join(_LOG_LEVELS))
    return level


def _host_name() -> str:
    name = "".join(c for c in socket.gethostname().split(".")[0] if c.isascii() and c.isprintable())
    return name[:_MAX_NAME_BYTES].strip() or "device"


def _always(text: str) -> Callable[[], str]:
    return lambda: text


SETTINGS: Mapping[str, Setting] = {
    "listen": Setting("where other devices reach this one", address, _always(f"0.0.0.0:{DEFAULT_PORT}")),
    "websocket": Setting(
        "where a web server on this machine passes other devices on to this one, e.g. 127.0.0.1:8786; none: nowhere",
        _unless_none(address),
        _always("none"),
    ),
    "websocket_path": Setting("below which path it does that; /: any", _web_path, _always("/")),
    "websocket_url": Setting(
        "what others dial to come that way, e.g. wss://cloud.example.org/exapps/harp/link",
        _unless_none(web_address),
        _always("none"),
    ),
    "bridge_socket": Setting(
        "where Nextcloud's app harpbridge says that files have changed; none: nowhere",
        _unless_none(_absolute),
        _always(BRIDGE_SOCKET),
    ),
    "bridge_group": Setting("the web server's group, which may write there", _group, _always("www-data")),
    "discovery": Setting("whether devices on one network find each other by themselves", _boolean, _always("true")),
    "device_name": Setting("what other devices call this one", _device_name, _host_name),
    "lan_subnets": Setting("networks that count as local, beside those of this device", _networks, _always("")),
    "wan_subnets": Setting("networks that count as far away, even if they look local", _networks, _always("")),
    "lan_round_trip_ms": Setting(
        "who answers within this many milliseconds is local, whatever its network; 0: only by networks",
        _number(0, 100),
        _always("1"),
    ),
    "lan_only": Setting("whether content is taken from local devices alone", _boolean, _always("false")),
    "office_cache": Setting(
        "whether local devices leave it to this one to fetch from afar", _boolean, _always("false")
    ),
    "receive_limit": Setting("the most that the line takes in: 8 Mbit/s, 18:00-07:00 none", timetable, _always("none")),
    "send_limit": Setting("the most that is sent over the line, written alike", timetable, _always("none")),
    "scan_interval_s": Setting("seconds between two full scans", _number(10, 604_800), _always("3600")),
    "account_poll_s": Setting(
        "seconds between two looks at a Nextcloud account that tells of no change by itself",
        _number(1, 86_400),
        _always("15"),
    ),
    "journal_poll_s": Setting(
        "seconds between two looks at harpbridge's journal, for web nodes on other machines than this; none: never",
        _unless_none(_number(0.5, 3600)),
        _always("none"),
    ),
    "nextcloud_data": Setting(
        "the data folder of a Nextcloud on this machine, from which large files are read without PHP; none: nowhere",
        _unless_none(_absolute),
        _always("none"),
    ),
    "trash_days": Setting(
        "days of running for which what was replaced or deleted is kept", _number(0, 3650), _always("30")
    ),
    "trash_share": Setting("the most that the trash takes of the disk, as a share", _number(0, 0.9), _always("0.10")),
    "guard_files": Setting("deletions within ten minutes that need approval", _whole(1, 1_000_000_000), _always("100")),
    "guard_share": Setting("the same, as a share of the folder's files", _number(0, 1), _always("0.25")),
    "guard_entries": Setting(
        "entries of one device within an hour that need approval", _whole(1, 1_000_000_000), _always("1000000")
    ),
    "console": Setting(
        "where the console is reached from a browser, HOST:PORT; none: nowhere",
        _optional_address,
        _always(DEFAULT_CONSOLE),
    ),
    "console_url": Setting(
        "the address of a reverse proxy before the console: https://nas.example/harp", _url, _always("")
    ),
    "console_certificate": Setting(
        "a PEM file with certificate and key, for a console beyond this machine", str.strip, _always("")
    ),
    "log_level": Setting("how much is logged: " + ", ".join(_LOG_LEVELS), _log_level, _always("info")),
}


def _known(key: str) -> Setting:
    try:
        return SETTINGS[key]
    except KeyError as error:
        raise UsageError(f"there is no setting {key!r}", hint="there are: " + ", ".join(SETTINGS)) from error


def _written(
    key: str, setting: Setting, stored: Mapping[str, str], environ: Mapping[str, str], overrides: Mapping[str, str]
) -> tuple[str, str]:
    """The text that counts, and where it was found."""
    variable = "HARP_" + key.upper()
    if key in overrides:
        return overrides[key], "on the command line"
    if variable in environ:
        return environ[variable], f"in the environment, {variable}"
    if key in stored:
        return stored[key], f"in {FILE_NAME}"
    return setting.default(), "by default"


def _stored(home: Path) -> dict[str, str]:
    """The settings of the file, as texts."""
    path = home / FILE_NAME
    try:
        with path.open("rb") as file:
            body = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="give it back to its owner, 0600") from error
    try:
        if len(body) > _MAX_FILE_BYTES:
            raise ValueError("it is too long")
        table = tomllib.loads(body.decode())
    except ValueError as error:
        raise ConfigError(
            f"{path} is not good TOML: {error}", hint="repair it, or remove it to start afresh"
        ) from error
    unknown = [key for key in table if key not in SETTINGS]
    if unknown:
        raise ConfigError(f"{path} has an unknown key {unknown[0]!r}", hint="there are: " + ", ".join(SETTINGS))
    return {key: _as_text(value) for key, value in table.items()}


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value)


def _quoted(text: str) -> str:
    """A TOML basic string (TOML 1.0, "String"); every value is written as one: :func:`_as_text` reads them alike."""
    escaped = "".join(c if c >= " " and c not in '"\\\x7f' else f"\\u{ord(c):04x}" for c in text)
    return f'"{escaped}"'
