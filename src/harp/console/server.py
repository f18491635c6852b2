# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console's server: bound to an address, answering under its own names only, every page behind the door."""

import errno
import logging
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from harp.base.config import Address
from harp.base.errors import ConfigError
from harp.console.checks import Checks
from harp.console.client import Client
from harp.console.door import Door
from harp.console.entrance import Entrance
from harp.console.guests import Guests
from harp.console.nextcloud import FromNextcloud, Vouching
from harp.console.origin import Front, Origins, is_loopback
from harp.console.password import Password
from harp.console.sessions import Sessions

_log = logging.getLogger(__name__)

MAX_BODY_BYTES = 1 << 20
_SHUTDOWN_S = 0.25


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """``address``: where it is bound; ``may_move``: to a free port where that one is taken. ``url``: of a proxy."""

    address: Address
    may_move: bool = False
    certificate: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class EntryLink:
    """An address that lets one browser in, once."""

    url: str
    expires_at: float


class Console:
    """Serves from :meth:`start` to :meth:`close`."""

    def __init__(self, home: Path, settings: ConsoleSettings, checks: Checks) -> None:
        self._settings = settings
        self._checks = checks
        self.client = Client(home)
        self.sessions = Sessions(home)
        self.password = Password(home)
        self.front = Front.at(settings.url)
        self.is_local = is_loopback(settings.address.host)
        self._names = names_of(settings.certificate)
        self.origins = Origins(self.front, self.is_local, bool(settings.certificate), frozenset(self._names))
        self._runner: web.AppRunner | None = None
        self._bound = settings.address

    # --- from outside -------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Raises :class:`ConfigError` where the address is taken, or where binding there would not be safe."""
        context = self._demand_safe()
        door = self._listening()
        self._bound = Address(*door.getsockname()[:2])
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        Door(Entrance(self.client, self.sessions, self.password, self.origins), self._checks).add_to(app)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_S, handle_signals=False
        )
        await self._runner.setup()
        await web.SockSite(self._runner, door, ssl_context=context).start()

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        if self.front.origin:
            return f"{self.front.origin}{self.front.base}/"
        host = self._bound.host
        if host in ("0.0.0.0", "::"):  # noqa: S104 - compared with, not bound to
            host = self._names[0] if self._names else "127.0.0.1"
        return f"{'https' if self._settings.certificate else 'http'}://{Address(host, self._bound.port)}/"

    def link(self) -> EntryLink:
        """A way in that works once."""
        made = self.sessions.link(now=time.time())
        return EntryLink(f"{self.address}in/{made.token}", made.expires_at)

    # --- parts --------------------------------------------------------------------------------------------------------

    def _demand_safe(self) -> ssl.SSLContext | None:
        """The TLS that is wanted. Beyond this machine nobody is let in without a password and TLS."""
        where = self._settings.address
        if not self.is_local and not self._settings.certificate:
            raise ConfigError(
                f"the console cannot be on {where} without TLS: whoever is on the line could read and act as you",
                hint="harp config set console_certificate FILE (PEM, with its key), or --console 127.0.0.1:8785",
            )
        if (not self.is_local or self.front.origin) and not self.password.is_set:
            raise ConfigError(
                f"the console cannot be reached at {self.front.origin or where} without a password",
                hint="set one: harp console --set-password",
            )
        if not self._settings.certificate:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self._settings.certificate)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"console_certificate: {self._settings.certificate} cannot be used: {error}",
                hint="a PEM file that holds the certificate, those of its issuers, and the key without a passphrase",
            ) from error
        return context

    def _listening(self) -> socket.socket:
        wanted = self._settings.address
        ports: Sequence[int] = [wanted.port, 0] if self._settings.may_move else [wanted.port]
        for port in ports:
            try:
                return _bound(Address(wanted.host, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE and port != ports[-1]:
                    continue
                raise ConfigError(
                    f"the console cannot listen on {wanted}: {error.strerror}",
                    hint="harp config set console 127.0.0.1:0 takes any free port; `none` turns the console off",
                ) from error
        raise AssertionError("a port or an error")


def inside_nextcloud(home: Path, vouching: Vouching, guests: Guests, checks: Checks) -> web.Application:
    """The pages as an External App of Nextcloud has them, for whoever receives that app's requests."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    Door(FromNextcloud(vouching, Client(home), guests), checks).add_to(app)
    return app


def names_of(certificate: str) -> list[str]:
    """The names that a certificate is for (RFC 6125), in lower case; none where it cannot be read, or is not given."""
    if not certificate:
        return []
    from cryptography import x509  # whoever has no certificate does not need it

    try:
        found = x509.load_pem_x509_certificate(Path(certificate).read_bytes())
        listed = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = listed.get_values_for_type(x509.DNSName)
    except (OSError, ValueError, x509.ExtensionNotFound):
        return []
    return [name.lower() for name in names if "*" not in name]


def _bound(where: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((where.host, where.port))
        door.listen(128)
        door.setblocking(False)
    except BaseException:
        door.close()
        raise
    return door
