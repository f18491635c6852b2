# SPDX-License-Identifier: AGPL-3.0-or-later
"""An image with ``hello.py`` and the Python that runs these tests, pushed to a registry of the tests' own."""

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

from tests.e2e.exapp import PROGRAM
from tests.fakes.ports import free_port
from tests.integration.engine import IMAGE, DockerEngine

NAME = "hello"
_LEFT_OUT = {"site-packages", "dist-packages", "test", "idlelib", "tkinter", "ensurepip", "lib2to3"}
_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")
_SETTINGS = """version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {folder}}}
http: {{addr: 127.0.0.1:{port}}}
"""


def why_not() -> str:
    """Why there is no registry here; empty if there is."""
    return "" if shutil.which("docker-registry") else "docker-registry is not installed (apt install docker-registry)"


class Registry:
    """Debian's ``docker-registry``, which an engine on this machine pulls from without TLS."""

    def __init__(self, folder: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        settings = folder / "registry.yml"
        settings.write_text(_SETTINGS.format(folder=folder / "registry", port=self.address.partition(":")[2]))
        with (folder / "registry.log").open("wb") as log:
            self._process = subprocess.Popen(["docker-registry", "serve", str(settings)], stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", int(self.address.partition(":")[2]))) == 0:
                    return
            assert time.monotonic() < deadline, "the registry does not listen"
            time.sleep(0.05)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


def pushed(
    engine: DockerEngine,
    registry: Registry,
    *tags: str,
    name: str = NAME,
    command: str = "",
    more: bytes = b"",
    dying: str = "",
    base: str = IMAGE,
) -> None:
    """Makes the image, pushes it under ``tags``, and has the engine forget it: an install has to pull.

    ``more`` is an archive for its root, ``command`` what it starts in place of ``hello.py``. Under the tag
    ``dying``, if there is one, its app ends with exit code 3. ``base`` is what it begins from.
    """
    _filled(engine, base, _python(), *([more] if more else []))
    commands = dict.fromkeys(tags, [command] if command else START)
    if dying:
        commands[dying] = [*START[:-1], "-c", "import sys, time; time.sleep(0.5); sys.exit(3)"]
    for tag, starts in commands.items():
        where = f"{registry.address}/{name}"
        query = {"container": "making", "repo": where, "tag": tag, "changes": f"CMD {json.dumps(starts)}"}
        committed = engine.call("POST", f"/commit?{urlencode(query)}", {})
        assert committed.status == 201, committed
        _push(engine, where, tag)
    # Whose container is there keeps its layers.
    engine.call("DELETE", "/containers/making?force=true")
    for tag in commands:
        assert engine.call("DELETE", f"/images/{registry.address}/{name}:{tag}").status == 200


def weighty(engine: DockerEngine, *layers: int) -> str:
    """An image without a name, to begin from, with layers of so many bytes each that nothing compresses; its id."""
    base = IMAGE
    for number, size in enumerate(layers):
        written = io.BytesIO()
        with tarfile.open(fileobj=written, mode="w") as tar:
            entry = tarfile.TarInfo(f"weight/{number}")
            entry.size = size
            tar.addfile(entry, io.BytesIO(os.urandom(size)))
        _filled(engine, base, written.getvalue())
        committed = engine.call("POST", "/commit?container=making", {})
        assert committed.status == 201, committed
        base = str(committed.json["Id"])
        engine.call("DELETE", "/containers/making?force=true")
    return base


def _filled(engine: DockerEngine, base: str, *archives: bytes) -> None:
    """The container ``making``, which does not run, with what is to be in an image."""
    made = engine.call("POST", "/containers/create?name=making", {"Image": base})
    assert made.status == 201, made
    for archive in archives:
        filled = engine.call("PUT", "/containers/making/archive?path=/", body=archive)
        assert filled.status == 200, filled


def sys_python() -> str:
    return str(Path(sys.executable).resolve())


START = [sys_python(), "-S", "-E", "/hello.py"]


def _push(engine: DockerEngine, name: str, tag: str) -> None:
    # The engine's API wants credentials also where nobody asks for them: {} in base64.
    done = subprocess.run(
        [
            *("curl", "-sS", "--unix-socket", str(engine.socket), "-X", "POST", "-H", "X-Registry-Auth: e30="),
            f"http://engine/images/{name}/push?tag={tag}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert '"error"' not in done.stdout, done.stdout[-500:]


def _python() -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        tar.add(PROGRAM, "hello.py")
        for path in sorted({Path(sys_python()), *_library(), *_shared()}):
            tar.add(path.resolve(), str(path).lstrip("/"), recursive=False)
    return written.getvalue()


def _library() -> Iterator[Path]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in root.rglob("*"):
        inner = path.relative_to(root).parts
        is_left_out = any(part in _LEFT_OUT or part.startswith("config-") for part in inner)
        # Compiled, as images have it: an app would compile its library at each start.
        is_wanted = path.suffix in (".py", ".so") or path.name.endswith(f".{sys.implementation.cache_tag}.pyc")
        if path.is_file() and is_wanted and not is_left_out:
            yield path


def _shared() -> set[Path]:
    """What the program and its modules are linked to, the loader included."""
    modules = (Path(sysconfig.get_paths()["stdlib"]) / "lib-dynload").glob("*.so")
    needed = [sys_python(), *(str(path) for path in modules)]
    said = subprocess.run(["ldd", *needed], capture_output=True, text=True, check=False).stdout
    return {Path(found) for found in _LIBRARY.findall(said)}
