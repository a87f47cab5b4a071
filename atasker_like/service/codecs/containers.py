"""Codecs of arrays and objects: lists, tuples, sets, dicts and the like."""
from __future__ import annotations

import collections.abc
from json import dumps, loads

from .codec import MAX_SHOWN, Codec, FieldError, mismatch
from .scalars import SIMPLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Sequence


#: The types that are arrays in JSON, each with the type to decode to.
ARRAYS: dict[Any, Callable[[Any], Any]] = {
    list: list, set: set, frozenset: frozenset,
    collections.abc.Sequence: list, collections.abc.MutableSequence: list,
    collections.abc.Iterable: list, collections.abc.Collection: list,
    collections.abc.Set: frozenset, collections.abc.MutableSet: set,
}

#: The types that are objects in JSON.
OBJECTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)

#: Different values of one set or dict that may have the same hash. Building the set or dict
#: compares each of them with all of these.
MAX_SAME_HASH = 50

#: The hashes of these are salted. A sender can choose all other hashes: that of an integer is a
#: remainder. Hashes that agree in their lower bits only, as those of multiples of a power of two,
#: cost ten to twenty times as much as others, some 20 ms for 50 000 values: the other bits decide
#: where a set or dict probes next. A sender that computes the probes for each key of a dict is not
#: refused, and costs up to some 75 us a key.
_SALTED = (SIMPLE[str], SIMPLE[bytes])

_TOO_MANY_COLLISIONS = ("takes values of different hashes, "
                        f"of which no more than {MAX_SAME_HASH} are the same")


def _convert_all(convert: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
    converted: list[Any] = []
    try:
        for value in values:
            converted.append(convert(value))
    except FieldError as error:
        raise error.at(f"[{len(converted)}]")
    return converted


class ArrayCodec(Codec):
    """Any number of items of one type, see :data:`ARRAYS`."""

    def __init__(self, kind: Any, make: Callable[[Any], Any], item: Codec) -> None:
        super().__init__(f"{kind.__name__} of {item.name}")
        self._kind = kind
        self._make = make
        self._item = item
        self._needs_hash_check = make in (set, frozenset) and item not in _SALTED

    def decode(self, value: Any) -> Any:
        if type(value) is not list:
            mismatch("an array", value)
        items = _convert_all(self._item.decode, value)
        if self._make is list:
            return items
        try:
            if self._needs_hash_check and len(items) > MAX_SAME_HASH:
                _check_hashes(items)
            return self._make(items)
        except TypeError:                   # an item of a set has no hash
            mismatch(f"an array of what can be in a {self._kind.__name__}", value)

    def encode(self, value: Any) -> Any:
        if not isinstance(value, self._kind) or isinstance(value, (str, bytes, bytearray)):
            mismatch(f"a {self._kind.__name__}", value)
        return _convert_all(self._item.encode, value)


def _check_hashes(items: list[Any]) -> None:
    """Refuse items of too many equal hashes, in linear time."""
    hashes = list(map(hash, items))
    if len(items) - len(set(hashes)) < MAX_SAME_HASH:
        return
    by_hash: dict[int, list[Any]] = {}
    for item, number in zip(items, hashes):
        same = by_hash.setdefault(number, [])
        if item not in same:                # a repeated value costs nothing
            if len(same) == MAX_SAME_HASH:
                raise FieldError(_TOO_MANY_COLLISIONS)
            same.append(item)


class TupleCodec(Codec):
    """Tuples of one length, with a codec for each item."""

    def __init__(self, items: Sequence[Codec]) -> None:
        super().__init__(f"tuple of {', '.join(item.name for item in items)}")
        self._items = items

    def decode(self, value: Any) -> Any:
        if type(value) is not list or len(value) != len(self._items):
            mismatch(f"an array of {len(self._items)}", value)
        return tuple(_convert_all(lambda pair: pair[0].decode(pair[1]), zip(self._items, value)))

    def encode(self, value: Any) -> Any:
        if not isinstance(value, tuple) or len(value) != len(self._items):
            mismatch(f"a tuple of {len(self._items)}", value)
        return _convert_all(lambda pair: pair[0].encode(pair[1]), zip(self._items, value))


class ObjectCodec(Codec):
    """Dicts and other mappings."""

    def __init__(self, key: Codec, value: Codec) -> None:
        if key.name in ("int", "float", "bool"):
            key = _NumberKeyCodec(key)
        super().__init__(f"dict of {key.name} to {value.name}")
        self._key = key
        self._value = value
        self._needs_hash_check = key not in _SALTED

    def decode(self, value: Any) -> Any:
        if type(value) is not dict:
            mismatch("an object", value)
        decode_key: Callable[[Any], Any] = self._key.decode
        if self._needs_hash_check and len(value) > MAX_SAME_HASH:
            decode_key = _check_each_hash(decode_key)
        return _convert_items(decode_key, self._value.decode, value)

    def encode(self, value: Any) -> Any:
        if not isinstance(value, collections.abc.Mapping):
            mismatch("a dict", value)
        encoded = _convert_items(self._key.encode, self._value.encode, value)
        for key in encoded:
            if type(key) is not str:
                raise FieldError("takes keys that are text in JSON", f", not {key!r:.{MAX_SHOWN}}")
        return encoded


def _convert_items(convert_key: Callable[[Any], Any], convert: Callable[[Any], Any],
                   values: Any) -> dict[Any, Any]:
    converted = {}
    for key, value in values.items():
        try:
            converted[convert_key(key)] = convert(value)
        except FieldError as error:
            raise error.at(f"[{key!r:.{MAX_SHOWN}}]")
        except TypeError:
            raise FieldError("takes keys that have a hash",
                             f", which {key!r:.{MAX_SHOWN}} has not") from None
    return converted


def _check_each_hash(decode: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return ``decode`` with a check for too many keys of the same hash."""
    counts: dict[int, int] = {}

    def decode_and_count(value: Any) -> Any:
        decoded = decode(value)
        number = hash(decoded)
        counts[number] = count = counts.get(number, 0) + 1
        if count > MAX_SAME_HASH:
            raise FieldError(_TOO_MANY_COLLISIONS)
        return decoded

    return decode_and_count


class _NumberKeyCodec(Codec):
    """Numbers as keys of a JSON object, where they are strings."""

    def __init__(self, number: Codec) -> None:
        super().__init__(number.name)
        self._number = number

    def decode(self, value: Any) -> Any:
        try:
            if type(value) is str and len(value) <= 400:
                value = loads(value)
            return self._number.decode(value)
        except ValueError:
            mismatch(f"{self.name} keys", value)

    def encode(self, value: Any) -> str:
        return dumps(self._number.encode(value))
