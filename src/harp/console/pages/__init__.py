# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pages by address: what is shown (GET), and what is done (POST) by the forms on them."""

from collections.abc import Mapping

from harp.console.page import Handler
from harp.console.pages import accounts, apps, conflicts, devices, folder, guide, health, home, settings

SHOWN: Mapping[str, Handler] = {
    "/": home.show,
    "/guide": guide.show,
    "/folders": home.folders,
    "/folders/{folder}": folder.show,
    "/folders/{folder}/files": folder.files,
    "/folders/{folder}/file": folder.file,
    "/folders/{folder}/conflicts": conflicts.show,
    "/folders/{folder}/ignore": folder.left_out,
    "/folders/{folder}/picture": conflicts.picture,
    "/folders/{folder}/download": conflicts.download,
    "/traffic": home.traffic,
    "/accounts": accounts.show,
    "/devices": devices.show,
    "/devices/invitation": devices.invitation,
    "/apps": apps.show,
    "/apps/log": apps.log,
    "/apps/config": apps.configuration,
    "/apps/doctor": apps.doctor,
    "/health": health.show,
    "/settings": settings.show,
}

DONE: Mapping[str, Handler] = {
    "/guide/name": guide.name,
    "/folders": home.share,
    "/folders/{folder}/pause": folder.pause,
    "/folders/{folder}/resume": folder.resume,
    "/folders/{folder}/rescan": folder.rescan,
    "/folders/{folder}/verify": folder.verify,
    "/folders/{folder}/leave": folder.leave,
    "/folders/{folder}/ignore": folder.leave_out,
    "/folders/{folder}/restore": folder.restore,
    "/folders/{folder}/held": folder.decide,
    "/folders/{folder}/resolve": conflicts.resolve,
    "/accounts": accounts.log_in,
    "/accounts/share": accounts.share,
    "/accounts/forget": accounts.forget,
    "/devices/invite": devices.invite,
    "/devices/join": devices.join,
    "/devices/forget": devices.forget,
    "/apps/lift": apps.lift,
    "/health/backup": health.backup,
    "/health/stop": health.stop,
    "/settings": settings.change,
}

FOR_EVERYBODY = frozenset(
    {
        "/",
        "/folders/{folder}",
        "/folders/{folder}/files",
        "/folders/{folder}/file",
        "/folders/{folder}/conflicts",
        "/folders/{folder}/picture",
        "/folders/{folder}/download",
        "/folders/{folder}/rescan",
        "/folders/{folder}/verify",
        "/folders/{folder}/restore",
        "/folders/{folder}/resolve",
    }
)
"""What is there for people of a Nextcloud too, for the folders that are theirs; what else they ask, the API refuses."""
