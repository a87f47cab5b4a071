"""The outcome of the demo, as text for a person and as JSON."""
from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap

from .measure import PROCESSES, THREADS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence


_LABEL = 13         # columns of the label before a value
_WIDEST = 100       # lines get no longer than this on any terminal
_CHART = 48         # columns of a chart at most
_NAMED = 20         # how many files that do not parse are named
_REASON = 30        # columns of the reason beside the name; with fewer it gets its own line

_JOINT = "\x1f"     # a blank at which no line is broken
_BLOCKS = " ▁▂▃▄▅▆▇█"
_PLAIN = " .:-=+*#@"


def print_json(data: dict[str, Any]) -> None:
    """Print one JSON object, in ASCII whatever the encoding of stdout is."""
    # Floats are cut to microseconds: there is no more in them.
    rounded = json.loads(json.dumps(data), parse_float=lambda text: round(float(text), 6))
    print(json.dumps(rounded, indent=2))


def print_text(data: dict[str, Any], title: str) -> None:
    """Print the outcome as text, as wide as the terminal, in characters that stdout can show."""
    if sys.stdout is None:      # closed
        return
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"

    def shown(text: str) -> str:
        return text.encode(encoding, "backslashreplace").decode(encoding)

    terminal = sys.stdout.isatty()
    columns = shutil.get_terminal_size().columns - 1 if terminal else 80
    ramp = _BLOCKS if shown(_BLOCKS) == _BLOCKS else _PLAIN
    layout = _Text(max(30, min(_WIDEST, columns)), terminal, ramp, data["path"])
    # Names of files may hold anything.
    print(shown("\n".join(layout.lines(data, title))))


class _Text:
    """Lays the outcome out in lines of a width."""

    def __init__(self, width: int, cut: bool, ramp: str, root: str) -> None:
        self.width = width
        self.cut = cut          # a line of a list may be cut to fit
        self.ramp = ramp
        self.root = root

    def lines(self, data: dict[str, Any], title: str) -> list[str]:
        """Return all lines."""
        definitions, largest, unparsable = data["definitions"], data["largest"], data["unparsable"]
        files = f"{data['files']:,}"
        if unparsable:
            some = f", {len(unparsable):,} of them" if data["files"] > 1 else ","
            files += f"{some} not parsed"
        return [
            *self._list("Folders not listed:", data["unlisted"]),
            *self._list("Not parsed:", unparsable),
            *textwrap.wrap(f"{_printable(title)}, indexed in {data['seconds']:,.1f} s", self.width),
            "",
            *self._row("files", files),
            *self._row("lines", f"{data['lines']:,}"),
            *self._row("definitions", f"{_many(definitions['functions'], 'function')}, "
                                      f"{_many(definitions['classes'], 'class', 'classes')}"),
            *self._row("largest", f"{self._short(largest['path'])}, "
                                  f"{_many(largest['lines'], 'line')}"),
            "",
            *self._row("tasks", ", ".join(f"{count:,} {state}"
                                          for state, count in data["tasks"].items())),
            *self._waiting(data["waiting"]),
            *self._row("overtaking", self._overtaking(data["overtaking"])),
            *self._row("delay", self._delay(data["delay"])),
            *self._row("coroutine", self._coroutine(data["coroutine"])),
            "",
            *self._charts(data["pool_use"], data["seconds"]),
        ]

    def _row(self, label: str, value: str) -> list[str]:
        lines = textwrap.wrap(value, self.width, initial_indent=label.ljust(_LABEL),
                              subsequent_indent=" " * _LABEL, break_on_hyphens=False)
        return [line.replace(_JOINT, " ") for line in lines]

    def _short(self, path: str) -> str:
        """Return a path relative to the root."""
        return _printable(os.path.basename(path) if path == self.root
                          else os.path.relpath(path, self.root))

    def _list(self, heading: str, entries: Sequence[dict[str, str]]) -> list[str]:
        """Paths, each with an error."""
        if not entries:
            return []
        lines = [heading]
        for entry in entries[:_NAMED]:
            name, error = f"  {self._short(entry['path'])}: ", entry["error"]
            if self.cut and self.width - len(name) < _REASON:
                lines.append(self._fitting(name.rstrip()))
                name = "    "
            lines.append(self._fitting(name + error))
        if len(entries) > _NAMED:
            lines.append(f"  and {len(entries) - _NAMED:,} more; --json names them all")
        return lines + [""]

    def _fitting(self, line: str) -> str:
        return f"{line[:self.width - 3]}..." if self.cut and len(line) > self.width else line

    def _waiting(self, waiting: dict[str, Any]) -> list[str]:
        lines: list[str] = []
        for pool in (THREADS, PROCESSES):
            spread = waiting[pool]
            if spread["p50"] is not None:
                lines += self._row("" if lines else "waiting", f"p50 {_time(spread['p50'])}, p99 "
                                                               f"{_time(spread['p99'])} for {pool}")
        return lines

    def _overtaking(self, overtaking: dict[str, Any]) -> str:
        return (f"a HIGH task came behind {overtaking['backlog']:,} LOW ones, overtook "
                f"{overtaking['overtaken']:,} and waited {_time(overtaking['high_wait'])}; they "
                f"waited {_time(overtaking['low_median_wait'])} (median), "
                f"{_time(overtaking['low_last_wait'])} (last)")

    def _delay(self, delay: dict[str, Any]) -> str:
        verb = "was" if delay["files"] == 1 else "were"
        return (f"asked for {_time(delay['asked'])}, started after {_time(delay['actual'])}, "
                f"when {_many(delay['files'], 'file')} {verb} done")

    def _coroutine(self, coroutine: Any) -> str:
        if coroutine is None:
            return "had nothing to ask: no file parsed"
        longest = coroutine["longest"]
        found = ("none" if longest is None
                 else f"{longest['name']}(), {_many(longest['lines'], 'line')}")
        return (f"co_mp_apply found the longest function of {self._short(coroutine['path'])} "
                f"({_many(coroutine['definitions'], 'definition')}) in "
                f"{_time(coroutine['seconds'])}: {found}")

    def _charts(self, use: dict[str, Any], seconds: float) -> list[str]:
        means = {pool: f"{use[pool]['mean']:.1f} of {use[pool]['slots']}"
                 for pool in (THREADS, PROCESSES)}
        width = max(4, min(_CHART, self.width - _LABEL - 3 - max(map(len, means.values()))))
        charts = {pool: self._chart(use[pool]["used"], use[pool]["slots"], width) for pool in means}
        lines = [f"{pool.ljust(_LABEL)}|{charts[pool]}| {means[pool]}" for pool in means]
        end = f"{seconds:,.1f} s"
        return [*lines, f"{'slots used'.ljust(_LABEL)} 0 s{end.rjust(width - 3)}"]

    def _chart(self, used: Sequence[float], slots: int, width: int) -> str:
        """Return one character for each period, the higher the more slots were in use.

        It is blank only if none was.
        """
        full = len(self.ramp) - 1
        marks = []
        for column in range(width):
            first, last = column * len(used) / width, (column + 1) * len(used) / width
            total = sum(used[entry] * (min(last, entry + 1) - max(first, entry))
                        for entry in range(int(first), min(len(used), int(last) + 1)))
            share = total / (last - first) / slots if slots else 0.0
            height = min(full, max(1, round(share * full))) if share > 0 else 0
            marks.append(self.ramp[height])
        return "".join(marks)


def _printable(name: str) -> str:
    """Return a name without characters that control a terminal."""
    return "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in name)


def _many(count: int, one: str, more: Any = None) -> str:
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def _time(seconds: Any) -> str:
    """Return a duration with three significant digits."""
    if seconds is None:
        return "?"
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g}{_JOINT}ms" if seconds >= 1e-5 else f"0{_JOINT}ms"
    return f"{seconds:,.{2 if seconds < 9.995 else 1}f}{_JOINT}s"
