# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an app's container and its volume are called (contract, 3.3); the parts are checked in ``deploy.payload``."""

from harp.proxy.deploy.payload import Named

PREFIX = "nc_app_"


def container(app: Named) -> str:
    """``nc_app_[INSTANCE_]NAME[_ROLE]``; Docker keeps the case."""
    role = f"_{app.role_suffix}" if app.role_suffix else ""
    return f"{PREFIX}{_instance(app)}{app.name}{role}"


def volume(app: Named) -> str:
    """``nc_app_[INSTANCE_]NAME_data``: the roles of an app share it."""
    return f"{PREFIX}{_instance(app)}{app.name}_data"


def _instance(app: Named) -> str:
    return f"{app.instance_id}_" if app.instance_id else ""
