"""What file systems of clusters lack: locks, and errors with a name in them.

Network and parallel file systems may have no locks (NFS without a lock daemon, Lustre mounted without ``flock``). Then a file
that is created exclusively keeps two processes apart: it names its owner and is touched every half minute, so that one whose
owner has died is recognised as stale.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import socket
import stat
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from gaugeflow.errors import GaugeflowError, LockWarning

try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None  # type: ignore[assignment]

HEARTBEAT = 30.0
"""Seconds between two signs of life of an owner, where the kernel does not lock."""
STALE = 300.0
"""Seconds without one after which an owner on another machine counts as dead."""
_POLL = 0.2
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
_NO_SYNC = frozenset(
    {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES, errno.EPERM}
)
_without_locks: set[str] = set()
"""Folders that have turned out to be so, of which the warning has been given."""

_Opened = TypeVar("_Opened")


class HeldError(GaugeflowError):
    """A lock belongs to somebody else: ``owner`` says to whom."""

    def __init__(self, path: Path, owner: str) -> None:
        super().__init__(f"{path} is held by {owner}")
        self.owner = owner


@contextlib.contextmanager
def named(path: str | os.PathLike[str], reason: str | None = None) -> Iterator[None]:
    """Give errors of the operating system that name no file, as those of reading and writing do, the name of this one.

    Parameters
    ----------
    path
        File that the block works on.
    reason
        What to say instead of the system's own words where a lock is taken (``BlockingIOError``).
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        blocked = reason if isinstance(error, BlockingIOError) else None
        raise OSError(error.errno, blocked or os.strerror(error.errno), os.fspath(path)) from error


def require_replaceable(path: str | os.PathLike[str]) -> None:
    """``FileExistsError`` where what is about to be replaced by a file is a device, a pipe or a socket."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            reason = "expected a new name or a file, found a device, pipe or socket"
            raise FileExistsError(errno.EEXIST, reason, os.fspath(path))


def sync_folder(folder: Path) -> None:
    """Have a file system keep a new name in a folder; those that cannot synchronise folders are left alone."""
    with named(folder):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise
        finally:
            os.close(handle)


def lacks_locks(error: OSError) -> bool:
    """Whether an error says that a file system has no locks, rather than that somebody has one."""
    return error.errno in _NO_LOCKS


def open_without_locks(path: str | os.PathLike[str], opener: Callable[[str | bool], _Opened]) -> _Opened:
    """Open an HDF5 file with locking at best effort, and with none where the file system has no locks.

    Parameters
    ----------
    path
        The file.
    opener
        Opens it, given h5py's argument ``locking``.

    Notes
    -----
    HDF5's own best effort takes "not implemented" for an answer, but not "no locks available". It wants the same answer for
    every opening of a file in one process.
    """
    if os.path.abspath(Path(path).parent) in _without_locks:
        return opener(False)
    try:
        return opener("best-effort")
    except OSError as error:
        if not lacks_locks(error):
            raise
        _warn_once(Path(path).parent, error)
        return opener(False)


class FileLock:
    """A lock that one process at a time has, while the object is used as a context.

    The lock is the kernel's (``flock``) on ``path``: it ends with the process, however that ends, so that the lock of a killed
    run is stale at once. Where the file system has no locks, a :class:`gaugeflow.errors.LockWarning` that names the folder
    says so, and the file ``<path>.owner`` takes its place: created exclusively, with machine and process in it, and touched
    every ``HEARTBEAT`` seconds. It is stale when its process has ended on this machine, or when it has not been touched for
    ``STALE`` seconds by the clock of the file system.

    Parameters
    ----------
    path
        The lock file; it is removed when the lock is given back.
    wait
        Whether to wait for somebody else's lock, instead of raising.
    """

    def __init__(self, path: str | os.PathLike[str], *, wait: bool = False) -> None:
        self.path = Path(path)
        self.wait = wait
        self._handle = -1
        self._claim: _Claim | None = None

    def __enter__(self) -> FileLock:
        """Take the lock; :class:`HeldError` if somebody else has it, ``OSError`` with the path if it cannot be taken."""
        if fcntl is None:
            self._claim = _Claim.take(self.path, self.wait)
            return self
        with named(self.path):
            try:
                self._handle = self._lock_in_kernel()
            except OSError as error:
                if not lacks_locks(error):
                    raise
                _warn_once(self.path.parent, error)
                with contextlib.suppress(OSError):
                    self.path.unlink()  # nobody can lock it, and nobody looks at it
                self._claim = _Claim.take(self.path, self.wait)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        if self._claim is not None:
            self._claim.give_back()
            self._claim = None
        if self._handle >= 0:
            with contextlib.suppress(OSError):
                self.path.unlink()
            os.close(self._handle)
            self._handle = -1

    def require_own(self) -> None:
        """Raise ``GaugeflowError`` where the lock was lost: another process took this one for dead.

        That needs a file system without locks, and a process that was stopped or cut off for minutes.
        """
        if self._claim is not None and not self._claim.is_own():
            raise GaugeflowError(
                f"{self.path}: this process was silent for so long that another run has taken over; it must not go on"
            )

    def _lock_in_kernel(self) -> int:
        """Handle of the locked file."""
        while True:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if self.wait else fcntl.LOCK_NB))
                current = os.stat(self.path).st_ino == os.fstat(handle).st_ino
            except BlockingIOError:
                owner = os.pread(handle, 200, 0).decode(errors="replace").strip() or "unknown"
                os.close(handle)
                raise HeldError(self.path, owner) from None
            except FileNotFoundError:
                current = False
            except BaseException:
                os.close(handle)
                raise
            if current:
                with contextlib.suppress(OSError):  # a full disk
                    os.ftruncate(handle, 0)
                    os.pwrite(handle, f"{_here()}\n".encode(), 0)
                return handle
            os.close(handle)  # the previous owner removed the file between open and flock


class _Claim:
    """An exclusively created file and the thread that touches it."""

    def __init__(self, path: Path, token: str) -> None:
        self._path = path
        self._token = token
        self._process = os.getpid()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._touch, name=f"heartbeat of {path}", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, lock: Path, wait: bool) -> _Claim:
        """Create the file beside a lock file, removing a stale one."""
        path = lock.with_name(f"{lock.name}.owner")
        token = secrets.token_hex(8)
        own = path.with_name(f"{path.name}.{token}")
        while True:
            try:
                own.write_text(
                    json.dumps({"owner": _here(), "machine": _machine(), "process": os.getpid(), "token": token})
                )
                now = own.stat().st_mtime  # by the clock of the file system
                if _create(own, path):
                    return cls(path, token)
            finally:
                own.unlink(missing_ok=True)
            found = _read(path)
            if found is None:
                continue  # given back in the meantime
            if _is_stale(found, path, now):
                _remove(path, found)
            elif wait:
                time.sleep(_POLL)
            else:
                raise HeldError(lock, str(found.get("owner", "unknown")))

    def is_own(self) -> bool:
        """Whether the file is still this process's."""
        found = _read(self._path)
        return found is not None and found.get("token") == self._token

    def give_back(self) -> None:
        """Stop touching the file and remove it, unless it has become somebody else's or this is a fork."""
        if self._process != os.getpid():
            return
        self._end.set()
        self._thread.join()
        if self.is_own():
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _touch(self) -> None:
        while not self._end.wait(HEARTBEAT):
            with contextlib.suppress(OSError):  # the next one may succeed
                if self.is_own():
                    os.utime(self._path)


def _create(own: Path, path: Path) -> bool:
    """Give a complete file a second name that must be new; False where it is taken."""
    try:
        os.link(own, path)
    except FileExistsError:
        return False
    except OSError:  # no links here: exclusive creation, and the content a moment later
        try:
            with open(path, "x") as handle:
                handle.write(own.read_text())
        except FileExistsError:
            return False
    return True


def _read(path: Path) -> dict[str, object] | None:
    """What an owner wrote; None where there is no file, and nothing in it where it is not complete."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_stale(found: dict[str, object], path: Path, now: float) -> bool:
    process = found.get("process")
    if found.get("machine") == _machine() and isinstance(process, int):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        except OSError:  # somebody else's
            pass
    try:
        return now - path.stat().st_mtime > STALE
    except FileNotFoundError:
        return False


def _remove(path: Path, found: dict[str, object]) -> None:
    """Remove a stale file, and not the new one that somebody faster has put into its place."""
    aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if _read(aside) != found:
        with contextlib.suppress(OSError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)


def _here() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


@cache
def _machine() -> str:
    """This machine since it was started, and the name space of process numbers (containers have their own)."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _warn_once(folder: Path, error: OSError) -> None:
    """Once for each folder and process."""
    place = os.path.abspath(folder)
    if place not in _without_locks:
        _without_locks.add(place)
        why = os.strerror(error.errno) if error.errno is not None else str(error)
        warnings.warn(
            f"{place}: its file system cannot lock files ({why}); two runs there are kept apart by a file that names the "
            "owner, as well as such a file system can: do not start two at the same moment",
            LockWarning,
            stacklevel=4,
        )
