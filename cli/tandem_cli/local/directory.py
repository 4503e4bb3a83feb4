"""The directory of a stack among temporary files, which is found and removed when the stack was killed."""

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
    """A new directory, this process's until it is removed; those of stacks that were killed are removed first.

    Its process holds a lock on a file in it, which the kernel gives back whichever way the process ends.

    Attributes:
        path: The directory.
    """

    def __init__(self) -> None:
        remove_abandoned()
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        # locked before it has its name: nobody meets it without the lock
        beside = self.path / f".{_LOCK}"
        self._lock = os.open(beside, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        beside.rename(self.path / _LOCK)

    def remove(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def remove_abandoned() -> None:
    """Remove the directories of this user's stacks whose process has ended without removing them."""
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        try:
            # of another user, or a link to somewhere else: none of ours
            if lock.parent.is_symlink() or lock.parent.lstat().st_uid != os.getuid():
                continue
            file = os.open(lock, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
        except BlockingIOError:
            pass  # its stack runs
        finally:
            os.close(file)
