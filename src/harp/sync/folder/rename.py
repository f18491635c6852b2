# SPDX-License-Identifier: AGPL-3.0-or-later
"""Renames that lose nothing at their target: to a free name only, or by exchange.

Both are one atomic call on a disk that has renameat2 with flags; what stands in for it elsewhere says what it leaves
open. All raise OSError as the system gave it.
"""

import errno
import os

from harp.sync.folder import syscalls
from harp.sync.folder.fs import Directory

_LACKING = frozenset((errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP))


def lacks(error: OSError) -> bool:
    """Whether the disk or the kernel does not know this call at all."""
    return error.errno in _LACKING


def to_free_name(source: Directory, name: bytes, target: Directory, new: bytes) -> None:
    """Rename to a name where nothing lies. Raises FileExistsError where something does."""
    try:
        syscalls.rename(source.fd, name, target.fd, new, syscalls.RENAME_NOREPLACE)
    except OSError as error:
        if not lacks(error):
            raise
        to_free_name_without_flags(source, name, target, new)


def to_free_name_without_flags(source: Directory, name: bytes, target: Directory, new: bytes) -> None:
    """As :func:`to_free_name`, by a hard link, which is refused as atomically where something lies.

    On a disk with neither (FAT before Linux 6.0) it looks and then renames; what another program puts there in the
    microseconds between is replaced.
    """
    try:
        os.link(name, new, src_dir_fd=source.fd, dst_dir_fd=target.fd, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL):
            raise
    else:
        os.unlink(name, dir_fd=source.fd)
        return
    try:
        os.stat(new, dir_fd=target.fd, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(name, new, src_dir_fd=source.fd, dst_dir_fd=target.fd)
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)


def exchange(source: Directory, name: bytes, target: Directory, other: bytes) -> None:
    """Swap two names. Raises OSError for which :func:`lacks` holds where the disk cannot."""
    syscalls.rename(source.fd, name, target.fd, other, syscalls.RENAME_EXCHANGE)
