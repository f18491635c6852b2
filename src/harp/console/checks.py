# SPDX-License-Identifier: AGPL-3.0-or-later
"""Checks of whole folders that pages have begun: they go on while nobody looks, and are found again."""

from harp.base.runtime import Tasks
from harp.console.client import Client, Json, Refused, at

MOST_FINDINGS = 100


class Checks:
    """Implements :class:`harp.console.page.House`; on the console's event loop."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._found: dict[str, Json] = {}

    def start_verify(self, client: Client, folder: str) -> None:
        if self._found.get(folder, {}).get("phase") != "verifying":
            self._found[folder] = {"phase": "verifying", "findings": []}
            self._tasks.start(f"console verifies {folder[:12]}", self._verify(client, folder))

    def verification(self, folder: str) -> Json | None:
        return self._found.get(folder)

    async def _verify(self, client: Client, folder: str) -> None:
        findings: list[Json] = []
        try:
            async for line in client.lines("POST", at("folders", folder, "verify")):
                if line.get("finding"):
                    findings.append(line["finding"])
                self._found[folder] = {**line, "findings": findings[:MOST_FINDINGS]}
        except Refused as refused:
            self._found[folder] = {"phase": "failed", "reason": refused.message, "findings": findings[:MOST_FINDINGS]}
