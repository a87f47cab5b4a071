"""The messages between a client and a service: one JSON object a line.

::

    client                                          service
    {"token": "..."}                      first, over TCP
    {"id", "target", "type", "payload",
     "metadata": {"parallel", "display_name",
                  "priority"}, "tell": true}  ───>
                                        <───  {"status": "accepted", "id"}     if "tell" is true
                                        <───  {"status": "ok", "id", "result"}
                                        <───  {"status": "error", "id", "ename", "evalue",
                                               "traceback"}
                                        <───  {"status": "refused", "id", "reason", "message"}
                                        <───  {"status": "closed", "reason", "message"}
                                              before the service closes the connection

Incoming messages are untrusted. The reader of the lines limits their length; this module limits
their depth and their numbers. Outgoing messages keep the same limits: the other end would close the
connection, with all requests in flight, when a message exceeds them.
"""
from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import re
import sys
import uuid
from itertools import accumulate

from .._inspect import class_name, has_method, text_of
from ..errors import TaskRefusedError
from .codecs.codec import FieldError
from .codecs.schema import codec_for, is_by_value
from .task import TaskResult, TaskResultError, TaskResultOk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, NoReturn


#: Default of the most bytes of a message.
MAX_MESSAGE = 1 << 20

#: Levels of nested arrays and objects.
MAX_DEPTH = 64

#: Digits of an integer. The time to parse one grows with the square of their number.
MAX_DIGITS = 4300

#: Characters of an id, of the name of a task's type and of the name of a service.
MAX_NAME = 200

#: Absolute value of a request's priority.
MAX_PRIORITY = 1 << 31

#: Characters of an error's text and of its traceback that are sent.
MAX_TEXT = 10_000


# -- incoming --------------------------------------------------------------------------------------


def _reject_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _bounded_int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        digits = len(text) - text.startswith("-")
        if digits > MAX_DIGITS:
            raise ValueError(f"an integer of {digits} digits; {MAX_DIGITS} are the most")
    return int(text)


_short: Any = json.JSONDecoder(parse_constant=_reject_constant)
_decode_short, _scan_short = _short.decode, _short.scan_once
_decode_long = json.JSONDecoder(parse_constant=_reject_constant, parse_int=_bounded_int).decode


def decode(line: bytes) -> dict[str, Any]:
    """Return the JSON object in a line.

    :raises ValueError: the line is not a JSON object, or exceeds a limit.
    """
    if len(line) > _DEPTH_SAFE and line.count(b"[") + line.count(b"{") > MAX_DEPTH:
        _check_depth(line)
    text = line.decode("utf-8")
    message = _decode_text(text) if len(text) <= MAX_DIGITS else _decode_long(text)
    if type(message) is not dict:
        raise ValueError(f"a JSON object is expected, not {shortened(text, 40)!r}")
    return message


def _decode_text(text: str) -> Any:
    """Return ``_decode_short(text)``, in less time if it has no spaces."""
    try:
        message, end = _scan_short(text, 0)
        if end == len(text):
            return message
    except (StopIteration, ValueError):
        pass
    return _decode_short(text)


def value_of(text: str) -> Any:
    """Return the JSON value in a text, or the text if it is not JSON."""
    try:
        return _decode_long(text)
    except (ValueError, RecursionError):
        return text


def _check_depth(line: bytes) -> None:
    """Refuse JSON that is nested too deep, before the parser descends into it.

    The parser recurses, up to a limit that the application can set. Past the end of the stack the
    process dies.
    """
    # All of it runs in C, since a line may be long. JSON of few levels is reduced level by level,
    # from the innermost. JSON of many levels is walked step by step, up to the first one too deep.
    brackets = line.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = brackets.translate(_TO_SQUARE, _NO_BRACKETS).replace(b'""', b"")
    brackets = b"".join(brackets.split(b'"')[::2])          # those that are not in strings
    max_depth = MAX_DEPTH
    while brackets:
        outer = brackets.replace(b"[]", b"")
        if 2 * len(outer) > len(brackets):
            break
        brackets, max_depth = outer, max_depth - 1
    steps = memoryview(brackets.translate(_TO_STEPS)).cast("b")
    depth = 0
    for start in range(0, len(steps), 1000):
        depths = list(accumulate(steps[start:start + 1000], initial=depth))
        if max(depths) > max_depth:
            raise ValueError(f"more than {MAX_DEPTH} levels of arrays and objects")
        depth = depths[-1]


#: Bytes of JSON that cannot exceed the depth: each level has two brackets.
_DEPTH_SAFE = 2 * MAX_DEPTH

_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b'[]{}"')
_TO_STEPS = bytes.maketrans(b"[]", b"\x01\xff")        # signed bytes: one level in, one level out


def check_request(message: dict[str, Any]) -> str:
    """Return the id of a request.

    :raises TaskRefusedError: the message is not a valid request.
    """
    request_id, name, target = message.get("id"), message.get("type"), message.get("target")
    if type(request_id) is not str or not 0 < len(request_id) <= MAX_NAME:
        raise TaskRefusedError(f"a request needs an \"id\", a string of 1 to {MAX_NAME} characters")
    if type(name) is not str or len(name) > MAX_NAME:
        raise TaskRefusedError("a request needs a \"type\", a string of at most "
                               f"{MAX_NAME} characters")
    if target is not None and (type(target) is not str or len(target) > MAX_NAME):
        raise TaskRefusedError("the \"target\" of a request is a string of at most "
                               f"{MAX_NAME} characters, or null")
    metadata = message.get("metadata")
    if metadata is not None:
        if type(metadata) is not dict:
            raise TaskRefusedError("the \"metadata\" of a request is an object")
        priority = metadata.get("priority")
        if priority is not None and (type(priority) is not int or abs(priority) > MAX_PRIORITY):
            raise TaskRefusedError("the \"priority\" of a request is an integer of 32 bits, "
                                   "or null")
    return request_id


def result_of(message: dict[str, Any]) -> TaskResult | None:
    """Return the result in a message of a service, or None."""
    status, task_id = message.get("status"), str(message.get("id"))
    if status == "ok":
        return TaskResultOk(task_id, message.get("result"))
    if status == "error":
        return TaskResultError(task_id, str(message.get("ename")), str(message.get("evalue")),
                               str(message.get("traceback")))
    return None


# -- outgoing --------------------------------------------------------------------------------------


def _to_json(value: Any) -> Any:
    """Return JSON for a value in a result that is not of JSON's own types."""
    if isinstance(value, enum.Enum):
        return value.value if is_by_value(type(value)) else value.name
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, (bytes, bytearray)):
        value = bytes(value)
    for kind in _TYPES_WITH_CODEC:
        if isinstance(value, kind):
            return codec_for(kind).encode(value)
    if has_method(value, "__index__"):
        return value.__index__()
    raise TypeError(f"a {type(value).__name__} has no form in JSON")


_TYPES_WITH_CODEC = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta,
                     decimal.Decimal, uuid.UUID, bytes)

#: ASCII only: no reader can take any other character than the newline for the end of a line.
_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=_to_json)
_lenient = json.JSONEncoder(separators=(",", ":"), default=_to_json)
_quote = json.encoder.encode_basestring_ascii


def _fastest_encode() -> Callable[[Any], str]:
    """Return ``_encoder.encode``, or an equal without its set-up per call.

    The faster one uses an undocumented part of the json module, so it is tried first.
    """
    encode = _encoder.encode
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    try:
        def encode_prepared(value: Any) -> str:
            # The dict holds the containers that are open, to detect one that contains itself.
            chunks = make({}, _to_json, _quote, None, ":", ",", False, False, False)(value, 0)
            return "".join(chunks)

        if encode_prepared(_SAMPLE) == encode(_SAMPLE):
            return encode_prepared
    except Exception:       # this Python has another encoder, or one with other arguments
        pass
    return encode


_SAMPLE = {"a": [1, -2.5, "\u2028\"", None, True, {}, b""]}
_encode_text = _fastest_encode()


def _encode_checked(value: Any, encode: Callable[[Any], str] = _encode_text) -> str:
    try:
        return encode(value)
    except FieldError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deep, or contains itself") from None


def _encode_value(value: Any) -> str:
    """Return a result as JSON, with NaN and infinities as text."""
    try:
        return _encode_text(value)
    except (FieldError, RecursionError, ValueError):    # such a float, or an error that comes again
        text = _encode_checked(value, _lenient.encode)
    _check_bounds(text.encode("ascii"))
    return _encode_text(json.loads(text, parse_constant=str))


def encode(message: dict[str, Any]) -> bytes:
    """Return a message as a line.

    :raises ValueError: or TypeError: JSON cannot hold a value.
    """
    return _encode_checked(message).encode("ascii") + b"\n"


def encode_request(request_id: str, target: str | None, name: str, payload: Any,
                   metadata: dict[str, Any], confirm: bool) -> bytes:
    """Return the line of a request.

    :raises ValueError: or TypeError: JSON cannot hold a value, or it exceeds a limit of services.
    """
    if len(name) > MAX_NAME or (target is not None and len(target) > MAX_NAME):
        raise ValueError(f"the names of a type and of a service have {MAX_NAME} characters at most")
    priority = metadata.get("priority")
    if priority is not None and (isinstance(priority, bool) or not isinstance(priority, int)
                                 or abs(priority) > MAX_PRIORITY):
        raise ValueError(f"its priority is an integer of 32 bits, not {priority!r:.60}")
    text = _encode_checked(payload)
    line = (f'{{"id":{_quote(request_id)},"target":{"null" if target is None else _quote(target)},'
            f'"type":{_quote(name)},"payload":{text},"metadata":{_encode_checked(metadata)}'
            f'{_CONFIRM if confirm else ""}}}\n').encode("ascii")
    if len(text) >= _DEPTH_SAFE:
        _check_bounds(line)
    return line


_CONFIRM = ',"tell":true'


def _check_bounds(line: bytes) -> None:
    """Refuse a line that :func:`decode` refuses at the other end."""
    if line.count(b"[") + line.count(b"{") > MAX_DEPTH:
        _check_depth(line)
    if len(line) <= MAX_DIGITS or 0 < _int_digit_limit() <= MAX_DIGITS:
        return
    if _MANY_DIGITS.search(line):
        _decode_long(line.decode("ascii"))      # the digits may be in a string


#: Digits of an integer that Python converts to text; 0 for any number.
_int_digit_limit: Callable[[], int] = getattr(sys, "get_int_max_str_digits", lambda: 0)
_MANY_DIGITS = re.compile(b"(?<![0-9])[0-9]{%d}" % (MAX_DIGITS + 1))


def encode_result(request_id: str, value: Any, max_bytes: int) -> bytes:
    """Return the line of a result, or of an error if it cannot be sent."""
    try:
        text = _encode_value(value)
        line = f'{{"status":"ok","id":{_quote(request_id)},"result":{text}}}\n'.encode("ascii")
        if len(line) <= max_bytes:
            if len(text) >= _DEPTH_SAFE:
                _check_bounds(line)
            return line
    except BaseException as error:          # code of the value's class must not end the loop
        reason = f"its result cannot be sent: {shortened(text_of(error), 500)}"
        ename = class_name(type(error))
    else:
        reason = (f"its result has {len(line)} bytes as JSON, and a message has {max_bytes} at "
                  "most: raise max_message on both sides, or return less")
        ename = "ValueError"
    return encode_error(request_id, ename, f"the task succeeded, but {reason}", "", max_bytes)


def encode_error(request_id: str, ename: str, evalue: str, traceback: str,
                 max_bytes: int = MAX_MESSAGE) -> bytes:
    """Return the line of a task that failed."""
    return encode_within({"status": "error", "id": request_id, "ename": ename,
                          "evalue": shortened(evalue, MAX_TEXT),
                          "traceback": traceback[-MAX_TEXT:]},
                         max_bytes, "traceback", "evalue", "ename")


def encode_refusal(request_id: str, reason: str, why: str, max_bytes: int) -> bytes:
    """Return the line of a task that is refused."""
    return encode_within({"status": "refused", "id": request_id, "reason": reason,
                          "message": shortened(why, 2000)}, max_bytes, "message")


def encode_within(message: dict[str, Any], max_bytes: int, *texts: str) -> bytes:
    """Return a message as a line of at most ``max_bytes`` bytes.

    :param texts: the keys of the texts that may be cut, one after the other.
    """
    line = encode(message)
    for name in texts:
        if len(line) <= max_bytes:
            break
        text = message[name]
        available = max_bytes - len(line) + len(_quote(text)) - 2
        message[name] = _cut(text, available, name == "traceback")
        line = encode(message)
    return line


def _cut(text: str, available: int, keep_end: bool) -> str:
    """Return the part of a text that takes the available bytes as JSON."""
    available -= len("...")
    if available <= 0:
        return ""
    characters = text[:-available - 1:-1] if keep_end else text[:available]
    sizes = accumulate(len(_quote(character)) - 2 for character in characters)
    count = sum(size <= available for size in sizes)
    if keep_end:
        return f"...{text[len(text) - count:]}"
    return f"{text[:count]}..."


def shortened(text: str, limit: int) -> str:
    """Return an untrusted text, cut after ``limit`` characters."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"
