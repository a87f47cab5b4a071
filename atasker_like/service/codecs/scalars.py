"""Forms: how the values of one type stand in JSON. Here are those of the types that are not made of others.

A form's ``read`` turns what JSON holds into a value of the type, its ``write`` does the reverse; both check what they are
given, and raise :class:`Misfit` with the way to the place that does not fit. The way is put together while the error goes
up, so that what fits pays nothing for it.

    int, str, bool, None    as they are; a float takes an integer, too
    float                   a number, or "NaN", "Infinity", "-Infinity", which JSON has no numbers for
    datetime, date, time    ISO 8601          timedelta    seconds          Decimal, UUID    their text
    bytes                   base64
"""
from __future__ import annotations

import base64
import binascii
import datetime
import decimal
import math
import operator
import typing
import uuid

from ..._inspect import has_method

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, NoReturn

__all__ = ["ANY", "SCALARS", "SHOWN", "SIMPLE", "Form", "Misfit", "expected", "in_one_line"]

#: JSON's own types that hold no others.
SCALARS = (str, int, float, bool, type(None))

#: Characters of a value that does not fit that are shown.
SHOWN = 60


class Misfit(Exception):
    """A value does not fit its form: ``where`` is the way to it, ``why`` the reason.

    The reason is in two parts, of which the second shows what there was: a field whose values are hidden does without it.
    """

    def __init__(self, wanted: str, shown: str = "") -> None:
        super().__init__(wanted + shown)
        self._wanted = wanted
        self._way: list[str] = []

    def below(self, step: str) -> Misfit:
        """Add a step in front of the way, and return the error to be raised on."""
        self._way.append(step)
        return self

    def hide(self) -> None:
        """Forget what there was, and the way inside of it, which may go by keys."""
        self.args = (self._wanted,)
        self._way.clear()
        self.__cause__ = self.__context__ = None

    @property
    def why(self) -> str:
        return str(self)

    @property
    def where(self) -> str:
        return "".join(reversed(self._way)).lstrip(".")


class Form:
    """How values of one type stand in JSON.

    ``rank`` orders the members of a Union: those that take less come first.
    """

    __slots__ = ("name", "read", "write", "rank")

    def __init__(self, name: str, read: Callable[[Any], Any], write: Callable[[Any], Any], rank: int = 2) -> None:
        self.name = name
        self.read = read
        self.write = write
        self.rank = rank


def expected(what: str, value: Any) -> NoReturn:
    """Raise :class:`Misfit`: something else was expected than this value."""
    raise Misfit(f"takes {what}", f", not {_shown(value)}")


def _shown(value: Any) -> str:
    if not isinstance(value, SCALARS) or isinstance(value, int) and value.bit_length() > 200:
        return f"a {_json_name(value)}"     # long, or of a repr that may do anything
    shown = repr(value)
    return shown if len(shown) <= SHOWN else shown[:SHOWN] + "..."


def in_one_line(text: str) -> str:
    """Return a text that may hold what strangers sent, with escapes for what is not printed as a character of a line."""
    return text if text.isprintable() else "".join([each if each.isprintable() else repr(each)[1:-1] for each in text])


def _json_name(value: Any) -> str:
    if type(value) is dict:
        return "JSON object"
    return "JSON array" if type(value) is list else type(value).__name__


# -- scalars -----------------------------------------------------------------------------------------------


def _exactly(kind: type, what: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is kind:
            return value
        return expected(what, value)

    return check


def _write_int(value: Any) -> int:
    # Numbers of other libraries, and an IntEnum, are written as the integers that they are.
    if type(value) is int:
        return value
    if type(value) is bool or not has_method(value, "__index__"):
        expected("an integer", value)
    return int(operator.index(value))       # which before Python 3.10 is still an IntEnum


def _write_str(value: Any) -> str:
    return str.__str__(value) if isinstance(value, str) else expected("a string", value)


_UNNUMBERED = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _read_float(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise Misfit("takes a number that fits a float") from None
    if type(value) is str and value in _UNNUMBERED:
        return _UNNUMBERED[value]
    return expected("a number", value)


def _write_float(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (float, int)):
        expected("a number", value)
    number = _read_float(value if type(value) is int else float(value))
    if math.isfinite(number):
        return number
    return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"


def _parsed(kind: type, what: str, parse: Callable[[str], Any], text: Callable[[Any], Any] = str) -> Form:
    """A form for values that are text in JSON."""
    def read(value: Any) -> Any:
        if type(value) is not str:
            expected(what, value)
        try:
            return parse(value)
        except (ValueError, ArithmeticError, OverflowError):
            return expected(what, value)

    def write(value: Any) -> Any:
        if not isinstance(value, kind) or (kind is datetime.date and isinstance(value, datetime.datetime)):
            expected(what, value)
        return text(value)

    return Form(kind.__name__, read, write, rank=4)


def _read_iso(kind: Any) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        # Before 3.11 the Z was not understood; all the world writes it.
        return kind.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)

    return read


def _read_decimal(value: Any) -> decimal.Decimal:
    if type(value) is int or type(value) is str and len(value) <= 4300:
        try:
            return decimal.Decimal(value)
        except decimal.InvalidOperation:
            pass
    return expected("a decimal number as text", value)


def _write_decimal(value: Any) -> str:
    if not isinstance(value, decimal.Decimal):
        expected("a Decimal", value)
    return str(value)


def _read_seconds(value: Any) -> datetime.timedelta:
    if type(value) is int or type(value) is float:
        try:
            return datetime.timedelta(seconds=value)
        except (OverflowError, ValueError):
            pass
    return expected("a number of seconds", value)


def _write_seconds(value: Any) -> Any:
    if not isinstance(value, datetime.timedelta):
        expected("a timedelta", value)
    if not value.microseconds:
        return value.days * 86400 + value.seconds
    seconds = value.total_seconds()
    if datetime.timedelta(seconds=seconds) != value:
        raise Misfit("takes a timedelta that is exact in seconds as a float", f", not {value!r}")
    return seconds


def _read_bytes(value: Any) -> bytes:
    if type(value) is str:
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            pass
    return expected("bytes as base64 text", value)


def _write_bytes(value: Any) -> str:
    if not isinstance(value, (bytes, bytearray)):
        expected("bytes", value)
    return base64.b64encode(value).decode("ascii")


def _as_it_is(value: Any) -> Any:
    return value


def _write_any(value: Any) -> Any:
    """Check that a value is JSON, without descending by recursion: it may be deep, or contain itself."""
    left = [(value, 0)]
    while left:
        thing, depth = left.pop()
        if type(thing) is float and not math.isfinite(thing):
            raise Misfit("takes JSON values", f", which {thing!r} is not")
        if depth > 100:
            raise Misfit("takes JSON values, and is nested too deep, or contains itself")
        if type(thing) is dict:
            for key in thing:
                if type(key) is not str:
                    raise Misfit("takes JSON values, whose keys are strings", f", not {type(key).__name__}")
            left.extend((inner, depth + 1) for inner in thing.values())
        elif type(thing) is list:
            left.extend((inner, depth + 1) for inner in thing)
        elif type(thing) not in SCALARS:
            raise Misfit("takes JSON values", f", which a {type(thing).__name__} is not")
    return value


ANY = Form("Any", _as_it_is, _write_any, rank=6)

#: Of the types that are not made of others, and of those that are anything.
SIMPLE: dict[Any, Form] = {
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
    typing.Any: ANY,
    object: ANY,
}
SIMPLE[None] = SIMPLE[type(None)]
