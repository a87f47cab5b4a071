"""The keys by which a checkpoint knows items, and the bytes of a key or an input.

A key stands for one item. If it stood for two, the checkpoint would give the value of one of them
to the other. So a key is refused if it cannot tell items apart, or if it is that of another item.
"""
from __future__ import annotations

import pickle
from collections.abc import Sized
from hashlib import blake2b
from io import BytesIO
from types import BuiltinFunctionType, FunctionType

from .._checks import plain_or_none
from .._inspect import described, shown
from ..errors import InvalidArgumentError, InvalidTypeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


#: The remedy for a key that is refused.
_RETURN = "return a string, a number, or a tuple of these"


def item_keys(key: Any, items: Any) -> ItemKeys | None:
    """Return the keys of a submission, or None without a key function.

    :raises InvalidTypeError: the key function cannot be called, or is a coroutine function.
    """
    plain_or_none("key", key, "return the key of the item from a plain function")
    return None if key is None else ItemKeys(key, isinstance(items, Sized))


class ItemKeys:
    """Calls a key function for each item of one submission, and checks the keys. For one thread.

    It compares items only if they have the same key.
    """

    def __init__(self, function: Callable[[Any], Any], keeps_items: bool) -> None:
        self._function = function
        # The application has a collection, so all its items may be kept. Of other items, which
        # could fill the memory, a digest is kept.
        self._keeps_items = keeps_items
        self._known: dict[bytes, tuple[int, Any]] = {}      # position and item, by key

    def key_of(self, item: Any, position: int) -> bytes:
        """Return the digest of the key of an item.

        :param position: the position of the item in the submission.
        :raises InvalidArgumentError: the function raises, or another item has the same key.
        :raises InvalidTypeError: the key cannot tell items apart.
        """
        try:
            key = self._function(item)
        except Exception as error:
            raise InvalidArgumentError(
                f"key= raised {described(error)} for item {position}, {shown(item)}; it is called "
                "with each item and returns the key of the item in the checkpoint") from error
        if key is None:
            raise InvalidTypeError(f"key= returned None for item {position}, {shown(item)}, so "
                                   "the item would have the key of other items; return the part "
                                   "of the item that identifies it")
        why = _why_unusable(key)
        if why is not None:
            raise InvalidTypeError(f"key= returned {shown(key)} for item {position}, {why}; "
                                   f"{_RETURN}")
        try:
            digest = digest_of(b"key:" + spell(key))
        except Exception as error:
            raise InvalidTypeError(f"key= returned {shown(key)} for item {position}, which cannot "
                                   f"be pickled, so it could not be known again "
                                   f"({described(error)}); {_RETURN}") from error
        self._check_new(digest, key, item, position)
        return digest

    def _check_new(self, digest: bytes, key: Any, item: Any, position: int) -> None:
        kept = item if self._keeps_items else _mark_of(item)
        first, before = self._known.setdefault(digest, (position, kept))
        if before is kept or _are_equal(before, kept):
            return
        raise InvalidArgumentError(
            f"key= returned {shown(key)} for item {position}, {shown(item)}, and for item {first}, "
            "which differs; the checkpoint would give the value of one to the other. Return all "
            "parts of an item that its value depends on, or submit one item for each key")


def _why_unusable(key: Any) -> str | None:
    """Return why a key cannot tell items apart, or None if it can."""
    try:
        hash(key)
    except Exception:           # whatever the object's __hash__ raises
        return "which cannot be hashed"
    kind: Any = type(key)
    if kind is tuple or kind is frozenset:
        return next(filter(None, map(_why_unusable, key)), None)
    # Classes and functions are pickled by their names. None stands in a tuple here.
    if (kind.__eq__ is object.__eq__ and kind.__hash__ is object.__hash__
            and not isinstance(key, (type, FunctionType, BuiltinFunctionType, type(None)))):
        return (f"which has no value: {kind.__name__} objects are compared by their identity, "
                "which ends with the process")
    try:
        equal = bool(key == key)
    except Exception:
        equal = True            # code of the application; the key is compared by its bytes
    return None if equal else "which is not equal to itself, as NaN"


def _mark_of(item: Any) -> Any:
    """Return what an item is compared by: a digest, or the item itself if it cannot be pickled."""
    try:
        return digest_of(spell(item))
    except Exception:
        return item


def _are_equal(one: Any, other: Any) -> bool:
    try:
        if bool(one == other):
            return True
    except Exception:           # such as an array, whose comparison has no single answer
        pass
    try:
        return spell(one) == spell(other)
    except Exception:
        return False


def digest_of(spelled: bytes) -> bytes:
    """Return the digest of the bytes of an input or a key, by which a checkpoint knows it."""
    return blake2b(spelled, digest_size=16).digest()


#: Types whose values are equal if and only if their reprs are.
_PLAIN = frozenset({type(None), bool, int, float, str, bytes})


def spell(value: Any) -> bytes:
    """Return the bytes of an input; equal inputs have equal bytes in every process."""
    kind = type(value)
    if kind in _PLAIN:
        return f"{kind.__name__}:{value!r}".encode("utf-8", "surrogatepass")
    if kind is tuple or kind is list:
        if _PLAIN.issuperset(map(type, value)):     # as most arguments are
            return f"{kind.__name__} of plain:{value!r}".encode("utf-8", "surrogatepass")
        return _join(kind, map(spell, value))
    if kind is dict:
        return _join(kind, sorted(spell(item) for item in value.items()))
    if kind is set or kind is frozenset:
        return _join(kind, sorted(map(spell, value)))
    if kind is object:
        raise TypeError("an object() has no value, and is pickled as every other one")
    # Without the memo of the pickler: with it, one string twice differs from two equal strings.
    packed = BytesIO()
    pickler = pickle.Pickler(packed, protocol=4)
    pickler.fast = True
    pickler.dump(value)
    return b"pickle:" + packed.getvalue()


def _join(kind: type, parts: Any) -> bytes:
    # With lengths, so that the parts are unambiguous.
    return kind.__name__.encode() + b"(" + b"".join(b"%d:%b" % (len(part), part)
                                                    for part in parts) + b")"
