"""Codecs of the types that are not made of other types.

    int, str, bool, None    as they are; a float also decodes an integer
    float                   a number, or "NaN", "Infinity", "-Infinity", which JSON cannot express
    datetime, date, time    ISO 8601          timedelta    seconds          Decimal, UUID    text
    bytes                   base64
"""
from __future__ import annotations

import base64
import datetime
import decimal
import math
import operator
import typing
import uuid

from ..._inspect import has_method
from .codec import SCALARS, Codec, FieldError, mismatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

__all__ = ["ANY", "SIMPLE"]


class _ExactCodec(Codec):
    """JSON's own types, which are the same on both sides."""

    def __init__(self, name: str, kind: type, json_name: str, python_name: str,
                 generality: int = 2) -> None:
        super().__init__(name, generality)
        self._kind = kind
        self._json_name = json_name
        self._python_name = python_name

    def decode(self, value: Any) -> Any:
        if type(value) is self._kind:
            return value
        mismatch(self._json_name, value)

    def encode(self, value: Any) -> Any:
        if type(value) is self._kind:
            return value
        mismatch(self._python_name, value)


class _IntCodec(_ExactCodec):
    def encode(self, value: Any) -> int:
        # Integers of other libraries, and an IntEnum, are encoded as plain integers.
        if type(value) is int:
            return value
        if type(value) is bool or not has_method(value, "__index__"):
            mismatch(self._python_name, value)
        return int(operator.index(value))       # before Python 3.10, index() returns an IntEnum


class _StrCodec(_ExactCodec):
    def encode(self, value: Any) -> str:
        if isinstance(value, str):
            return str.__str__(value)
        mismatch(self._python_name, value)


_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class _FloatCodec(Codec):
    def decode(self, value: Any) -> float:
        if type(value) is float:
            return value
        if type(value) is int:
            try:
                return float(value)
            except OverflowError:
                raise FieldError("takes a number that fits a float") from None
        if type(value) is str and value in _NOT_FINITE:
            return _NOT_FINITE[value]
        mismatch("a number", value)

    def encode(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (float, int)):
            mismatch("a number", value)
        number = self.decode(value if type(value) is int else float(value))
        if math.isfinite(number):
            return number
        if number != number:
            return "NaN"
        return "Infinity" if number > 0 else "-Infinity"


class _TextCodec(Codec):
    """Values that are text in JSON."""

    def __init__(self, kind: type, wanted: str, parse: Callable[[str], Any],
                 format: Callable[[Any], Any] = str) -> None:
        super().__init__(kind.__name__, generality=4)
        self._kind = kind
        self._wanted = wanted
        self._parse = parse
        self._format = format

    def decode(self, value: Any) -> Any:
        if type(value) is not str:
            mismatch(self._wanted, value)
        try:
            return self._parse(value)
        except (ValueError, ArithmeticError, OverflowError):
            mismatch(self._wanted, value)

    def encode(self, value: Any) -> Any:
        if not isinstance(value, self._kind):
            mismatch(self._wanted, value)
        return self._format(value)


class _DateCodec(_TextCodec):
    def encode(self, value: Any) -> Any:
        if isinstance(value, datetime.datetime):        # which is a subclass, and has a time
            mismatch(self._wanted, value)
        return super().encode(value)


def _parse_iso(kind: Any) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        # fromisoformat() accepts the common suffix Z only since Python 3.11.
        return kind.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)

    return parse


class _DecimalCodec(Codec):
    def decode(self, value: Any) -> decimal.Decimal:
        if type(value) is int or type(value) is str and len(value) <= 4300:
            try:
                return decimal.Decimal(value)
            except decimal.InvalidOperation:
                pass
        mismatch("a decimal number as text", value)

    def encode(self, value: Any) -> str:
        if not isinstance(value, decimal.Decimal):
            mismatch("a Decimal", value)
        return str(value)


class _TimedeltaCodec(Codec):
    def decode(self, value: Any) -> datetime.timedelta:
        if type(value) is int or type(value) is float:
            try:
                return datetime.timedelta(seconds=value)
            except (OverflowError, ValueError):
                pass
        mismatch("a number of seconds", value)

    def encode(self, value: Any) -> Any:
        if not isinstance(value, datetime.timedelta):
            mismatch("a timedelta", value)
        if not value.microseconds:
            return value.days * 86400 + value.seconds
        seconds = value.total_seconds()
        if datetime.timedelta(seconds=seconds) != value:
            raise FieldError("takes a timedelta that is exact in seconds as a float",
                             f", not {value!r}")
        return seconds


class _BytesCodec(Codec):
    def decode(self, value: Any) -> bytes:
        if type(value) is str:
            try:
                return base64.b64decode(value, validate=True)
            except ValueError:
                pass
        mismatch("bytes as base64 text", value)

    def encode(self, value: Any) -> str:
        if not isinstance(value, (bytes, bytearray)):
            mismatch("bytes", value)
        return base64.b64encode(value).decode("ascii")


class _AnyCodec(Codec):
    """Any JSON data, which is left as it is."""

    def decode(self, value: Any) -> Any:
        return value

    def encode(self, value: Any) -> Any:
        # Without recursion: the value may be deep, or contain itself.
        left = [(value, 0)]
        while left:
            part, depth = left.pop()
            if type(part) is float and not math.isfinite(part):
                raise FieldError("takes JSON values", f", which {part!r} is not")
            if depth > 100:
                raise FieldError("takes JSON values, and is nested too deep, or contains itself")
            if type(part) is dict:
                for key in part:
                    if type(key) is not str:
                        raise FieldError("takes JSON values, whose keys are strings",
                                         f", not {type(key).__name__}")
                left.extend((inner, depth + 1) for inner in part.values())
            elif type(part) is list:
                left.extend((inner, depth + 1) for inner in part)
            elif type(part) not in SCALARS:
                raise FieldError("takes JSON values", f", which a {type(part).__name__} is not")
        return value


ANY = _AnyCodec("Any", 6)

#: Codecs of the types that are not made of other types, and of those that mean any value.
SIMPLE: dict[Any, Codec] = {
    int: _IntCodec("int", int, "an integer", "an integer"),
    str: _StrCodec("str", str, "a string", "a string", 5),
    bool: _ExactCodec("bool", bool, "true or false", "True or False"),
    type(None): _ExactCodec("None", type(None), "null", "None", 0),
    float: _FloatCodec("float", 3),
    bytes: _BytesCodec("bytes", 4),
    datetime.datetime: _TextCodec(datetime.datetime, "a date and time in ISO 8601",
                                  _parse_iso(datetime.datetime), datetime.datetime.isoformat),
    datetime.date: _DateCodec(datetime.date, "a date in ISO 8601",
                              datetime.date.fromisoformat, datetime.date.isoformat),
    datetime.time: _TextCodec(datetime.time, "a time in ISO 8601",
                              _parse_iso(datetime.time), datetime.time.isoformat),
    datetime.timedelta: _TimedeltaCodec("timedelta", 4),
    decimal.Decimal: _DecimalCodec("Decimal", 4),
    uuid.UUID: _TextCodec(uuid.UUID, "a UUID", uuid.UUID),
    typing.Any: ANY,
    object: ANY,
}
SIMPLE[None] = SIMPLE[type(None)]
