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
from functools import partial

from ..._inspect import has_method
from .codec import SCALARS, Codec, FieldError, mismatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


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


class _ConvertedCodec(Codec):
    """Values that have another type in JSON.

    :param kind: the type of the values, or several.
    :param json_name: what :meth:`decode` takes, in words.
    :param parse: makes a value of JSON data, or raises an error.
    :param format: makes JSON data of a value.
    :param json_types: the types of the JSON data.
    :param python_name: what :meth:`encode` takes, in words; by default the JSON data.
    """

    def __init__(self, name: str, kind: Any, json_name: str, parse: Callable[[Any], Any],
                 format: Callable[[Any], Any] = str, json_types: tuple[type, ...] = (str,),
                 python_name: str = "") -> None:
        super().__init__(name, generality=4)
        self._kind = kind
        self._json_name = json_name
        self._parse = parse
        self._format = format
        self._json_types = json_types
        self._python_name = python_name or json_name

    def decode(self, value: Any) -> Any:
        if type(value) in self._json_types:
            try:
                return self._parse(value)
            except (ValueError, ArithmeticError):
                pass
        mismatch(self._json_name, value)

    def encode(self, value: Any) -> Any:
        if not isinstance(value, self._kind):
            mismatch(self._python_name, value)
        return self._format(value)


class _DateCodec(_ConvertedCodec):
    def encode(self, value: Any) -> Any:
        if isinstance(value, datetime.datetime):        # which is a subclass, and has a time
            mismatch(self._python_name, value)
        return super().encode(value)


def _parse_iso(kind: Any) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        # fromisoformat() accepts the common suffix Z only since Python 3.11.
        return kind.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)

    return parse


def _parse_decimal(value: Any) -> decimal.Decimal:
    if type(value) is str and len(value) > 4300:
        raise ValueError("too many digits")
    return decimal.Decimal(value)


def _format_timedelta(value: datetime.timedelta) -> float:
    if not value.microseconds:
        return value.days * 86400 + value.seconds
    seconds = value.total_seconds()
    if datetime.timedelta(seconds=seconds) != value:
        raise FieldError("takes a timedelta that is exact in seconds as a float",
                         f", not {value!r}")
    return seconds


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
    bytes: _ConvertedCodec("bytes", (bytes, bytearray), "bytes as base64 text",
                           partial(base64.b64decode, validate=True),
                           lambda value: base64.b64encode(value).decode("ascii"),
                           python_name="bytes"),
    datetime.datetime: _ConvertedCodec("datetime", datetime.datetime,
                                       "a date and time in ISO 8601",
                                       _parse_iso(datetime.datetime), datetime.datetime.isoformat),
    datetime.date: _DateCodec("date", datetime.date, "a date in ISO 8601",
                              datetime.date.fromisoformat, datetime.date.isoformat),
    datetime.time: _ConvertedCodec("time", datetime.time, "a time in ISO 8601",
                                   _parse_iso(datetime.time), datetime.time.isoformat),
    datetime.timedelta: _ConvertedCodec("timedelta", datetime.timedelta, "a number of seconds",
                                        partial(datetime.timedelta, 0), _format_timedelta,
                                        (int, float), "a timedelta"),
    decimal.Decimal: _ConvertedCodec("Decimal", decimal.Decimal, "a decimal number as text",
                                     _parse_decimal, str, (str, int), "a Decimal"),
    uuid.UUID: _ConvertedCodec("UUID", uuid.UUID, "a UUID", uuid.UUID),
    typing.Any: ANY,
    object: ANY,
}
SIMPLE[None] = SIMPLE[type(None)]
