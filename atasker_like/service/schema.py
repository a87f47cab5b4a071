"""What a type annotation means in JSON, both ways.

A :class:`Form` is made of an annotation once. Its ``read`` turns what JSON holds into a value of the type, its ``write``
does the reverse; both check what they are given, and raise :class:`Misfit` with the way to the place that does not fit.
The way is put together while the error goes up, so that what fits pays nothing for it.

    int, str, bool, None    as they are; a float takes an integer, too
    float                   a number, or "NaN", "Infinity", "-Infinity", which JSON has no numbers for
    datetime, date, time    ISO 8601          timedelta    seconds          Decimal, UUID    their text
    bytes                   base64            Enum         its value where that is a scalar, else its name
    a dataclass             an object         dict         an object        list, tuple, set    an array
"""
from __future__ import annotations

import base64
import binascii
import collections.abc
import dataclasses
import datetime
import decimal
import enum
import math
import operator
import sys
import threading
import typing
import uuid

from ..errors import InvalidTypeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, NoReturn, Sequence, Tuple, Type

__all__ = ["Form", "Misfit", "form_of"]

#: Types of an enum's values that stand for themselves in JSON.
_SCALARS = (str, int, float, bool, type(None))

#: How much of a value that does not fit is shown.
_SHOWN = 60


class Misfit(Exception):
    """A value does not fit its form: ``where`` is the way to it, ``why`` the reason."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self._way: "List[str]" = []

    def below(self, step: str) -> "Misfit":
        """Add a step in front of the way, and return the error to be raised on."""
        self._way.append(step)
        return self

    @property
    def where(self) -> str:
        return "".join(reversed(self._way)).lstrip(".")


class Form:
    """How values of one type stand in JSON.

    ``rank`` orders the members of a Union: those that take less come first.
    """

    __slots__ = ("name", "read", "write", "rank")

    def __init__(self, name: str, read: "Callable[[Any], Any]", write: "Callable[[Any], Any]", rank: int = 2) -> None:
        self.name = name
        self.read = read
        self.write = write
        self.rank = rank


def _expected(what: str, value: "Any") -> "NoReturn":
    raise Misfit(f"takes {what}, not {_shown(value)}")


def _shown(value: "Any") -> str:
    if not isinstance(value, _SCALARS) or isinstance(value, int) and value.bit_length() > 200:
        return f"a {_json_name(value)}"     # long, or of a repr that may do anything
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."


def _json_name(value: "Any") -> str:
    if type(value) is dict:
        return "JSON object"
    return "JSON array" if type(value) is list else type(value).__name__


# -- scalars -----------------------------------------------------------------------------------------------


def _exactly(kind: type, what: str) -> "Callable[[Any], Any]":
    def check(value: "Any") -> "Any":
        if type(value) is kind:
            return value
        return _expected(what, value)

    return check


def _write_int(value: "Any") -> int:
    # Numbers of other libraries, and an IntEnum, are written as the integers that they are.
    if type(value) is int:
        return value
    if type(value) is bool or not hasattr(value, "__index__"):
        _expected("an integer", value)
    return operator.index(value)


def _write_str(value: "Any") -> str:
    return str.__str__(value) if isinstance(value, str) else _expected("a string", value)


_UNNUMBERED = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _read_float(value: "Any") -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise Misfit("takes a number that fits a float") from None
    if type(value) is str and value in _UNNUMBERED:
        return _UNNUMBERED[value]
    return _expected("a number", value)


def _write_float(value: "Any") -> "Any":
    if isinstance(value, bool) or not isinstance(value, (float, int)):
        _expected("a number", value)
    number = _read_float(value if type(value) is int else float(value))
    if math.isfinite(number):
        return number
    return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"


def _parsed(kind: type, what: str, parse: "Callable[[str], Any]", text: "Callable[[Any], Any]" = str) -> Form:
    """A form for values that are text in JSON."""
    def read(value: "Any") -> "Any":
        if type(value) is not str:
            _expected(what, value)
        try:
            return parse(value)
        except (ValueError, ArithmeticError, OverflowError):
            return _expected(what, value)

    def write(value: "Any") -> "Any":
        if not isinstance(value, kind) or (kind is datetime.date and isinstance(value, datetime.datetime)):
            _expected(what, value)
        return text(value)

    return Form(kind.__name__, read, write, rank=4)


def _read_iso(kind: "Any") -> "Callable[[str], Any]":
    def read(text: str) -> "Any":
        # Before 3.11 the Z was not understood; all the world writes it.
        return kind.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)

    return read


def _read_decimal(value: "Any") -> decimal.Decimal:
    if type(value) is int or type(value) is str and len(value) <= 4300:
        try:
            return decimal.Decimal(value)
        except decimal.InvalidOperation:
            pass
    return _expected("a decimal number as text", value)


def _write_decimal(value: "Any") -> str:
    if not isinstance(value, decimal.Decimal):
        _expected("a Decimal", value)
    return str(value)


def _read_seconds(value: "Any") -> datetime.timedelta:
    if type(value) is int or type(value) is float:
        try:
            return datetime.timedelta(seconds=value)
        except (OverflowError, ValueError):
            pass
    return _expected("a number of seconds", value)


def _write_seconds(value: "Any") -> "Any":
    if not isinstance(value, datetime.timedelta):
        _expected("a timedelta", value)
    if not value.microseconds:
        return value.days * 86400 + value.seconds
    seconds = value.total_seconds()
    if datetime.timedelta(seconds=seconds) != value:
        raise Misfit(f"takes a timedelta that is exact in seconds as a float, not {value!r}")
    return seconds


def _read_bytes(value: "Any") -> bytes:
    if type(value) is str:
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            pass
    return _expected("bytes as base64 text", value)


def _write_bytes(value: "Any") -> str:
    if not isinstance(value, (bytes, bytearray)):
        _expected("bytes", value)
    return base64.b64encode(value).decode("ascii")


def _as_it_is(value: "Any") -> "Any":
    return value


def _write_any(value: "Any") -> "Any":
    """Check that a value is JSON, without descending by recursion: it may be deep, or contain itself."""
    left = [(value, 0)]
    while left:
        thing, depth = left.pop()
        if type(thing) is float and not math.isfinite(thing):
            raise Misfit(f"takes JSON values, which {thing!r} is not")
        if depth > 100:
            raise Misfit("takes JSON values, and is nested too deep, or contains itself")
        if type(thing) is dict:
            for key in thing:
                if type(key) is not str:
                    raise Misfit(f"takes JSON values, whose keys are strings, not {type(key).__name__}")
            left.extend((inner, depth + 1) for inner in thing.values())
        elif type(thing) is list:
            left.extend((inner, depth + 1) for inner in thing)
        elif type(thing) not in _SCALARS:
            raise Misfit(f"takes JSON values, which a {type(thing).__name__} is not")
    return value


_ANY = Form("Any", _as_it_is, _write_any, rank=6)

_SIMPLE: "Dict[Any, Form]" = {
    int: Form("int", _exactly(int, "an integer"), _write_int),
    str: Form("str", _exactly(str, "a string"), _write_str, rank=5),
    bool: Form("bool", _exactly(bool, "true or false"), _exactly(bool, "True or False")),
    type(None): Form("None", _exactly(type(None), "null"), _exactly(type(None), "None"), rank=0),
    float: Form("float", _read_float, _write_float, rank=3),
    bytes: Form("bytes", _read_bytes, _write_bytes, rank=4),
    datetime.datetime: _parsed(datetime.datetime, "a date and time in ISO 8601", _read_iso(datetime.datetime),
                               datetime.datetime.isoformat),
    datetime.date: _parsed(datetime.date, "a date in ISO 8601", datetime.date.fromisoformat, datetime.date.isoformat),
    datetime.time: _parsed(datetime.time, "a time in ISO 8601", _read_iso(datetime.time), datetime.time.isoformat),
    datetime.timedelta: Form("timedelta", _read_seconds, _write_seconds, rank=4),
    decimal.Decimal: Form("Decimal", _read_decimal, _write_decimal, rank=4),
    uuid.UUID: _parsed(uuid.UUID, "a UUID", uuid.UUID),
    typing.Any: _ANY,
    object: _ANY,
}
_SIMPLE[None] = _SIMPLE[type(None)]


# -- what is made of other types ---------------------------------------------------------------------------


def _enum_form(kind: "Type[enum.Enum]") -> Form:
    members = list(kind)
    by_value = all(type(member.value) in _SCALARS for member in members)
    # True == 1 and 1.0 == 1, but they are not the same in JSON.
    known = {_key(member.value if by_value else member.name): member for member in members}
    what = f"one of {', '.join(repr(member.value if by_value else member.name) for member in members)}"

    def read(value: "Any") -> "Any":
        try:
            return known[_key(value)]
        except (KeyError, TypeError):
            return _expected(what, value)

    def write(value: "Any") -> "Any":
        if not isinstance(value, kind):
            _expected(f"a {kind.__name__}", value)
        written = value.value if by_value else value.name
        if _key(written) not in known:          # a combination of flags
            raise Misfit(f"takes a member of {kind.__name__}, which {value!r} is not")
        return written

    return Form(kind.__name__, read, write, rank=1)


def _key(value: "Any") -> "Tuple[type, Any]":
    return type(value), value


def _literal_form(values: "Sequence[Any]") -> Form:
    forms = [(value, form_of(type(value))) for value in values]
    known = {_key(form.write(value)): value for value, form in forms}
    ways_out = {_key(value): form.write(value) for value, form in forms}
    what = f"one of {', '.join(map(repr, values))}"

    def read(value: "Any") -> "Any":
        try:
            return known[_key(value)]
        except (KeyError, TypeError):
            return _expected(what, value)

    def write(value: "Any") -> "Any":
        try:
            return ways_out[_key(value)]
        except (KeyError, TypeError):
            return _expected(what, value)

    return Form(what, read, write, rank=1)


def _union_form(members: "Sequence[Any]") -> Form:
    forms = sorted((form_of(member) for member in members), key=lambda form: form.rank)
    name = " or ".join(form.name for form in forms)
    if len(forms) == 2 and forms[0].name == "None":
        return _optional_form(forms[1])

    def read(value: "Any") -> "Any":
        return _first_fitting(forms, value, reading=True)

    def write(value: "Any") -> "Any":
        written = _first_fitting(forms, value, reading=False)
        # Two members may look alike in JSON. What would arrive as something else is not sent.
        back = read(written)
        if type(back) is not type(value) and not isinstance(value, type(back)) or (back != value and back == back):
            raise Misfit(f"takes {name}, and {value!r:.{_SHOWN}} would arrive as {back!r:.{_SHOWN}}; use a dataclass with a "
                         "Literal field that tells them apart")
        return written

    return Form(name, read, write, rank=max(form.rank for form in forms))


def _first_fitting(forms: "Sequence[Form]", value: "Any", reading: bool) -> "Any":
    deepest: "List[Misfit]" = []
    for form in forms:
        try:
            return form.read(value) if reading else form.write(value)
        except Misfit as misfit:
            if misfit.where:
                deepest.append(misfit)
    if len(deepest) == 1:           # one member nearly fits: what is wrong inside it says more
        raise deepest[0]
    return _expected(" or ".join(form.name for form in forms), value)


def _optional_form(form: Form) -> Form:
    def read(value: "Any") -> "Any":
        return None if value is None else form.read(value)

    def write(value: "Any") -> "Any":
        return None if value is None else form.write(value)

    return Form(f"{form.name} or None", read, write, rank=form.rank)


def _array_form(kind: "Any", make: "Callable[[Any], Any]", item: Form) -> Form:
    def read(value: "Any") -> "Any":
        if type(value) is not list:
            _expected("an array", value)
        items = _each(item.read, value)
        try:
            return items if make is list else make(items)
        except TypeError:                   # what is to be in a set has no hash
            return _expected(f"an array of what can be in a {kind.__name__}", value)

    def write(value: "Any") -> "Any":
        if not isinstance(value, kind) or isinstance(value, (str, bytes, bytearray)):
            _expected(f"a {kind.__name__}", value)
        return _each(item.write, value)

    return Form(f"{kind.__name__} of {item.name}", read, write)


def _each(convert: "Callable[[Any], Any]", values: "Any") -> "List[Any]":
    converted: "List[Any]" = []
    try:
        for value in values:
            converted.append(convert(value))
    except Misfit as misfit:
        raise misfit.below(f"[{len(converted)}]")
    return converted


def _tuple_form(members: "Sequence[Any]") -> Form:
    forms = [form_of(member) for member in members]
    what = f"an array of {len(forms)}"

    def each(value: "Any", reading: bool) -> "List[Any]":
        converted: "List[Any]" = []
        try:
            for form, inner in zip(forms, value):
                converted.append(form.read(inner) if reading else form.write(inner))
        except Misfit as misfit:
            raise misfit.below(f"[{len(converted)}]")
        return converted

    def read(value: "Any") -> "Any":
        if type(value) is not list or len(value) != len(forms):
            _expected(what, value)
        return tuple(each(value, True))

    def write(value: "Any") -> "Any":
        if not isinstance(value, tuple) or len(value) != len(forms):
            _expected(f"a tuple of {len(forms)}", value)
        return each(value, False)

    return Form(f"tuple of {', '.join(form.name for form in forms)}", read, write)


def _object_form(key: Form, value_form: Form) -> Form:
    if key.name in ("int", "float", "bool"):
        key = _number_as_text(key)

    def each(convert_key: "Callable[[Any], Any]", convert: "Callable[[Any], Any]", value: "Any") -> "Dict[Any, Any]":
        converted = {}
        for name, inner in value.items():
            try:
                converted[convert_key(name)] = convert(inner)
            except Misfit as misfit:
                raise misfit.below(f"[{name!r:.{_SHOWN}}]")
            except TypeError:
                raise Misfit(f"takes keys that have a hash, which {name!r:.{_SHOWN}} has not") from None
        return converted

    def read(value: "Any") -> "Any":
        if type(value) is not dict:
            _expected("an object", value)
        return each(key.read, value_form.read, value)

    def write(value: "Any") -> "Any":
        if not isinstance(value, collections.abc.Mapping):
            _expected("a dict", value)
        written = each(key.write, value_form.write, value)
        for name in written:
            if type(name) is not str:
                raise Misfit(f"takes keys that are text in JSON, not {name!r:.{_SHOWN}}")
        return written

    return Form(f"dict of {key.name} to {value_form.name}", read, write)


def _number_as_text(form: Form) -> Form:
    """Keys of a JSON object are strings: these are numbers in strings."""
    from json import dumps, loads

    def read(value: "Any") -> "Any":
        try:
            return form.read(loads(value) if type(value) is str and len(value) <= 400 else value)
        except ValueError:
            return _expected(f"{form.name} keys", value)

    return Form(form.name, read, lambda value: dumps(form.write(value)))


# -- dataclasses -------------------------------------------------------------------------------------------


def _form_of_dataclass(kind: "Any") -> Form:
    try:
        hints = typing.get_type_hints(kind, localns={kind.__name__: kind})
    except Exception as error:
        raise InvalidTypeError(f"the annotations of {kind.__qualname__} cannot be resolved: {error}; the types must be known "
                               "in its module when the class is first used, and on this Python") from error
    fields = []
    for field in dataclasses.fields(kind):
        if field.init:
            try:
                form = form_of(hints[field.name])
            except InvalidTypeError as error:
                raise InvalidTypeError(f"field {field.name!r} of {kind.__qualname__}: {error}") from None
            required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            fields.append((field.name, form, required))
    names = [name for name, _, _ in fields]
    what = f"an object with the fields of {kind.__name__}"

    def read(value: "Any") -> "Any":
        if type(value) is not dict:
            _expected(what, value)
        values = {}
        for name, form, required in fields:
            if name in value:
                try:
                    values[name] = form.read(value[name])
                except Misfit as misfit:
                    raise misfit.below(f".{name}")
            elif required:
                raise Misfit(f"is missing: {kind.__name__} has no default for it").below(f".{name}")
        if len(values) != len(value):
            raise _unknown(kind.__name__, names, value)
        try:
            return kind(**values)
        except (TypeError, ValueError, ArithmeticError, LookupError, AssertionError) as error:
            raise Misfit(f"is refused by {kind.__name__}: {error}") from error     # by its __post_init__

    def write(value: "Any") -> "Any":
        if not isinstance(value, kind):
            _expected(f"a {kind.__name__}", value)
        if type(value) is not kind:
            raise Misfit(f"takes a {kind.__name__}, not its subclass {type(value).__name__}, of which fields would be lost")
        written = {}
        for name, form, _ in fields:
            try:
                written[name] = form.write(getattr(value, name))
            except Misfit as misfit:
                raise misfit.below(f".{name}")
        return written

    return Form(kind.__name__, read, write)


def _unknown(where: str, names: "List[str]", value: "Dict[str, Any]") -> Misfit:
    from difflib import get_close_matches

    name = next(name for name in value if name not in names)
    near = get_close_matches(name[:_SHOWN], names, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"its fields are {', '.join(names) or 'none'}"
    return Misfit(f"is no field of {where}; {hint}").below(f".{name:.{_SHOWN}}")


_forms: "Dict[Any, Form]" = {}      # of dataclasses; guarded by _making
_making = threading.RLock()


def _known_dataclass(kind: "Any") -> Form:
    with _making:
        known = _forms.get(kind)
        if known is None:
            # In its place before it is complete, since a class may have fields of its own type: nobody keeps its
            # read or write, but all look them up when they are called.
            known = _forms[kind] = Form(kind.__name__, _as_it_is, _as_it_is)
            try:
                made = _form_of_dataclass(kind)
            except BaseException:
                del _forms[kind]
                raise
            known.read, known.write = made.read, made.write
        return known


# -- one door ----------------------------------------------------------------------------------------------

_ARRAYS: "Dict[Any, Tuple[Any, Callable[[Any], Any]]]" = {
    list: (list, list), set: (set, set), frozenset: (frozenset, frozenset),
    collections.abc.Sequence: (collections.abc.Sequence, list),
    collections.abc.MutableSequence: (collections.abc.MutableSequence, list),
    collections.abc.Iterable: (collections.abc.Iterable, list),
    collections.abc.Collection: (collections.abc.Collection, list),
    collections.abc.Set: (collections.abc.Set, frozenset),
    collections.abc.MutableSet: (collections.abc.MutableSet, set),
}
_OBJECTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def _is_union(origin: "Any") -> bool:
    if origin is typing.Union:
        return True
    return sys.version_info >= (3, 10) and origin is getattr(sys.modules["types"], "UnionType", None)


def form_of(annotation: "Any") -> Form:
    """Return the form of values of a type.

    :raises InvalidTypeError: (a TypeError) JSON has no form for it.
    """
    try:
        simple = _SIMPLE.get(annotation)
    except TypeError:                       # not hashable: no type
        raise _no_form(annotation) from None
    if simple is not None:
        return simple
    supertype = getattr(annotation, "__supertype__", None)      # a NewType
    if supertype is not None:
        return form_of(supertype)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is not None and hasattr(annotation, "__metadata__"):      # Annotated
        return form_of(arguments[0])
    if _is_union(origin):
        return _union_form(arguments)
    if origin is typing.Literal:
        return _literal_form(arguments)
    plain = origin or annotation
    if plain is tuple:
        if arguments and arguments[-1] is not Ellipsis:
            return _tuple_form(() if arguments == ((),) else arguments)
        if origin is not None and annotation == typing.Tuple[()]:
            return _tuple_form(())
        return _array_form(tuple, tuple, form_of(arguments[0]) if arguments else _ANY)
    arguments = tuple(argument for argument in arguments if not isinstance(argument, typing.TypeVar))   # a bare List, on 3.8
    if plain in _ARRAYS:
        return _array_form(*_ARRAYS[plain], form_of(arguments[0]) if arguments else _ANY)
    if plain in _OBJECTS:
        return _object_form(*(map(form_of, arguments) if arguments else (_SIMPLE[str], _ANY)))
    if isinstance(plain, type):
        if issubclass(plain, enum.Enum):
            return _enum_form(plain)
        if dataclasses.is_dataclass(plain):
            return _known_dataclass(plain)
    raise _no_form(annotation)


def _no_form(annotation: "Any") -> InvalidTypeError:
    return InvalidTypeError(f"{annotation!r} has no form in JSON; use numbers, strings, bytes, dates, Decimal, UUID, Enum, "
                            "Literal, dataclasses, and lists, tuples, dicts and unions of them")
