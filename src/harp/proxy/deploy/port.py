# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a deployment backend does for AppAPI (contract, 3.3 to 3.7)."""

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer to AppAPI: a status, and either a text or an object for JSON."""

    status: int
    text: str = ""
    body: dict[str, Any] | None = None


class Backend(Protocol):
    """One family of calls, ``/docker/exapp/VERB`` or ``/k8s/exapp/VERB``."""

    def is_available(self) -> bool:
        """Whether apps can be deployed this way."""
        ...

    async def call(self, verb: str, engine_port: str | None, body: bytes) -> Outcome:
        """The answer to one call; ``engine_port`` is the header ``docker-engine-port``."""
        ...
