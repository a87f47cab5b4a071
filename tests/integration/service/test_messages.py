"""Lines: they can be read again, and incoming ones are limited before they are parsed."""
import datetime
import decimal
import enum
import json
import math
import sys
import uuid
from dataclasses import dataclass

import pytest

from atasker_like import TaskRefusedError
from atasker_like.service.codecs.schema import codec_for
from atasker_like.service.wire import (MAX_DEPTH, MAX_DIGITS, check_request, decode, encode,
                                       encode_error, encode_refusal, encode_request, encode_result,
                                       encode_within, value_of)


def test_a_message_is_one_line_of_ascii():
    line = encode({"text": "a\nb\u2028\u0085é"})
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert line.isascii()
    assert decode(line) == {"text": "a\nb\u2028\u0085é"}


@pytest.mark.parametrize("line", [
    b"", b"garbage", b"[]", b"3", b"null", b'"a"', b"{", b'{"a": NaN}', b'{"a": Infinity}',
    b"{'a': 1}", b"\xff\xfe", b"{}{}",
    b"GET / HTTP/1.1\r", b'{"a": 01}', b"\x80\x04\x95", b"{}" + b"\x00",
])
def test_what_is_no_json_object(line):
    with pytest.raises(ValueError):
        decode(line)


@pytest.mark.parametrize("text",
                         ['["\x9b31m\u2028FAKE\x85line"]', '[\r"disk gone"]', '["\u202e"]\r',
                          '"' + "\x85" * 100 + '"'])
def test_invalid_message_is_shown_with_escapes(text):
    with pytest.raises(ValueError, match="a JSON object is expected, not") as raised:
        decode(text.encode())
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("opening, closing", [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_depth_is_bounded_before_the_parser_descends(opening, closing):
    levels = opening.count(b"[") + opening.count(b"{")

    def nested(depth):
        return b'{"x":' + opening * (depth // levels) + b"1" + closing * (depth // levels) + b"}"

    assert decode(nested(MAX_DEPTH - 2))
    with pytest.raises(ValueError, match="levels"):
        decode(nested(MAX_DEPTH + 2))
    limit = sys.getrecursionlimit()
    # as an application may have done: then the parser itself would not stop
    sys.setrecursionlimit(10 ** 6)
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


@pytest.mark.parametrize("value", [None, True, 0, -7, 1 << 70, 0.5, 1e300, "",
                                   "\u2028\"\n\x00\ud800", [], {}, [1, [2.5, {"a": None}]],
                                   {"": [], "é": {"b": (1, 2)}}, {7: 2, None: 3, True: 4, 1.5: 5}])
def test_what_is_sent_is_what_the_json_module_makes_of_it(value):
    expected = json.dumps({"id": "x\n", "result": value}, separators=(",", ":")).encode() + b"\n"
    assert encode({"id": "x\n", "result": value}) == expected
    assert encode_result("x\n", value, 1 << 20) == expected.replace(b'{"id"',
                                                                    b'{"status":"ok","id"', 1)


def test_value_that_contains_itself_is_refused_at_any_recursion_limit():
    value = [1]
    value.append({"again": value})
    with pytest.raises(ValueError, match="[Cc]ircular"):
        encode({"value": value})
    assert encode({"value": [value[0]]}) == b'{"value":[1]}\n'


@pytest.mark.parametrize("wide",
                         [[], [[]] * 10_000, [{"a": [{}]}] * 3000,
                          ["[[", "]", '"', "\\", '\\"', "}{"] * 1000, [[1], "["] * 999])
@pytest.mark.parametrize("first", [False, True])
def test_depth_is_counted_beside_what_is_wide(wide, first):
    """Levels are taken off from within as long as many go at once."""
    def message(depth):
        deep = b"[" * (depth - 1) + b"]" * (depth - 1)
        line = encode({"a": wide, "b": 0})[:-1]
        if first:
            return line.replace(b"{", b'{"x":%s,' % deep, 1)
        return line.replace(b'"b":0', b'"b":%s' % deep)

    assert decode(message(MAX_DEPTH))["a"] == wide
    with pytest.raises(ValueError, match="levels"):
        decode(message(MAX_DEPTH + 1))


@pytest.mark.parametrize("closing",
                         [b"", b"]" * 20, b"}" * 100, b'"' + b"]" * 100, b"[]" * 1000,
                          b"[]" * 1000 + b"]" * 100])
def test_what_is_too_deep_is_refused_before_what_is_wrong_behind_it(closing):
    with pytest.raises(ValueError, match="levels"):
        decode(b'{"x":' + b"[" * 100 + closing + b" " * 200)


def test_brackets_in_strings_are_no_levels():
    text = '[{"\\' * 1000
    message = {"a": text, "b": "\\", "c": '"', "d": "[" * 999}
    assert decode(encode(message)) == message
    wide = {"a": [[]] * 10_000}
    assert decode(encode(wide)) == wide


def test_integers_are_bounded():
    assert decode(b'{"a": %s}' % (b"9" * 4000))["a"] == int("9" * 4000)
    with pytest.raises(ValueError, match="an integer of 10000000 digits"):
        # it would be an hour where Python has no limit of its own
        decode(b'{"a": %s}' % (b"9" * 10_000_000))


def test_the_sign_of_an_integer_is_no_digit():
    for number in (10 ** MAX_DIGITS - 1, -10 ** (MAX_DIGITS - 1)):
        assert decode(encode_result("1", number, 1 << 20))["result"] == number
    for sign in (b"", b"-"):
        with pytest.raises(ValueError, match=f"an integer of {MAX_DIGITS + 1} digits"):
            decode(b'{"a": %s%s}' % (sign, b"9" * (MAX_DIGITS + 1)))


@pytest.fixture
def any_digits():
    """Python has no limit for the digits of integers, as in old versions or by a setting."""
    if not hasattr(sys, "set_int_max_str_digits"):
        yield
        return
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(before)


def nested(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


def request(payload):
    return encode_request("1", None, "Give", payload, {}, True)


def result(value):
    line = encode_result("1", value, 1 << 20)
    if b'"error"' in line:
        raise ValueError(line)
    return line


@pytest.mark.parametrize("write", [request, result])
@pytest.mark.parametrize("make, most", [(nested, MAX_DEPTH - 1),
                                        (lambda levels: {"a": nested(levels - 1)}, MAX_DEPTH - 1),
                                        (lambda digits: 10 ** digits - 1, MAX_DIGITS),
                                        (lambda digits: [1, {"a": 1 - 10 ** digits}], MAX_DIGITS)])
def test_what_the_other_end_would_not_read_is_not_written(write, make, most, any_digits):
    assert make(most) in decode(write(make(most))).values()
    with pytest.raises(ValueError, match="levels" if most < MAX_DEPTH else "digits"):
        write(make(most + 1))
    assert decode(write("9" * (most + 1))) and decode(write("[" * (most + 1)))


@pytest.mark.parametrize("name, target, metadata", [
    ("x" * 201, None, {}), ("A", "x" * 201, {}), ("A", None, {"priority": 1 << 40}),
    ("A", None, {"priority": -1 << 40}),
    ("A", None, {"priority": True}), ("A", None, {"priority": "high"}),
    ("A", None, {"priority": 1.5}), (3, None, {}), ("A", 3, {}),
])
def test_what_would_be_no_request_is_not_written(name, target, metadata):
    with pytest.raises((TypeError, ValueError)):
        encode_request("1", target, name, {}, metadata, False)


def test_a_request_at_the_bounds():
    line = encode_request("1", "x" * 200, "y" * 200, {}, {"priority": -(1 << 31)}, False)
    assert check_request(decode(line)) == "1"


@pytest.mark.parametrize("message, why", [
    ({}, "id"), ({"id": 3, "type": "A"}, "id"), ({"id": "", "type": "A"}, "id"),
    ({"id": "x" * 201, "type": "A"}, "id"),
    ({"id": "1"}, "type"), ({"id": "1", "type": None}, "type"),
    ({"id": "1", "type": "x" * 201}, "type"),
    ({"id": "1", "type": "A", "target": 1}, "target"),
    ({"id": "1", "type": "A", "metadata": []}, "metadata"),
    ({"id": "1", "type": "A", "metadata": {"priority": "high"}}, "priority"),
    ({"id": "1", "type": "A", "metadata": {"priority": 1 << 40}}, "priority"),
    ({"id": "1", "type": "A", "metadata": {"priority": True}}, "priority"),
])
def test_what_is_no_request(message, why):
    with pytest.raises(TaskRefusedError, match=why):
        check_request(message)


def test_valid_request_gives_its_id():
    assert check_request({"id": "7", "type": "Add", "target": None, "metadata": {"priority": -1},
                          "payload": 3}) == "7"


class Colour(enum.Enum):
    RED = "red"


class Shape(enum.Enum):
    SQUARE = (1, 1)
    WIDE = (2, 1)
    NONE = None


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Point:
    x: int
    y: float


UNIT = uuid.UUID(int=7)


@pytest.mark.parametrize("value, there", [
    (None, None), ([1, "a", {"b": 2.5}], [1, "a", {"b": 2.5}]), ((1, 2), [1, 2]), ({3}, [3]),
    (Point(1, 2.0), {"x": 1, "y": 2.0}),
    ([Point(1, 2.0)], [{"x": 1, "y": 2.0}]), (Colour.RED, "red"), (b"\xff", "/w=="),
    (bytearray(b"\xff"), "/w=="),
    (decimal.Decimal("1.10"), "1.10"), (UNIT, str(UNIT)),
    (datetime.date(2024, 2, 29), "2024-02-29"),
    (datetime.timedelta(seconds=1.5), 1.5), (Shape.WIDE, "WIDE"),
    ({"a": [Shape.WIDE, Mode.READ | Mode.WRITE]}, {"a": ["WIDE", 3]}),
    (math.nan, "NaN"), ([1.5, {"NaN": (math.inf, "NaN")}, Point(1, -math.inf), {math.nan},
                         Shape.WIDE],
                        [1.5, {"NaN": ["Infinity", "NaN"]}, {"x": 1, "y": "-Infinity"}, ["NaN"],
                         "WIDE"]),
    (datetime.datetime(2024, 2, 29, 1), "2024-02-29T01:00:00"),
])
def test_what_handlers_return(value, there):
    assert json.loads(encode_result("1", value, 10_000)) == {"status": "ok", "id": "1",
                                                             "result": there}


@pytest.mark.parametrize("value, why", [
    (object(), "object has no form in JSON"), (lambda: 1, "function"),
    ({(1, 2): 3}, "keys must be"), ("x" * 1000, "has 1037 bytes"), (Point, "type has no form"),
])
def test_a_result_that_cannot_be_sent_is_an_error(value, why):
    message = json.loads(encode_result("1", value, 900))
    assert (message["status"], message["id"]) == ("error", "1")
    assert "the task succeeded, but its result" in message["evalue"]
    assert why in message["evalue"]


@pytest.mark.parametrize("value", [Colour.RED, Shape.WIDE, Mode.WRITE, math.nan, -math.inf, 2.5,
                                   UNIT, b"a",
                                   datetime.date(2024, 2, 29)])
def test_a_result_stands_as_a_field_does(value):
    result = json.loads(encode_result("1", [value], 10_000))["result"]
    assert result == [codec_for(type(value)).encode(value)]


@pytest.mark.parametrize("beside, why", [
    (nested(MAX_DEPTH + 1), "levels"), (nested(100_000), "too deep"),
    (datetime.timedelta(days=200000, microseconds=1), "exact in seconds"),
    (object(), "object has no form"),
])
def test_other_error_of_a_result_with_nan_is_reported(beside, why):
    message = json.loads(encode_result("1", [math.nan, beside], 10_000))
    assert message["ename"] in ("ValueError", "TypeError") and why in message["evalue"]


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


@pytest.mark.parametrize("most", [256, 1000, 3000, 50_000])
@pytest.mark.parametrize("text",
                         ["x" * 20_000, "\u00e9" * 3000, "\U0001f600\n\"" * 500, "\ud83d", "short"])
def test_errors_and_refusals_fit_into_a_message(most, text):
    id = "7" * 20
    traceback = f"{text}the end"
    line = encode_error(id, "E", text, traceback, most)
    message = decode(line)
    assert len(line) <= most and message["ename"] == "E"
    assert message["evalue"][:3] == text[:3]
    assert message["traceback"] in ("", traceback) or message["traceback"].endswith("the end")
    assert len(encode_error(id, text, text, text, most)) <= most
    assert len(encode_result(id, text * 3, most)) <= most
    line = encode_refusal(id, "busy", text, most)
    assert len(line) <= most and decode(line)["message"][:3] == text[:3]


def test_texts_are_cut_no_more_than_they_must():
    message = {"a": "\u00e9" * 100, "traceback": "\u00e8" * 100}
    assert decode(encode_within(dict(message), 2000, "traceback", "a")) == message
    line = encode_within(dict(message), 800, "traceback", "a")
    assert 800 - 6 < len(line) <= 800
    assert decode(line)["a"] == message["a"] and set(decode(line)["traceback"][3:]) == {"\u00e8"}
    line = encode_within(dict(message), 400, "traceback", "a")
    assert 400 - 6 < len(line) <= 400
    assert decode(line)["traceback"] == "" and decode(line)["a"].startswith("\u00e9")


@pytest.mark.parametrize("text, value", [
    ("3", 3), ("2.5", 2.5), ("true", True), ("null", None), ("[1, 2]", [1, 2]),
    ('{"a": 1}', {"a": 1}), ('"3"', "3"), ("abc", "abc"),
    ("", ""), ("NaN", "NaN"), ("a b", "a b"), ("[1,", "[1,"),
])
def test_values_of_the_command_line(text, value):
    assert value_of(text) == value
