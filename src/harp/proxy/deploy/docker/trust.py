# SPDX-License-Identifier: AGPL-3.0-or-later
"""Certificates are put into a container, which then is as it was: stopped, or running (132–135)."""

import logging

from harp.base.errors import ConfigError
from harp.proxy.deploy.docker import environment, names
from harp.proxy.deploy.docker.call import Call
from harp.proxy.deploy.docker.certificates import Store, archive, certificates_in, files_for, store_of
from harp.proxy.deploy.docker.engine import Refused, Unreachable, one_line
from harp.proxy.deploy.payload import Certificates
from harp.proxy.deploy.port import Outcome
from harp.proxy.model import AppId

_log = logging.getLogger(__name__)

FRP_FOLDER = "/certs/frp"


async def install_certificates(call: Call, form: Certificates) -> Outcome:
    """Files are put into a container that stands still; it is started for the distribution's own command alone."""
    name = names.container(form)
    found = await call.engine.inspect(name)
    if found is None:
        return Outcome(404, f"Container '{name}' not found.")
    if form.install_frp_certs and environment.speaks_frp(environment.of(found)):
        try:
            frp = call.around.tunnels.certificates(AppId(form.name.lower()))
        except ConfigError as error:
            return Outcome(500, f"FRP's certificates cannot be put into '{name}': {error.message}")
        if frp:
            await call.engine.put(name, archive({f"{FRP_FOLDER}/{file}": content for file, content in frp.items()}))
    authorities = certificates_in(form.system_certs_bundle or "")
    if not authorities:
        return Outcome(204)
    said = await _os_release(call, name)
    if said is None:
        return Outcome(500, f"The distribution in container '{name}' cannot be told: it has no os-release.")
    store = store_of(said)
    if store is None:
        _log.warning("container %s is of no distribution whose certificates Harp knows: they are left out", name)
        return Outcome(204)
    await call.engine.put(name, archive(files_for(store, authorities)))
    await _updated(call, name, store, was_running=(found.get("State") or {}).get("Running") is True)
    return Outcome(204)


async def _os_release(call: Call, name: str) -> str | None:
    """Its text; in ``/etc`` it may be a link to the other (os-release(5))."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        text = await call.engine.text_of(name, path)
        if text is not None:
            return text
    return None


async def _updated(call: Call, name: str, store: Store, *, was_running: bool) -> None:
    """The app itself is not to run for its certificates: it is held before it has done anything, and ended so."""
    if not was_running:
        await call.engine.start(name)
    try:
        if not was_running:
            await call.engine.halt(name)
        code, said = await call.engine.execute(name, *store.update)
        if code != 0:
            _log.warning("%s in container %s ended with %s: %s", store.update[0], name, code, one_line(said, 200))
    finally:
        if not was_running:
            await _stopped(call, name)


async def _stopped(call: Call, name: str) -> None:
    try:
        await call.engine.stop(name, grace_s=0)
    except (Refused, Unreachable) as error:
        _log.error("container %s could not be stopped again after its certificates: %s", name, error)
