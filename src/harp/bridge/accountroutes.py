# SPDX-License-Identifier: AGPL-3.0-or-later
"""The routes for Nextcloud accounts."""

from harp.bridge import accountview, model, requests
from harp.bridge.caller import Caller, Verb
from harp.bridge.daemonport import Daemon
from harp.bridge.route import Answer, Route


async def _accounts(daemon: Daemon, _: Caller, __: requests.Nothing) -> accountview.AccountList:
    return await daemon.accounts()


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/accounts",
        requests.Nothing,
        accountview.AccountList,
        Verb.MANAGE,
        "The Nextcloud accounts of this device",
        Answer(perform=_accounts),
    ),
    Route(
        "POST",
        "/v1/accounts",
        accountview.AccountAsked,
        accountview.AccountStatus,
        Verb.MANAGE,
        "Log in to a Nextcloud with an app password, and keep the account",
        Answer(perform=lambda daemon, _, asked: daemon.add_account(asked)),
    ),
    Route(
        "POST",
        "/v1/accounts/{account}/login",
        accountview.LoginAsked,
        accountview.AccountLogin,
        Verb.MANAGE,
        "Begin a login to a Nextcloud that a person ends in a browser",
        Answer(perform=lambda daemon, _, asked: daemon.log_in(asked)),
    ),
    Route(
        "DELETE",
        "/v1/accounts/{account}",
        accountview.AccountNamed,
        model.Done,
        Verb.MANAGE,
        "Forget an account of which no folder mirrors anything",
        Answer(perform=lambda daemon, _, asked: daemon.remove_account(asked.account)),
    ),
)
