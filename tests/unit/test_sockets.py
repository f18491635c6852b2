# SPDX-License-Identifier: AGPL-3.0-or-later
"""harp.base.sockets: a socket however deep its folder lies."""

import socket
from pathlib import Path

from harp.base.sockets import short_name


def test_a_short_path_stays_as_it_is() -> None:
    with short_name(Path("/run/x.sock")) as name:
        assert name == "/run/x.sock"


def test_a_long_path_has_a_short_name(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 60) / ("e" * 60)
    folder.mkdir(parents=True)
    with short_name(folder / "x.sock") as name, socket.socket(socket.AF_UNIX) as door:
        assert len(name) < 108
        door.bind(name)

    assert (folder / "x.sock").is_socket()
