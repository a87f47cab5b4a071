"""Lines: what is written can be read, and what comes from outside is bounded before it is looked into."""
import datetime
import decimal
import enum
import json
import sys
import uuid
from dataclasses import dataclass

import pytest

from atasker_like import TaskRefusedError
from atasker_like.service.messages import (MAX_DEPTH, check_request, decode, encode, encode_error, encode_result,
                                           value_of)


def test_a_message_is_one_line_of_ascii():
    line = encode({"text": "a\nb\u2028\u0085é"})
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert line.isascii()
    assert decode(line) == {"text": "a\nb\u2028\u0085é"}


@pytest.mark.parametrize("line", [
    b"", b"garbage", b"[]", b"3", b"null", b'"a"', b"{", b'{"a": NaN}', b'{"a": Infinity}', b"{'a': 1}", b"\xff\xfe", b"{}{}",
    b"GET / HTTP/1.1\r", b'{"a": 01}', b"\x80\x04\x95", b"{}" + b"\x00",
])
def test_what_is_no_json_object(line):
    with pytest.raises(ValueError):
        decode(line)


@pytest.mark.parametrize("opening, closing", [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_depth_is_bounded_before_the_parser_descends(opening, closing):
    levels = opening.count(b"[") + opening.count(b"{")

    def nested(depth):
        return b'{"x":' + opening * (depth // levels) + b"1" + closing * (depth // levels) + b"}"

    assert decode(nested(MAX_DEPTH - 2))
    with pytest.raises(ValueError, match="levels"):
        decode(nested(MAX_DEPTH + 2))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10 ** 6)          # as an application may have done: then the parser itself would not stop
    try:
        with pytest.raises(ValueError, match="levels"):
            decode(nested(80_000))
        with pytest.raises(ValueError):
            decode(b'{"x":' + opening * 40_000)
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize("before", [0, 480, 499, 500, 501, 999, 2000])
def test_depth_is_counted_through_a_long_message(before):
    def message(depth):
        return b'{"x":[' + b"[]," * before + b"[" * (depth - 2) + b"]" * (depth - 2) + b"]}"

    assert len(decode(message(MAX_DEPTH))["x"]) == before + 1
    with pytest.raises(ValueError, match="levels"):
        decode(message(MAX_DEPTH + 1))


@pytest.mark.parametrize("around", ["%s", " %s", "%s\r", "\t%s \n"])
def test_space_around_a_message(around):
    assert decode((around % '{"a": 1}').encode()) == {"a": 1}
    with pytest.raises(ValueError):
        decode((around % '{"a": 1} {}').encode())


@pytest.mark.parametrize("value", [None, True, 0, -7, 1 << 70, 0.5, 1e300, "", "\u2028\"\n\x00\ud800", [], {}, [1, [2.5, {"a": None}]],
                                   {"": [], "é": {"b": (1, 2)}}, {7: 2, None: 3, True: 4, 1.5: 5}])
def test_what_is_sent_is_what_the_json_module_makes_of_it(value):
    expected = json.dumps({"id": "x\n", "result": value}, separators=(",", ":")).encode() + b"\n"
    assert encode({"id": "x\n", "result": value}) == expected
    assert encode_result("x\n", value, 1 << 20) == expected.replace(b'{"id"', b'{"status":"ok","id"', 1)


def test_what_contains_itself_is_told_whatever_the_recursion_limit():
    value = [1]
    value.append({"again": value})
    with pytest.raises(ValueError, match="[Cc]ircular"):
        encode({"value": value})
    assert encode({"value": [value[0]]}) == b'{"value":[1]}\n'


def test_brackets_in_strings_are_no_levels():
    text = '[{"\\' * 1000
    assert decode(encode({"a": text, "b": "\\", "c": '"', "d": "[" * 999})) == {"a": text, "b": "\\", "c": '"', "d": "[" * 999}
    wide = {"a": [[]] * 10_000}
    assert decode(encode(wide)) == wide


def test_integers_are_bounded():
    assert decode(b'{"a": %s}' % (b"9" * 4000))["a"] == int("9" * 4000)
    with pytest.raises(ValueError, match="an integer of 10000000 digits"):
        decode(b'{"a": %s}' % (b"9" * 10_000_000))      # it would be an hour where Python has no limit of its own


@pytest.mark.parametrize("message, why", [
    ({}, "id"), ({"id": 3, "type": "A"}, "id"), ({"id": "", "type": "A"}, "id"), ({"id": "x" * 201, "type": "A"}, "id"),
    ({"id": "1"}, "type"), ({"id": "1", "type": None}, "type"), ({"id": "1", "type": "x" * 201}, "type"),
    ({"id": "1", "type": "A", "target": 1}, "target"), ({"id": "1", "type": "A", "metadata": []}, "metadata"),
    ({"id": "1", "type": "A", "metadata": {"priority": "high"}}, "priority"),
    ({"id": "1", "type": "A", "metadata": {"priority": 1 << 40}}, "priority"),
    ({"id": "1", "type": "A", "metadata": {"priority": True}}, "priority"),
])
def test_what_is_no_request(message, why):
    with pytest.raises(TaskRefusedError, match=why):
        check_request(message)


def test_a_request():
    assert check_request({"id": "7", "type": "Add", "target": None, "metadata": {"priority": -1}, "payload": 3}) == "7"


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: float


UNIT = uuid.UUID(int=7)


@pytest.mark.parametrize("value, there", [
    (None, None), ([1, "a", {"b": 2.5}], [1, "a", {"b": 2.5}]), ((1, 2), [1, 2]), ({3}, [3]), (Point(1, 2.0), {"x": 1, "y": 2.0}),
    ([Point(1, 2.0)], [{"x": 1, "y": 2.0}]), (Colour.RED, "red"), (b"\xff", "/w=="), (bytearray(b"\xff"), "/w=="),
    (decimal.Decimal("1.10"), "1.10"), (UNIT, str(UNIT)), (datetime.date(2024, 2, 29), "2024-02-29"),
    (datetime.timedelta(seconds=1.5), 1.5), (datetime.datetime(2024, 2, 29, 1), "2024-02-29T01:00:00"),
])
def test_what_handlers_return(value, there):
    assert json.loads(encode_result("1", value, 10_000)) == {"status": "ok", "id": "1", "result": there}


@pytest.mark.parametrize("value, why", [
    (object(), "object has no form in JSON"), (lambda: 1, "function"), (float("nan"), "not JSON compliant"),
    ({(1, 2): 3}, "keys must be"), ("x" * 1000, "has 1037 bytes"), (Point, "type has no form"),
])
def test_a_result_that_cannot_be_sent_is_an_error(value, why):
    message = json.loads(encode_result("1", value, 900))
    assert (message["status"], message["id"]) == ("error", "1")
    assert "the task succeeded, but its result" in message["evalue"]
    assert why in message["evalue"]


def test_a_result_that_contains_itself():
    endless = []
    endless.append(endless)
    assert json.loads(encode_result("1", endless, 900))["status"] == "error"


def test_a_result_whose_reading_raises():
    class Number:
        def __index__(self):
            raise RuntimeError("not today")

    assert "not today" in json.loads(encode_result("1", Number(), 900))["evalue"]


def test_long_texts_of_errors_are_cut():
    line = encode_error("1", "E", "x" * 10 ** 6, "y" * 10 ** 6)
    assert len(line) < 30_000


@pytest.mark.parametrize("text, value", [
    ("3", 3), ("2.5", 2.5), ("true", True), ("null", None), ("[1, 2]", [1, 2]), ('{"a": 1}', {"a": 1}), ('"3"', "3"), ("abc", "abc"),
    ("", ""), ("NaN", "NaN"), ("a b", "a b"), ("[1,", "[1,"),
])
def test_values_of_the_command_line(text, value):
    assert value_of(text) == value
