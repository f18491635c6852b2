# SPDX-License-Identifier: AGPL-3.0-or-later
"""An app's environment, as AppAPI says it and as the container gets it (contract, 4.5 and 4.6).

AppAPI reads variables back by their place: what stays keeps its order.
"""

from collections.abc import Mapping, Sequence
from typing import Any

_FRP = frozenset({"HP_FRP_ADDRESS", "HP_FRP_PORT", "HP_SHARED_KEY"})


def variables(lines: Sequence[str]) -> dict[str, str]:
    """``NAME=value`` lines by name; the last one counts."""
    return {name: value for name, equals, value in (line.partition("=") for line in lines) if equals}


def of(inspected: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a container, from its engine's words about it."""
    configuration = inspected.get("Config")
    return variables((configuration.get("Env") if isinstance(configuration, Mapping) else None) or ())


def speaks_frp(given: Mapping[str, str]) -> bool:
    """Whether AppAPI, or whoever made a container, meant the app to come through FRP."""
    return bool(given.get("HP_SHARED_KEY"))


def app_port(given: Mapping[str, str]) -> int | None:
    """Where the app is to listen."""
    text = given.get("APP_PORT", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 65_536 else None


def without_frp(lines: Sequence[str], *, is_on_host: bool) -> list[str]:
    """Without FRP the app listens itself, and never learns the key.

    In the host's network on loopback alone, since all the world would reach it there; elsewhere on all addresses of the
    container, which only its network has.
    """
    host = "127.0.0.1" if is_on_host else "0.0.0.0"  # noqa: S104
    kept = [line for line in lines if line.partition("=")[0] not in _FRP]
    return [f"APP_HOST={host}" if line.startswith("APP_HOST=") else line for line in kept]


def with_token(lines: Sequence[str], token: str) -> list[str]:
    """With FRP, the app's own token takes the place of the shared key, which opens everything."""
    return [f"HP_SHARED_KEY={token}" if line.startswith("HP_SHARED_KEY=") else line for line in lines]
