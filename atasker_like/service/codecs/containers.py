"""The forms of arrays and objects: of lists, tuples, sets, dicts and their kin, made of the forms of what is in them."""
from __future__ import annotations

import collections.abc

from .scalars import SHOWN, SIMPLE, Form, Misfit, expected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Sequence

__all__ = ["ARRAYS", "OBJECTS", "array_form", "object_form", "tuple_form"]

#: The types that are arrays in JSON: what a value is checked for, and what makes one.
ARRAYS: dict[Any, tuple[Any, Callable[[Any], Any]]] = {
    list: (list, list), set: (set, set), frozenset: (frozenset, frozenset),
    collections.abc.Sequence: (collections.abc.Sequence, list),
    collections.abc.MutableSequence: (collections.abc.MutableSequence, list),
    collections.abc.Iterable: (collections.abc.Iterable, list),
    collections.abc.Collection: (collections.abc.Collection, list),
    collections.abc.Set: (collections.abc.Set, frozenset),
    collections.abc.MutableSet: (collections.abc.MutableSet, set),
}

#: The types that are objects in JSON.
OBJECTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)

#: How many different values of one set or dict may have the same hash: making it compares each of them with all of these.
MOST_ALIKE = 50

#: Hashes of these are salted. All others can be chosen by who sends the values: that of an integer is a remainder. What
#: agrees in the lower bits of its hash alone, as multiples of a power of two do, costs ten to twenty times as much as what
#: does not, some 20 ms for 50 000 values: the other bits decide where a set or a dict looks next. What is not refused is the
#: work of somebody who computes for each key of a dict where it will look: up to some 75 us a key.
_SALTED = (SIMPLE[str], SIMPLE[bytes])


def array_form(kind: Any, make: Callable[[Any], Any], item: Form) -> Form:
    """Return the form of what holds any number of items of one form: see :data:`ARRAYS`."""
    hashed = make in (set, frozenset) and item not in _SALTED

    def read(value: Any) -> Any:
        if type(value) is not list:
            expected("an array", value)
        items = _each(item.read, value)
        try:
            if hashed and len(items) > MOST_ALIKE:
                _check_hashes(items)
            return items if make is list else make(items)
        except TypeError:                   # what is to be in a set has no hash
            return expected(f"an array of what can be in a {kind.__name__}", value)

    def write(value: Any) -> Any:
        if not isinstance(value, kind) or isinstance(value, (str, bytes, bytearray)):
            expected(f"a {kind.__name__}", value)
        return _each(item.write, value)

    return Form(f"{kind.__name__} of {item.name}", read, write)


def _each(convert: Callable[[Any], Any], values: Any) -> list[Any]:
    converted: list[Any] = []
    try:
        for value in values:
            converted.append(convert(value))
    except Misfit as misfit:
        raise misfit.below(f"[{len(converted)}]")
    return converted


def _check_hashes(items: list[Any]) -> None:
    """Refuse the items of a set that would take long to make; in a time that grows with their number alone."""
    hashes = list(map(hash, items))
    if len(items) - len(set(hashes)) < MOST_ALIKE:
        return
    alike: dict[int, list[Any]] = {}
    for item, number in zip(items, hashes):
        same = alike.setdefault(number, [])
        if item not in same:                # the same value again costs nothing
            if len(same) == MOST_ALIKE:
                raise Misfit(_TOO_ALIKE)
            same.append(item)


def _counted(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what converts the keys of a dict as ``convert`` does, and refuses those of which it would take long to make."""
    counts: dict[int, int] = {}

    def convert_counted(value: Any) -> Any:
        converted = convert(value)
        number = hash(converted)
        counts[number] = count = counts.get(number, 0) + 1
        if count > MOST_ALIKE:
            raise Misfit(_TOO_ALIKE)
        return converted

    return convert_counted


_TOO_ALIKE = f"takes values of different hashes, of which no more than {MOST_ALIKE} are the same"


def tuple_form(forms: Sequence[Form]) -> Form:
    """Return the form of tuples of one length, with a form for each place."""
    what = f"an array of {len(forms)}"

    def each(value: Any, reading: bool) -> list[Any]:
        converted: list[Any] = []
        try:
            for form, inner in zip(forms, value):
                converted.append(form.read(inner) if reading else form.write(inner))
        except Misfit as misfit:
            raise misfit.below(f"[{len(converted)}]")
        return converted

    def read(value: Any) -> Any:
        if type(value) is not list or len(value) != len(forms):
            expected(what, value)
        return tuple(each(value, True))

    def write(value: Any) -> Any:
        if not isinstance(value, tuple) or len(value) != len(forms):
            expected(f"a tuple of {len(forms)}", value)
        return each(value, False)

    return Form(f"tuple of {', '.join(form.name for form in forms)}", read, write)


def object_form(key: Form, value_form: Form) -> Form:
    """Return the form of dicts and their kin."""
    if key.name in ("int", "float", "bool"):
        key = _number_as_text(key)
    hashed = key not in _SALTED

    def each(convert_key: Callable[[Any], Any], convert: Callable[[Any], Any], value: Any) -> dict[Any, Any]:
        converted = {}
        for name, inner in value.items():
            try:
                converted[convert_key(name)] = convert(inner)
            except Misfit as misfit:
                raise misfit.below(f"[{name!r:.{SHOWN}}]")
            except TypeError:
                raise Misfit("takes keys that have a hash", f", which {name!r:.{SHOWN}} has not") from None
        return converted

    def read(value: Any) -> Any:
        if type(value) is not dict:
            expected("an object", value)
        return each(_counted(key.read) if hashed and len(value) > MOST_ALIKE else key.read, value_form.read, value)

    def write(value: Any) -> Any:
        if not isinstance(value, collections.abc.Mapping):
            expected("a dict", value)
        written = each(key.write, value_form.write, value)
        for name in written:
            if type(name) is not str:
                raise Misfit("takes keys that are text in JSON", f", not {name!r:.{SHOWN}}")
        return written

    return Form(f"dict of {key.name} to {value_form.name}", read, write)


def _number_as_text(form: Form) -> Form:
    """Keys of a JSON object are strings: these are numbers in strings."""
    from json import dumps, loads

    def read(value: Any) -> Any:
        try:
            return form.read(loads(value) if type(value) is str and len(value) <= 400 else value)
        except ValueError:
            return expected(f"{form.name} keys", value)

    return Form(form.name, read, lambda value: dumps(form.write(value)))
