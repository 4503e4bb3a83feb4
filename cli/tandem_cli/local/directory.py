"""The temporary directory of a stack, removed by a later stack if its own was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

_PREFIX: Final = "tandem-"
_LOCK: Final = "lock"


class Directory:
    """A new temporary directory, owned by this process; those of stacks that were killed are removed first.

    The process holds a lock on a file in it, which the kernel releases however the process ends.

    Attributes:
        path: The directory.
    """

    def __init__(self) -> None:
        remove_abandoned()
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        # locked before it has its name, so that no process sees the file without the lock
        scratch = self.path / f".{_LOCK}"
        self._lock = os.open(scratch, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        scratch.rename(self.path / _LOCK)

    def remove(self) -> None:
        """Remove it with its content."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def remove_abandoned() -> None:
    """Remove the directories that ended stacks of this user left behind."""
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        try:
            # of another user, or a link to somewhere else
            if lock.parent.is_symlink() or lock.parent.lstat().st_uid != os.getuid():
                continue
            file = os.open(lock, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
        except BlockingIOError:
            pass  # its stack still runs
        finally:
            os.close(file)
