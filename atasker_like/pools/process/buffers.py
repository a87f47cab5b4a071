"""Large buffers of arguments and results: they cross in shared memory, beside the pipes.

::

    buffer ── one copy ──> memory without a name ── its descriptor, over a socket ──> mapped there

The receiver maps the memory privately: what it writes stays its own, page by page. Both sides close
their descriptors at once. So the system frees the memory with the last mapping, however a process
ends.

Each message carries the number of the frame or task that it belongs to. The parent may revoke a
task that it has sent; the child discards the message of such a task.
"""
from __future__ import annotations

import _socket
import os
import pickle
import struct
import sys
from contextlib import contextmanager, suppress
from errno import EMFILE
from mmap import ALLOCATIONGRANULARITY, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap

from ..._fork import register
from ..._inspect import described
from ...errors import TaskPicklingError
from .descriptors import close_own, identity, is_own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, Sequence, Tuple, TypeVar, Union

    T = TypeVar("T")

    #: The size of a buffer in the pipe; or which memory of the message it is in, its offset there,
    #: and its size. A negative number of a memory counts from the end.
    Position = Union[int, Tuple[int, int, int]]


#: From this size in bytes on, a buffer crosses in shared memory.
SHARED_FROM = 1 << 20
#: The most descriptors of one message. The system allows 253.
FDS_MOST = 250

#: The number of the frame or task, an errno or 0, the number of descriptors.
_HEADER = struct.Struct("<IiI")
_NO_WAIT = getattr(_socket, "MSG_DONTWAIT", 0)
_CLOSE_ON_EXEC = getattr(_socket, "MSG_CMSG_CLOEXEC", 0)


class TransferError(TaskPicklingError):
    """Large buffers cannot be sent.

    :param number: the errno of the reason.
    :param size: the bytes for which memory was needed; 0 if that is unknown.
    """

    def __init__(self, number: int | None, size: int) -> None:
        needed = f" of {size} bytes" if size else ""
        super().__init__(
            f"there is no shared memory for its large buffers{needed} ([Errno {number}] "
            f"{os.strerror(number or 0)}); free memory, send less at a time, or send one copy to "
            "many tasks with shared()")
        self.number: int = number or 0


class Memory:
    """Memory without a name. Its descriptor is closed with this object, and in forked processes."""

    __slots__ = ("fd", "_file", "__weakref__")

    def __init__(self, fd: int) -> None:
        self.fd: int = fd
        self._file = identity(fd)
        register(self)

    def is_open(self) -> bool:
        """Return False if the descriptor was closed, here or by the application."""
        return self.fd >= 0 and is_own(self.fd, self._file)

    def close(self) -> None:
        """Close the descriptor, unless the application has closed it."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            close_own(fd, self._file)

    __del__ = _reset_after_fork = close


class _Block(mmap):
    """A part of a memory as the process that made it sees it: a source that needs no copy."""

    memory: Memory
    offset: int


def rounded(size: int) -> int:
    return -(-size // ALLOCATIONGRANULARITY) * ALLOCATIONGRANULARITY


def copied(raws: Sequence[memoryview]) -> Memory:
    """Copy buffers into new memory, each from a page on.

    :raises TransferError: there is no room for them.
    """
    size = sum(rounded(raw.nbytes) for raw in raws)
    try:
        memory = Memory(_new_file())
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(memory.fd, 0, size)  # an error here, not a signal at the first use
        start = 0
        for raw in raws:
            left, position = raw, start
            while left:
                written = os.pwrite(memory.fd, left, position)
                left, position = left[written:], position + written
            start += rounded(raw.nbytes)
        os.ftruncate(memory.fd, size)
    except OSError as error:
        raise TransferError(error.errno, size) from error
    return memory


def _new_file() -> int:
    """Return the descriptor of an empty file in memory that has no name."""
    with suppress(AttributeError, OSError):     # the system does not have it, or forbids it
        return os.memfd_create("atasker_like")
    import tempfile

    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except (AttributeError, OSError):
        fd, path = tempfile.mkstemp(prefix="atasker_like-", dir=folder)
        os.unlink(path)
        return fd


def mapped(fd: int, size: int, offset: int, kind: type[mmap] = mmap,
           flags: int = MAP_PRIVATE) -> mmap:
    """Map a part of a file, without keeping its descriptor open.

    :param offset: a multiple of the size of a page.
    :raises OSError: the process has too many mappings.
    """
    if sys.version_info >= (3, 13):
        return kind(fd, size, flags, offset=offset, trackfd=False)
    # The mapping would keep a copy of the descriptor, and a process may keep thousands of arrays.
    # So the file is mapped over an anonymous mapping.
    try:
        import ctypes
    except ImportError:
        return kind(fd, size, flags, offset=offset)
    mapping = kind(-1, size, MAP_PRIVATE | _ANONYMOUS)
    call = ctypes.CDLL(None, use_errno=True).mmap
    call.restype = ctypes.c_void_p
    call.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                     ctypes.c_long]
    start = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    if call(start, size, PROT_READ | PROT_WRITE, flags | _FIXED, fd, offset) != start:
        _lost.append(mapping)       # its range may belong to another mapping now: never unmap it
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return mapping


_ANONYMOUS = 0x1000 if sys.platform == "darwin" else 0x20
_FIXED = 0x10
_lost: list[mmap] = []


# -- sending ---------------------------------------------------------------------------------------


class Outgoing:
    """The buffers of one call or result that cross in shared memory."""

    __slots__ = ("_raws", "_blocks")

    def __init__(self, raws: list[memoryview], blocks: list[Memory]) -> None:
        self._raws = raws
        self._blocks = blocks

    def memories(self, copy: Callable[[Sequence[memoryview]], Memory] = copied) -> list[Memory]:
        """Copy the buffers that need it; return what a message carries. (no lock)

        :param copy: copies them (default: into new memory).
        :raises TransferError: there is no room for them.
        """
        return [copy(self._raws), *self._blocks] if self._raws else self._blocks


def lay_out(raws: Iterable[memoryview]) -> tuple[list[Position], list[memoryview], Outgoing | None]:
    """Decide how buffers cross.

    :return: the position of each; those that cross in the pipe; the others, or None without any.
    """
    positions: list[Any] = []
    inline: list[memoryview] = []
    large: list[memoryview] = []
    blocks: list[Memory] = []
    start = 0
    for raw in raws:
        source = raw.obj
        if type(source) is memoryview:      # of a PickleBuffer over a view
            source = source.obj
        if type(source) is _Block and source.memory.is_open() and (
                source.memory in blocks or len(blocks) < FDS_MOST):
            if source.memory not in blocks:
                blocks.append(source.memory)
            positions.append((~blocks.index(source.memory), source.offset, raw.nbytes))
        elif raw.nbytes >= SHARED_FROM:
            large.append(raw)
            positions.append((0, start, raw.nbytes))
            start += rounded(raw.nbytes)
        else:
            inline.append(raw)
            positions.append(raw.nbytes)
    if not large and not blocks:
        return positions, inline, None
    # The memory of the copies comes first, and the first one of the blocks is the last memory.
    return positions, inline, Outgoing(large, blocks[::-1])


def send(fd: int, number: int, memories: list[Memory], error: int = 0, wait: bool = True) -> None:
    """Send descriptors over a socket, or the errno of what went wrong.

    :raises OSError: the other end is closed, or the message cannot be sent now.
    """
    rights = rights_of([memory.fd for memory in memories]) if memories else []
    with _borrowed(fd) as sock:
        sock.sendmsg([_HEADER.pack(number, error, len(memories))], rights,
                     0 if wait else _NO_WAIT)


def rights_of(fds: Sequence[int]) -> list[tuple[int, int, bytes]]:
    """Return the ancillary data of a message that carries descriptors."""
    return [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))]


@contextmanager
def _borrowed(fd: int) -> Iterator[_socket.socket]:
    """Make a socket of a descriptor that it does not own. Not one that gevent has patched."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
    try:
        sock.settimeout(None)       # the application may have set another default
        yield sock
    finally:
        sock.detach()


# -- receiving -------------------------------------------------------------------------------------


def descriptors_in(ancillary: Iterable[tuple[int, int, bytes]]) -> list[int]:
    """Return the descriptors in the ancillary data of a message."""
    fds: list[int] = []
    for level, kind, packed in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds += struct.unpack(f"{len(packed) // struct.calcsize('i')}i", packed)
    return fds


class Incoming:
    """Receives descriptors over a socket, in the order of their frames or results."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._early: tuple[int, int, int, list[Memory]] | None = None   # read by skip()

    def take(self, number: int, wait: bool = True) -> list[Memory]:
        """Return the descriptors of a frame or result. Discard those that come before.

        :raises TransferError: the sender could not send them, or this process cannot open them.
        :raises EOFError: the other end is closed.
        """
        while True:
            found, error, count, memories = self._early or self._receive(wait)
            self._early = None
            if found == number:
                if error or len(memories) < count:
                    raise TransferError(error or EMFILE, 0)
                return memories

    def skip(self, number: int) -> None:
        """Discard the descriptors of a frame if they have arrived."""
        if self._early is None:
            try:
                self._early = self._receive(False)
            except (BlockingIOError, EOFError):
                return
        if self._early[0] == number:
            self._early = None

    def _receive(self, wait: bool) -> tuple[int, int, int, list[Memory]]:
        size = struct.calcsize("i")
        with _borrowed(self._fd) as sock:
            data, ancillary, _, _ = sock.recvmsg(_HEADER.size, _socket.CMSG_SPACE(FDS_MOST * size),
                                                 _CLOSE_ON_EXEC | (0 if wait else _NO_WAIT))
        memories = [Memory(fd) for fd in descriptors_in(ancillary)]
        if not data:
            raise EOFError
        return (*_HEADER.unpack(data), memories)


# -- one copy for many tasks -----------------------------------------------------------------------


def shared(value: T) -> T:
    """Copy an array once for many tasks in processes; return an object to pass instead of it.

    The copy is made now: later changes of the array do not reach it. Each task receives its own
    array, which it may change; only the memory that it writes is copied. The memory is free when no
    task uses it and nothing refers to the returned object.

    Any thread may call it. Type checkers see the type of the array, because functions receive an
    array. In this process, the object has no other use.

    :param value: an array, or an object with arrays in it: anything that can be pickled.
    :raises TaskPicklingError: it cannot be pickled.
    :raises OSError: there is not enough memory.

    >>> from atasker_like import pmap, shared
    >>> table = shared(list(range(1000)))
    >>> pmap(sum, [table, table])
    (499500, 499500)
    """
    made: Any = _Shared(value)
    return made     # type: ignore[no-any-return]


class _Shared:
    """A value whose large buffers are in shared memory. It is pickled as the value."""

    __slots__ = ("_parts", "_name", "__weakref__")

    def __init__(self, value: Any) -> None:
        self._name = type(value).__name__
        buffers: list[pickle.PickleBuffer] = []
        try:
            data = pickle.dumps(value, 5, buffer_callback=buffers.append)
        except Exception as error:
            raise TaskPicklingError(f"shared takes what can be pickled, not this {self._name} "
                                    f"({described(error)})") from error
        raws = [memoryview(data), *(buffer.raw() for buffer in buffers)]
        large = [raw for raw in raws if raw.nbytes >= SHARED_FROM]
        try:
            memory = copied(large) if large else None
        except TransferError as error:
            assert error.__cause__ is not None
            raise error.__cause__ from None
        #: The pickle, then the buffers.
        self._parts: list[memoryview] = []
        start = 0
        for raw in raws:
            if memory is None or raw.nbytes < SHARED_FROM:
                part = memoryview(bytearray(raw))
            else:
                block: Any = mapped(memory.fd, raw.nbytes, start, _Block)
                block.memory, block.offset = memory, start
                start += rounded(raw.nbytes)
                part = memoryview(block)
            self._parts.append(part.toreadonly() if raw.readonly else part)

    def __reduce_ex__(self, protocol: Any) -> Any:
        if protocol >= 5:
            return _unpack, tuple(pickle.PickleBuffer(part) for part in self._parts)
        return _unpack, tuple(bytes(part) if part.readonly else bytearray(part)
                              for part in self._parts)

    def __repr__(self) -> str:
        size = sum(part.nbytes for part in self._parts)
        return f"<shared {self._name} of {size} bytes, for tasks in processes>"


def _unpack(data: Any, *buffers: Any) -> Any:
    return pickle.loads(data, buffers=buffers)
