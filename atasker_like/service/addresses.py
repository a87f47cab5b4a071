"""Where a service is: a path of a Unix domain socket, or a host and a port."""
from __future__ import annotations

import os
import socket
import stat
from ipaddress import ip_address

from ..errors import InvalidArgumentError, InvalidTypeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Address", "bind"]

#: Bytes of a path at most: the kernel's limit is 108 on Linux and 104 elsewhere, with the zero at the end.
_MAX_PATH = 103

#: Connections that may wait to be accepted: with a few hundred clients at once, none is turned away.
BACKLOG = 512


class Address:
    """An address, taken from what people write:

    ``'/run/lab.sock'``, ``'./lab.sock'``, ``'unix:lab.sock'`` or a :class:`pathlib.Path` for a Unix domain socket;
    ``'127.0.0.1:8500'``, ``'localhost:8500'``, ``'[::1]:8500'``, ``'tcp://...'`` or a tuple of both for TCP.

    A path is what it is when the address is made, whatever folder the process changes to later; unless it is so long that
    only as a relative one it is no longer than the system allows.

    :raises InvalidTypeError: (a TypeError) it is none of these.
    :raises InvalidArgumentError: (a ValueError) it does not say where, or there are no Unix domain sockets here.

    >>> str(Address('localhost:8500')), str(Address('/run/lab.sock'))
    ('tcp://127.0.0.1:8500', 'unix:/run/lab.sock')
    """

    def __init__(self, address: Any) -> None:
        self.path: str | None = None
        self.host = ""
        self.port = 0
        if isinstance(address, Address):
            self.path, self.host, self.port = address.path, address.host, address.port
        elif isinstance(address, os.PathLike):
            self.path = os.fsdecode(address)
        elif isinstance(address, tuple) and len(address) == 2:
            self._set_host(*address)
        elif not isinstance(address, str):
            raise InvalidTypeError("an address is a string such as '/run/lab.sock' or '127.0.0.1:8500', a path, or a tuple "
                                   f"(host, port), not {type(address).__name__}")
        elif address.startswith("unix:"):
            self.path = address[len("unix:"):]
        elif address.startswith("tcp://"):
            self._parse_host_and_port(address[len("tcp://"):], address)
        elif "/" in address or os.sep in address:
            self.path = address
        else:
            self._parse_host_and_port(address, address)
        if self.path is not None:
            self.path = _absolute(self.path)
            self._check_path(self.path)

    def _parse_host_and_port(self, text: str, address: str) -> None:
        host, colon, port = text.rpartition(":")
        if not colon or not (port.isascii() and port.isdigit() and len(port) < 10) or not host:     # isdigit() alone takes '²'
            raise InvalidArgumentError(f"{address!r} is no address; write '/run/lab.sock' or './lab.sock' for a Unix domain "
                                       "socket, '127.0.0.1:8500' for TCP")
        self._set_host(host[1:-1] if host.startswith("[") and host.endswith("]") else host, int(port))

    def _set_host(self, host: Any, port: Any) -> None:
        if not isinstance(host, str) or isinstance(port, bool) or not isinstance(port, int):
            raise InvalidTypeError("the host of an address is a string, its port an integer")
        if not 0 <= port <= 65535:
            raise InvalidArgumentError(f"the port of an address is a number from 0 to 65535, not {port}")
        try:
            host.encode("idna")
        except UnicodeError as error:
            raise InvalidArgumentError(f"{host!r} is no name of a host: {error}") from None
        if "\0" in host:
            raise InvalidArgumentError(f"{host!r} is no name of a host")
        # What localhost stands for is the system's setting, which may be anything.
        self.host, self.port = "127.0.0.1" if host == "localhost" else host, port

    def _check_path(self, path: str) -> None:
        if not hasattr(socket, "AF_UNIX"):
            raise InvalidArgumentError("this system has no Unix domain sockets; use '127.0.0.1:8500' and a token")
        if not path or "\0" in path or len(os.fsencode(path)) > _MAX_PATH:
            raise InvalidArgumentError(f"the path of a socket has 1 to 103 bytes, not {len(os.fsencode(path))}: {path!r}")

    @property
    def is_loopback(self) -> bool:
        """True when only programs on this machine can reach it."""
        if self.path is not None:
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:                  # a name, which may come to mean anything
            return False

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"


def _absolute(path: str) -> str:
    """Make a relative path an absolute one, if there is room."""
    if not path or os.path.isabs(path):
        return path
    try:
        # Nothing else of it is changed: what '..' means depends on links.
        whole = os.path.join(os.getcwd(), path[2:] if path.startswith("./") else path)
    except OSError:                         # the folder has been removed
        return path
    return whole if len(os.fsencode(whole)) <= _MAX_PATH else path


def bind(address: Address) -> socket.socket:
    """Return a socket that is bound to an address; at a path it listens already.

    :raises OSError: the address is taken, or not to be had.
    """
    if address.path is None:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)      # a port left a minute ago is free
            listener.bind((address.host, address.port))
        except BaseException:
            listener.close()
            raise
        return listener
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale_socket(address.path)
        try:
            os.fchmod(listener.fileno(), 0o600)         # on Linux, the mode that its file begins with
        except OSError:
            pass
        listener.bind(address.path)
        # Elsewhere the file has been open to others until here, and nobody can have come in: before listen(), whoever
        # connects is refused.
        os.chmod(address.path, 0o600)
        # At once: one that does not listen looks dead to another service that wants the same path.
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_stale_socket(path: str) -> None:
    """Remove the socket that a service left behind which was killed; one that answers stays, and so does any other file."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return                          # bind() will say that it is there
    except FileNotFoundError:
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.setblocking(False)            # a full backlog is a sign of life, too
        probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
    except OSError:
        pass
    finally:
        probe.close()
