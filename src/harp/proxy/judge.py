# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whole decision about one request, for what HAProxy does not know by itself."""

import re
from dataclasses import dataclass

from harp.proxy.callers import Answer, Callers, Numbers, TooManyQuestions
from harp.proxy.model import (
    NOBODY,
    Allowed,
    AppId,
    CredentialKey,
    Credentials,
    ExApp,
    Level,
    Matcher,
    NextcloudUnsure,
    Refusal,
    Route,
    Upstream,
)
from harp.proxy.policy import decide, patterns
from harp.proxy.policy.compile import header_for
from harp.proxy.registry import Registry

NONE = Credentials("", "")


@dataclass(frozen=True, slots=True)
class Question:
    """What HAProxy sends along. ``key`` is the credential's, where there is one."""

    spelled: str
    target: str
    has_key: bool = False
    is_signed: bool = False
    key: CredentialKey | None = None
    has_passphrase: bool = False
    credentials: Credentials = NONE
    host: str = ""
    port: str = ""
    version: str = ""
    """The last three as Nextcloud's own headers say them, for an app that nobody knows yet (88)."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A person as HAProxy remembers it: a number, the text behind it, and until when it may be believed."""

    number: int
    text: str
    until: float


@dataclass(frozen=True, slots=True)
class Granted:
    """The request goes to ``upstream``. Without ``header``, the one that came stays (92)."""

    upstream: Upstream
    version: str
    header: str | None = None
    route: Allowed | None = None
    strip_authorization: bool = False
    caller: Caller | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The request goes nowhere. ``counts`` says whether it is a failure of the client."""

    why: Refusal
    counts: bool
    caller: Caller | None = None


Ruling = Granted | Refused


class Judge:
    """Finds the app and the person, and asks the policy."""

    def __init__(self, registry: Registry, callers: Callers, numbers: Numbers, matcher: Matcher) -> None:
        self._registry = registry
        self._callers = callers
        self._numbers = numbers
        self._matcher = matcher

    async def rule(self, question: Question) -> Ruling:
        """The ruling on one question. It may take as long as Nextcloud does."""
        app_id = decide.app_id(question.spelled)
        if question.is_signed:
            return await self._signed(app_id, question)
        try:
            app = await self._registry.find(app_id)
        except NextcloudUnsure:
            return Refused(Refusal.LOOKUP_FAILED, False)
        if app is None:
            return Refused(Refusal.UNKNOWN_APP, not question.has_key)
        if decide.is_internal(question.target):
            return Refused(Refusal.INTERNAL, True)
        try:
            return await self._unsigned(app, question)
        except TooManyQuestions:
            return Refused(Refusal.TOO_MANY_QUESTIONS, False)
        except TimeoutError:
            return Refused(Refusal.ROUTE_TOO_SLOW, False)

    async def _signed(self, app_id: AppId, question: Question) -> Ruling:
        """Nextcloud itself asks: no route and no person is looked at (85–95)."""
        try:
            app = await self._registry.find(app_id)
        except NextcloudUnsure:
            app = None
        if app is not None:
            await self._registry.listening(app)
            upstream = await self._registry.upstream(app_id)
            return Granted(upstream, app.version) if upstream else Refused(Refusal.UNRESOLVABLE, False)
        if not re.fullmatch(r"[0-9]{1,5}", question.port) or not 0 < int(question.port) < 65_536:
            return Refused(Refusal.BAD_UPSTREAM, False)
        upstream = await self._registry.address_of(question.host, int(question.port))
        return Granted(upstream, question.version) if upstream else Refused(Refusal.UNRESOLVABLE, False)

    async def _unsigned(self, app: ExApp, question: Question) -> Ruling:
        route = await self._route(app, question.target)
        answer, is_unsure = await self._answer(app, question)
        identity = NOBODY if answer is None else answer.identity
        said = decide.verdict(route, identity)
        if is_unsure and not (isinstance(said, Allowed) and said.level is Level.PUBLIC):
            # Nobody knows whether this person may: not a failure of the client's (70, 104).
            return Refused(said if said is Refusal.NO_ROUTE else Refusal.IDENTITY_UNKNOWN, said is Refusal.NO_ROUTE)
        upstream = await self._registry.upstream(app.id)
        if isinstance(said, Allowed) and upstream is None:
            return Refused(Refusal.UNRESOLVABLE, False)
        strip = _did_identify(identity.is_somebody, question)
        caller = None
        if answer is not None and answer.only_at is None:
            caller = Caller(*self._numbers.number(identity, strip, answer.until), answer.until)
        if isinstance(said, Refusal):
            return Refused(said, said.counts, caller)
        assert upstream is not None
        return Granted(upstream, app.version, header_for(identity, app), said, strip or is_unsure, caller)

    async def _answer(self, app: ExApp, question: Question) -> tuple[Answer | None, bool]:
        """What Nextcloud says of the person, if one has to be asked about, and whether it said nothing."""
        if question.key is None:
            return None, False
        try:
            return await self._callers.identify(question.key, app.id, question.credentials), False
        except NextcloudUnsure:
            return None, True

    async def _route(self, app: ExApp, target: str) -> Route | None:
        """The first route that matches. Expressions that may take long are matched elsewhere, under a time limit."""
        for index, route in enumerate(app.routes):
            if patterns.for_haproxy(route.pattern) is None:
                rest = app.routes[index:]
                found = await self._matcher.first(tuple(route.pattern for route in rest), target)
                return None if found is None else rest[found]
            if re.match(route.pattern, target):
                return route
        return None


def _did_identify(is_somebody: bool, question: Question) -> bool:
    """Whether the Authorization header was what identified the person, as far as that can be told.

    With a session's cookie beside it, a bearer token is taken to be meant for the app; a password is not.
    """
    authorization = question.credentials.authorization
    if not is_somebody or not authorization:
        return False
    return not question.has_passphrase or authorization[:6].lower() == "basic "
