# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every error that crosses a folder's border; expected outcomes are values, not errors."""


class HarpError(Exception):
    """Something a person or a caller has to know: one line that says what is wrong, one that says what to do.

    ``message`` and ``hint`` are shown to people as they are, so neither may hold a secret.
    """

    exit_code = 1
    retryable = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(HarpError):
    """The command was asked for something that cannot be: a wrong path, a folder that is not shared."""

    exit_code = 2


class ConfigError(HarpError):
    """A setting, a key file or a home folder is not as it has to be."""

    exit_code = 3


class NotRunningError(HarpError):
    """No daemon answers on the socket of this home."""

    exit_code = 4


class TrustError(HarpError):
    """A ticket, a key or a signature is not good, or a device is not a member."""

    exit_code = 5


class StoreError(HarpError):
    """The ledger cannot be read or written just now."""

    exit_code = 6
    retryable = True


class CorruptStore(StoreError):
    """What the ledger holds contradicts itself."""

    retryable = False


class FolderError(HarpError):
    """The disk refused: gone, full, read-only, not permitted, or not what it was a moment ago."""

    exit_code = 7
    retryable = True


class LinkError(HarpError):
    """A link to a peer could not be made, or broke."""

    exit_code = 8
    retryable = True


class CloudError(HarpError):
    """A Nextcloud could not be reached, or refused."""

    exit_code = 10
    retryable = True


class StaleError(CloudError):
    """What a write to or from a Nextcloud was planned from is no more: it is planned anew."""


class ProtocolError(HarpError):
    """The rules between peers were broken; the subclass says by whom."""

    exit_code = 9


class LocalProtocolError(ProtocolError):
    """We misused the protocol: a defect of Harp."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol: close the link, count it, go on."""
