# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a route of ``/v1`` is: what is asked, what is answered, which verb it takes, and who performs it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from harp.bridge import model
from harp.bridge.caller import Caller, Verb
from harp.bridge.daemonport import Daemon

# The third argument is an instance of the route's `asks`; the table below is what keeps the two together.
Answering = Callable[[Daemon, Caller, Any], Awaitable[model.Noun]]
Streaming = Callable[[Daemon, Caller, Any], AsyncIterator[model.Noun]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One JSON object."""

    perform: Answering


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """One JSON object a line, as long as the work takes."""

    perform: Streaming


@dataclass(frozen=True, slots=True)
class Route:
    """One thing that can be asked. A ``folder`` in ``asks`` is a whole, permitted id before ``how`` sees it."""

    method: str
    path: str
    asks: type[model.Noun]
    answers: type[model.Noun]
    verb: Verb
    summary: str
    how: Answer | Lines

    @property
    def name(self) -> str:
        """The operation's id: unique, and stable within ``/v1``."""
        words = [word.strip("{}") for word in self.path.split("/")[2:]]
        return "_".join([self.method.lower(), *words])
