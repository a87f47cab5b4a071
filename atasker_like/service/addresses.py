"""Address: the path of a Unix domain socket, or a host and a port."""
from __future__ import annotations

import errno
import os
import socket
import stat
from ipaddress import ip_address

from .._checks import ends_tracebacks
from ..errors import InvalidArgumentError, InvalidTypeError, ServiceConnectionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Tuple, Union

    AddressLike = Union["Address", str, "os.PathLike[str]", Tuple[str, int]]


#: Bytes of a path. The kernel's limit, with the zero at the end, is 108 on Linux and 104 elsewhere.
_MAX_PATH = 103

#: Connections that may wait to be accepted: enough for a few hundred clients that connect at once.
BACKLOG = 512


@ends_tracebacks()
class Address:
    """The address of a service, parsed from one of these forms:

    ``'/run/lab.sock'``, ``'./lab.sock'``, ``'unix:lab.sock'`` or a :class:`pathlib.Path` for a Unix
    domain socket; ``'127.0.0.1:8500'``, ``'localhost:8500'``, ``'[::1]:8500'``, ``'tcp://...'`` or
    a tuple ``(host, port)`` for TCP.

    A relative path becomes absolute when the address is made, so a later change of the working
    directory does not affect it. It stays relative if the absolute path is too long for a socket.

    It does not change, and any thread may use it.

    :param address: a string, a path or a pair, as above.
    :raises InvalidTypeError: (a TypeError) the argument is none of these types.
    :raises InvalidArgumentError: (a ValueError) the address is malformed, or this system has no
        Unix domain sockets.

    >>> str(Address('localhost:8500')), str(Address('/run/lab.sock'))
    ('tcp://127.0.0.1:8500', 'unix:/run/lab.sock')
    """

    def __init__(self, address: AddressLike) -> None:
        self.path: str | None = None
        self.host: str = ""
        self.port: int = 0
        if isinstance(address, Address):
            self.path, self.host, self.port = address.path, address.host, address.port
        elif isinstance(address, os.PathLike):
            self.path = os.fsdecode(address)
        elif isinstance(address, tuple) and len(address) == 2:
            self._set_host(*address)
        elif not isinstance(address, str):
            raise InvalidTypeError("an address is a string such as '/run/lab.sock' or "
                                   "'127.0.0.1:8500', a path, or a tuple (host, port), "
                                   f"not {type(address).__name__}")
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
        # isascii(), since isdigit() alone accepts '²'.
        if not colon or not (port.isascii() and port.isdigit() and len(port) < 10) or not host:
            raise InvalidArgumentError(f"{address!r} is not a valid address; write "
                                       "'/run/lab.sock' or "
                                       "'./lab.sock' for a Unix domain socket, '127.0.0.1:8500' "
                                       "for TCP")
        self._set_host(host[1:-1] if host.startswith("[") and host.endswith("]") else host,
                       int(port))

    def _set_host(self, host: Any, port: Any) -> None:
        if not isinstance(host, str) or isinstance(port, bool) or not isinstance(port, int):
            raise InvalidTypeError("the host of an address is a string, its port an integer")
        if not 0 <= port <= 65535:
            raise InvalidArgumentError("the port of an address is a number from 0 to 65535, "
                                       f"not {port}")
        try:
            host.encode("idna")
        except UnicodeError as error:
            raise InvalidArgumentError(f"{host!r} is not a valid host name: {error}") from None
        if "\0" in host:
            raise InvalidArgumentError(f"{host!r} is not a valid host name")
        # The system's settings may map localhost to any address.
        self.host, self.port = "127.0.0.1" if host == "localhost" else host, port

    def _check_path(self, path: str) -> None:
        if not hasattr(socket, "AF_UNIX"):
            raise InvalidArgumentError("this system has no Unix domain sockets; "
                                       "use '127.0.0.1:8500' and a token")
        if not path or "\0" in path or len(os.fsencode(path)) > _MAX_PATH:
            raise InvalidArgumentError("the path of a socket has 1 to 103 bytes, "
                                       f"not {len(os.fsencode(path))}: {path!r}; use another one, "
                                       "such as '/run/lab.sock'")

    @property
    def is_loopback(self) -> bool:
        """True if only programs on this machine can reach the address."""
        if self.path is not None:
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:                  # a host name may resolve to any address later
            return False

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"


def _absolute(path: str) -> str:
    """Return the absolute path, or the path itself if that is too long."""
    if not path or os.path.isabs(path):
        return path
    try:
        # Not normalized: '..' has another meaning behind a symbolic link.
        whole = os.path.join(os.getcwd(), path[2:] if path.startswith("./") else path)
    except OSError:                         # the working directory has been removed
        return path
    return whole if len(os.fsencode(whole)) <= _MAX_PATH else path


def bind(address: Address) -> socket.socket:
    """Return a socket that is bound to an address.

    A Unix domain socket already listens.

    :raises OSError: the address is in use, or not available.
    """
    if address.path is not None:
        family = socket.AF_UNIX
    else:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if address.path is not None:
            _bind_path(listener, address.path)
        else:
            if os.name == "posix":          # there, a port that was closed just now can be reused
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address.host, address.port))
    except BaseException:
        listener.close()
        raise
    return listener


def _bind_path(listener: socket.socket, path: str) -> None:
    _remove_stale_socket(path)
    try:
        os.fchmod(listener.fileno(), 0o600)     # on Linux, the initial mode of the file
    except OSError:
        pass
    listener.bind(path)
    # On other systems any user could connect until here, but no connection has been made: the
    # kernel refuses them before listen().
    os.chmod(path, 0o600)
    # Listen at once: to another service, a path without a listener looks stale.
    listener.listen(BACKLOG)


def cannot_listen(name: str, address: Address, error: OSError) -> ServiceConnectionError:
    """Return the error of a service that cannot listen at an address, with what to do.

    It has the ``errno`` of the error that :func:`bind` raised.
    """
    refusal = ServiceConnectionError(f"service {name!r} cannot listen at {address}: "
                                     f"{error.strerror or error}; {_advice(address, error)}")
    refusal.errno = error.errno
    return refusal


def _advice(address: Address, error: OSError) -> str:
    if address.path is None:
        if error.errno == errno.EADDRINUSE:
            return "another program listens there; stop it, or use another port (0 is a free one)"
        if error.errno == errno.EACCES:
            return "this user may not use the port; use one above 1023, or 0 for a free one"
        return "use an address of this machine, such as 127.0.0.1"
    if error.errno != errno.EADDRINUSE:
        return "is there such a folder, and may this user write there?"
    try:
        mode = os.stat(address.path).st_mode
    except OSError:                         # it has just been removed
        mode = stat.S_IFSOCK
    if stat.S_ISDIR(mode):
        return "that is a folder; add the name of a file"
    return ("another service listens there; stop it, or use another path" if stat.S_ISSOCK(mode)
            else "what is there is no socket; remove it, or use another path")


def _remove_stale_socket(path: str) -> None:
    """Remove the socket of a service that was killed.

    A socket that answers stays, as does any other file.
    """
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return                          # bind() then raises an error
    except FileNotFoundError:
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.setblocking(False)            # a service with a full backlog is alive, too
        probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
    except OSError:
        pass
    finally:
        probe.close()
