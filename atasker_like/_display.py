"""Texts for people: tables that fit into the terminal."""
from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Sequence


#: The columns to which the first cell of a row is cut, at most and at least.
_WIDEST, _NARROWEST = 40, 8


def show(lines: Iterable[str], stream: Any) -> None:
    """Print lines; None is stdout, which may be None, too."""
    print("\n".join(lines), file=sys.stdout if stream is None else stream)


def columns_of(stream: Any, otherwise: int = 100) -> int:
    """Return the columns of the terminal of a stream; None is stdout.

    :param otherwise: the columns if the stream is no terminal, and the environment has no number.
    """
    import os
    import shutil

    stream = sys.stdout if stream is None else stream
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError, AttributeError):       # a file, a pipe, a StringIO, None
        columns = 0
    return columns or shutil.get_terminal_size((otherwise, 24)).columns


def cut(text: str, width: int) -> str:
    """Return a text in one line of a width."""
    text = " ".join(text.splitlines())
    return text if len(text) <= width else text[:max(0, width - 3)] + "..."[:width]


def duration(seconds: float | None) -> str:
    """Return a time in a unit that suits it: ``1.5 ms``; a dash for None."""
    if seconds is None:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:,.0f} {unit}" if seconds >= 100 * size else (
                f"{seconds / size:.3g} {unit}")
    return f"{seconds * 1e6:.0f} us"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], width: int,
          drop: Sequence[int] = (), left: Sequence[int] = (0,)) -> list[str]:
    """Align columns. The first one is cut if needed.

    :param drop: the columns that may be left out, in this order, if the width is too small.
    :param left: the columns that are aligned to the left.
    """
    lines = [list(head), *([cut(row[0], _WIDEST), *row[1:]] for row in rows)]
    kept = list(range(len(head)))
    widths = [max(len(line[column]) for line in lines) for column in kept]
    unused = list(drop)
    while True:
        too_many = sum(widths[column] for column in kept) + 2 * (len(kept) - 1) - width
        if too_many <= max(0, widths[0] - _NARROWEST) or not unused:
            break
        kept.remove(unused.pop(0))
    widths[0] -= min(max(0, too_many), max(0, widths[0] - _NARROWEST))
    return [cut("  ".join(
        cut(line[column], widths[column]).ljust(widths[column]) if column in left
        else line[column].rjust(widths[column]) for column in kept).rstrip(), width)
        for line in lines]
