"""Another serializer than pickle, for what crosses to pool processes and back.

The data that its ``dumps`` returns are wrapped in a pickle that calls its ``loads``. So pipes,
processes and decoding know only pickles. Buffers that the serializer can leave out of its data stay
out of band.
"""
from __future__ import annotations

import pickle
from contextlib import suppress

from ..._inspect import shown
from ...errors import InvalidTypeError
from . import child
from .main_module import names_main

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Protocol

    from .child import Initializer

    class SerializerModule(Protocol):
        """A module with these functions, such as ``pickle`` or ``cloudpickle``."""

        def dumps(self, obj: Any, /) -> Any: ...
        def loads(self, data: Any, /) -> Any: ...


class Serializer:
    """The ``dumps`` and ``loads`` of a module. It is pickled by their names."""

    def __init__(self, dumps: Callable[..., Any], loads: Callable[..., Any],
                 takes_buffers: bool) -> None:
        self._dumps = dumps
        self._loads = loads
        self._takes_buffers = takes_buffers

    @classmethod
    def of(cls, module: Any) -> Serializer | None:
        """Return the serializer of a module; None for :mod:`pickle` itself.

        :raises InvalidTypeError: (a TypeError) it has no ``dumps`` or no ``loads``.
        """
        if module is pickle:
            return None
        dumps, loads = getattr(module, "dumps", None), getattr(module, "loads", None)
        if not (callable(dumps) and callable(loads)):
            raise InvalidTypeError("serializer takes a module with dumps and loads, such as "
                                   f"cloudpickle, not {shown(module)}")
        from inspect import signature

        takes_buffers = False
        with suppress(TypeError, ValueError):       # C code without a signature
            takes_buffers = "buffer_callback" in signature(dumps).parameters
        return cls(dumps, loads, takes_buffers)

    def __reduce__(self) -> Any:
        return Serializer, (self._dumps, self._loads, self._takes_buffers)

    def pack(self, value: Any) -> _Packed:
        """Return an object that is pickled as the value is by this serializer."""
        if not self._takes_buffers:
            return _Packed(self._loads, self._dumps(value), [])
        buffers: list[pickle.PickleBuffer] = []
        data = self._dumps(value, protocol=5, buffer_callback=buffers.append)
        return _Packed(self._loads, data, buffers)

    def dumps(self, value: Any, protocol: int = 5) -> bytes:
        """Return a pickle of the value, which plain pickle loads."""
        return pickle.dumps(self.pack(value), protocol)

    def pickle_parts(self, value: Any,
                     members: Iterable[Any]) -> tuple[list[Any], list[memoryview]]:
        """See :func:`.child.pickle_parts`."""
        packed = self.pack(value)
        return child.pickle_parts(packed, (packed.data,))

    def pickle_target(self, target: Callable[..., Any]) -> tuple[bytes, bool]:
        """Pickle a function. A function of a module that processes can import is named.

        :return: the pickle, and True if it only names the function.
        """
        if child.is_stateless(target):
            with suppress(Exception):               # a lambda has no name that leads to it
                blob = child.pickle_target(target)
                if not names_main(blob):
                    return blob, True
        return self.dumps(target), False


class _Packed:
    """A value that a serializer has packed. A process that unpickles it gets the value."""

    __slots__ = ("_loads", "data", "_buffers")

    def __init__(self, loads: Callable[..., Any], data: Any,
                 buffers: list[pickle.PickleBuffer]) -> None:
        self._loads = loads
        self.data: Any = data
        self._buffers = buffers

    def __reduce_ex__(self, protocol: Any) -> Any:
        if not self._buffers:
            return self._loads, (self.data,)
        return _load, (self._loads, self.data, *self._buffers)


def _load(loads: Callable[..., Any], data: Any, *buffers: Any) -> Any:
    return loads(data, buffers=buffers)


class Setup:
    """The initializer of a process that uses a serializer. The serializer carries it, too."""

    def __init__(self, serializer: Serializer, call_first: Initializer) -> None:
        self._serializer = serializer
        self._call_first = call_first

    def __reduce__(self) -> Any:
        return Setup, (self._serializer, self._serializer.pack(self._call_first))

    def __call__(self) -> None:
        server = child.server
        assert server is not None
        server.dumps = self._serializer.dumps
        server.pickle_parts = self._serializer.pickle_parts
        initializer, initargs = self._call_first
        if initializer is not None:
            initializer(*initargs)


def use_cloudpickle(reason: str = "<lambda>") -> str:
    """Return the advice to use cloudpickle for a function that pickle refuses; "" if it is absent.

    :param reason: the text of the error.
    """
    if not any(mark in reason for mark in ("<lambda>", "<locals>", " local object")):
        return ""
    from importlib.util import find_spec

    with suppress(ValueError, ImportError):     # a module without a spec takes its name
        if find_spec("cloudpickle") is not None:
            return ", or have cloudpickle carry it: set_mp_pool(serializer=cloudpickle)"
    return ""
