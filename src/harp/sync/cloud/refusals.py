# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a Nextcloud refuses, and why: each kind is an error of its own, with a sentence for people."""

import aiohttp

from harp.base.errors import CloudError, StaleError

AWAY = "the storage that it lies on is not available just now"
_ANSWER_BYTES = 64 * 1024


class RefusedError(CloudError):
    """The server will not have this one change, whatever is tried."""

    retryable = False
    status = 0


class FullError(CloudError):
    """The account's quota is used up (507)."""


class BusyError(CloudError):
    """Locked, overloaded or in maintenance; ``after_s`` is when to come again, 0 where the server does not say."""

    after_s = 0.0
    is_one_file = False
    """Whether it is about this file only: somebody has locked it, or two writes met in the server's database."""


class AwayError(BusyError):
    """The storage that it lies on does not answer the server: a mount that is away, or the server of a federated share.

    Seen on 32.0.1 for each kind of request; a server in maintenance names another exception.
    """

    is_one_file = True


class LoginError(CloudError):
    """Name or app password are not good, or not any more."""

    retryable = False


async def said(response: aiohttp.ClientResponse) -> Exception:
    """What an answer other than 2xx says, as the error that it is."""
    status = response.status
    raw = await response.content.read(_ANSWER_BYTES)
    text = _message(raw)
    match status:
        case 401:
            return LoginError("the name or the app password is refused", hint="log in again: harp account add NAME URL")
        case 404 | 409 | 412:
            return StaleError(f"the account is not as it was a moment ago ({status})")
        case 507:
            return FullError("the account's quota is used up", hint="free some space in Nextcloud, its trash too")
        case 503 if _AWAY in raw:
            return AwayError(AWAY, hint="it is tried again")
        case 423 | 429 | 502 | 503 | 504:
            busy = BusyError(_BUSY.get(status, f"the server does not answer ({status})"), hint="it is tried again")
            after = response.headers.get("Retry-After", "")
            busy.is_one_file = status == 423
            busy.after_s = min(float(after), 3600.0) if after.isascii() and after.isdigit() else 0.0
            return busy
        case 500 if "deadlock" in text.lower() or "lock" in text.lower():
            busy = BusyError("the server's database was locked", hint="it is tried again")
            busy.is_one_file = True
            return busy
        case _ if 300 <= status < 400 and (where := response.headers.get("Location", "")):
            return CloudError(f"the server sends on to {where[:200]}", hint="name the address that it sends on to")
        case _ if status >= 500 or 300 <= status < 400:
            return CloudError(f"the server answered {status}: {text}".rstrip(": "), hint="its log says why")
        case _:
            refused = RefusedError(text or f"refused by the server ({status})")
            refused.status = status
            return refused


_AWAY = rb"<s:exception>Sabre\DAV\Exception\ServiceUnavailable</s:exception>"
_BUSY = {
    423: "a file is locked there",
    429: "the server asks for patience: too many requests",
    503: "the server is in maintenance or overloaded",
}


def _message(raw: bytes) -> str:
    """The sentence in sabre's error document, for people."""
    text = raw.decode("utf-8", "replace")
    _, _, rest = text.partition("<s:message>")
    return rest.partition("</s:message>")[0][:300]
