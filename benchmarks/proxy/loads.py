# SPDX-License-Identifier: AGPL-3.0-or-later
"""wrk, told by a Lua script what to ask; it answers with one line of JSON."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Undone

# The paths are made in the client, and are the same for all peers: what it costs to make them, all pay.
_SCRIPT = """
local stems = {stems}
local headers = {headers}
local fresh = {fresh}
local number = 0
function request()
  local path = stems[1]
  if fresh then
    number = number + 1
    path = stems[math.random(#stems)] .. string.format("%x/%06x", number, math.random(0, 0xffffff))
  end
  return wrk.format("GET", path, headers)
end
function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\\nfigures {{"requests": %d, "us": %d, "p50_us": %d, "p99_us": %d, "errors": %d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status + errors.timeout + errors.read + errors.write + errors.connect))
end
"""


def script(stems: Sequence[str], headers: Mapping[str, str], *, fresh: bool) -> str:
    """Lua for wrk: GET the first of ``stems`` or, if ``fresh``, each time a path that was never asked for."""
    return _SCRIPT.format(
        stems="{" + ", ".join(_quoted(stem) for stem in stems) + "}",
        headers="{" + ", ".join(f"[{_quoted(name)}] = {_quoted(value)}" for name, value in headers.items()) + "}",
        fresh="true" if fresh else "false",
    )


def _quoted(text: str) -> str:
    return json.dumps(text)  # Lua reads such strings the same way, as long as they are ASCII


def wrk(url: str, lua: Path, *, connections: int, seconds: float, threads: int = 1) -> dict[str, Any]:
    """What wrk measured: ``requests``, ``us``, ``p50_us``, ``p99_us``, ``errors``. Raises :class:`Undone`."""
    argv = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "30s", "-s", str(lua), url]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Undone(f"wrk: {error}") from error
    for line in done.stdout.splitlines():
        if line.startswith("figures "):
            found: dict[str, Any] = json.loads(line.removeprefix("figures "))
            return found
    raise Undone(f"wrk ended with {done.returncode}: {(done.stderr or done.stdout)[-300:].strip()}")
