# SPDX-License-Identifier: AGPL-3.0-or-later
"""A Nextcloud before anybody has logged in: whether it is one, and the login flow that yields an app password."""

import asyncio
import ssl
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp

from harp.base.errors import CloudError, StaleError, UsageError
from harp.base.webaddress import https_address
from harp.sync.cloud.dav import Login, asked, opened, read_json
from harp.sync.cloud.refusals import BusyError, LoginError, RefusedError

POLL_S = 1.0
LOGIN_S = 20 * 60.0
"""Nextcloud forgets a login that was begun after twenty minutes (developer manual, "Login flow v2")."""
_ENDS = ("/index.php", "/remote.php", "/apps/", "/login", "/status.php", "/ocs/")


@dataclass(frozen=True, slots=True)
class LoginFlow:
    """One run of login flow v2: ``address`` is for a person's browser; the rest is asked until they have agreed."""

    address: str
    endpoint: str
    token: str = field(repr=False)


def address(text: str) -> str:
    """The address of a Nextcloud from what a person copies out of a browser. Raises :class:`UsageError`.

    >>> address("https://cloud.example/nextcloud/index.php/apps/files/")
    'https://cloud.example/nextcloud'
    """
    try:
        found = https_address(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no address of a Nextcloud: {error}", hint="https://cloud.example") from error
    return min((found.partition(end)[0] for end in _ENDS), key=len).rstrip("/")


def session(ca_file: str, *traces: aiohttp.TraceConfig) -> aiohttp.ClientSession:
    """To be closed by the caller. ``ca_file``: certificates that are trusted beside the system's.

    ``traces`` are called on what happens in it.

    Raises :class:`UsageError` where that is no file of certificates.
    """
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"{ca_file} is no file of certificates: {error}", hint="name the authority's PEM file"
            ) from error
    # Who asks is said with each request; a session's cookie would go on after the app password was revoked.
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(ssl=context),
        trust_env=True,
        trace_configs=list(traces),
    )


async def demand(session: aiohttp.ClientSession, url: str) -> str:
    """The version of the Nextcloud at ``url``. Raises :class:`CloudError` where there is none, or it is not at work."""
    try:
        async with opened(session, url, "GET", f"{url}/status.php") as response:
            told = await read_json(response)
    except (RefusedError, StaleError) as error:
        raise _no_nextcloud(url) from error
    version = told.get("versionstring") if isinstance(told, dict) else None
    if not isinstance(version, str) or told.get("installed") is not True:
        raise _no_nextcloud(url)
    if told.get("maintenance") is True:
        raise BusyError(f"the Nextcloud at {url} is in maintenance", hint="try again when it is over")
    if told.get("needsDbUpgrade") is True:
        raise BusyError(f"the Nextcloud at {url} is being updated", hint="try again when it is over")
    return version


async def begin_login(session: aiohttp.ClientSession, url: str, device: str) -> LoginFlow:
    """Begins login flow v2 (Nextcloud's developer manual, "Login flow"); ``device`` is what the password is called."""
    agent = {"User-Agent": f"Harp ({device})".encode("ascii", "replace").decode()}
    async with opened(session, url, "POST", f"{url}/index.php/login/v2", headers=agent) as response:
        told = await read_json(response)
    try:
        flow = LoginFlow(str(told["login"]), str(told["poll"]["endpoint"]), str(told["poll"]["token"]))
    except (KeyError, TypeError) as error:
        raise _no_nextcloud(url) from error
    if urlsplit(flow.address).scheme not in ("https", "http"):
        raise _no_nextcloud(url)
    # It is asked with the token alone, so nobody else may be meant.
    if urlsplit(flow.endpoint).hostname != urlsplit(url).hostname:
        raise CloudError(
            f"{url} sends the login to another server, {urlsplit(flow.endpoint).hostname}",
            hint="name that address, if you know it; else its administrator has to set overwrite.cli.url",
        )
    return flow


async def granted(session: aiohttp.ClientSession, url: str, flow: LoginFlow) -> Login | None:
    """Name and app password, once the person has agreed in the browser; None before that."""
    endpoint = url + urlsplit(flow.endpoint).path.removeprefix(urlsplit(url).path)
    try:
        async with opened(session, url, "POST", endpoint, data={"token": flow.token}) as response:
            told = await read_json(response)
    except StaleError:
        return None
    try:
        return Login(url, str(told["loginName"]), str(told["appPassword"]))
    except (KeyError, TypeError) as error:
        raise _no_nextcloud(url) from error


async def awaited(session: aiohttp.ClientSession, url: str, flow: LoginFlow) -> Login:
    """The same, as soon as the person has agreed. Raises :class:`CloudError` where nobody does."""
    until = time.monotonic() + LOGIN_S
    while time.monotonic() < until:
        login = await granted(session, url, flow)
        if login is not None:
            return login
        await asyncio.sleep(POLL_S)
    raise CloudError("nobody has agreed within twenty minutes", hint="begin again")


async def take_back(session: aiohttp.ClientSession, login: Login) -> bool:
    """Makes the app password worthless; whether the server has done it."""
    try:
        async with asked(session, login, "DELETE", f"{login.url}/ocs/v2.php/core/apppassword?format=json"):
            return True
    except LoginError:
        return True
    except CloudError:
        return False


def _no_nextcloud(url: str) -> CloudError:
    return CloudError(f"{url} is not a Nextcloud", hint="open it in a browser and copy the address from there")
