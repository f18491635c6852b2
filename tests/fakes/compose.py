# SPDX-License-Identifier: AGPL-3.0-or-later
"""The Docker Compose that is here: Docker's own command (2), or the one of its own name (1 or 2)."""

import shutil
import subprocess


def compose() -> list[str]:
    """The words that it begins with; none where there is none (apt install docker-compose)."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            asked = subprocess.run([*command, "version"], capture_output=True, check=False)
            if asked.returncode == 0:
                return command
    return []
