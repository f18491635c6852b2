# SPDX-License-Identifier: AGPL-3.0-or-later
"""The hub as an External App of Nextcloud: what AppAPI asks of one, on the port where its WebSockets come in.

It needs nothing of Nextcloud, so there is little to say: it is alive, it needs no time to get ready (501 means that
to AppAPI), and it may be turned on and off, which changes nothing but what the proxy lets through. And who a person is
that the proxy has let through, by its headers (the proxy's contract, 75 and 76).
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path

from harp.base import privatefile

SECRET_FILE = "exapp-secret"  # noqa: S105 - a name
SECRET_VARIABLE = "APP_SECRET"  # noqa: S105
ID_VARIABLE, VERSION_VARIABLE = "APP_ID", "APP_VERSION"
DEFAULT_ID = "harp"
_MAX_SECRET_BYTES = 4096


class ExApp:
    """``secret`` is what AppAPI was told at ``app:register``; without one everything but the heartbeat is refused.

    ``version`` is the registered one, where that is known here.
    """

    def __init__(self, secret: str, id_: str = DEFAULT_ID, version: str = "") -> None:
        self._secret = secret.encode()
        self.id = id_
        self._version = version

    def page(self, method: str, target: str, headers: Mapping[str, str]) -> tuple[int, bytes] | None:
        """Status and JSON; ``headers`` by their names in lower case. None for what is not there."""
        path = target.partition("?")[0]
        match method, path:
            case "GET", "/heartbeat":
                return 200, _json({"status": "ok"})
            case ("POST", "/init") | ("PUT", "/enabled") if not self._is_nextcloud(headers):
                return 401, _json({"error": "this is not the secret that the app was registered with"})
            case "POST", "/init":
                return 501, _json({})
            case "PUT", "/enabled":
                return 200, _json({"error": ""})
            case _:
                return None

    def person(self, headers: Mapping[str, str]) -> str | None:
        """The id of whom the proxy has let through, empty where that is nobody it knows; names of headers in any case.

        None where the request did not come through the proxy, or was meant for another app.
        """
        lower = {name.lower(): value for name, value in headers.items()}
        version = lower.get("ex-app-version", "")
        if lower.get("ex-app-id") != self.id or not version or self._version not in ("", version):
            return None
        user = self._user(lower)
        try:
            return None if user is None else user.decode()
        except UnicodeDecodeError:
            return None

    def token(self, user: str) -> str:
        """What stands for a person in the console's forms: a secret, the same after each start."""
        return hmac.new(self._secret, b"harp console person\0" + user.encode(), hashlib.sha256).hexdigest()

    def _is_nextcloud(self, headers: Mapping[str, str]) -> bool:
        return self._user(headers) is not None

    def _user(self, headers: Mapping[str, str]) -> bytes | None:
        """Of AppAPI's header, base64 of ``user:secret``, the user: empty where Nextcloud itself asks.

        None where the secret is another one.
        """
        try:
            said = base64.b64decode(headers.get("authorization-app-api", ""), validate=True)
        except (binascii.Error, ValueError):
            return None
        user, _, secret = said.partition(b":")
        return user if self._secret and hmac.compare_digest(secret, self._secret) else None


def of_home(home: Path, environ: Mapping[str, str]) -> ExApp:
    """The secret is in ``HOME/exapp-secret`` (0600), else in ``APP_SECRET``, where AppAPI's own deployments put it.

    Raises :class:`ConfigError` where others may read the file.
    """
    kept = privatefile.secret(home / SECRET_FILE, _MAX_SECRET_BYTES, "the secret of `occ app_api:app:register`")
    known = environ.get(ID_VARIABLE, DEFAULT_ID), environ.get(VERSION_VARIABLE, "")
    return ExApp(environ.get(SECRET_VARIABLE, "") if kept is None else kept.strip(), *known)


def _json(body: Mapping[str, str]) -> bytes:
    return json.dumps(body).encode()
