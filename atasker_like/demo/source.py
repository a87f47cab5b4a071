"""Finding, reading and parsing Python source files: the work of the demo, as plain functions.

The functions are decorated where they are submitted, in :mod:`.run`, so that a pool process imports
only this file.
"""
from __future__ import annotations

import os
import stat
from collections import Counter

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from typing import Callable, Collection, Iterator


#: The fields of syntax tree nodes that hold statements. A definition is a statement, so that
#: expressions, the larger part of a tree, need not be walked.
_STATEMENTS = ("body", "orelse", "finalbody", "handlers", "cases")


def find_sources(root: str, skipped: Collection[str] = (),
                 on_error: Callable[[OSError], None] | None = None) -> list[str]:
    """Return the sorted paths of the ``*.py`` files below a folder.

    Symbolic links to folders are not followed.

    :param skipped: names of folders to leave out.
    :param on_error: called with the error of each folder that cannot be listed.
    """
    found = []
    for folder, folders, names in os.walk(root, onerror=on_error):
        folders[:] = [name for name in folders if name not in skipped]
        found += [os.path.join(folder, name) for name in names if name.endswith(".py")]
    return sorted(found)


def read_source(path: str) -> tuple[bytes, int]:
    """Return the bytes of a file and the number of its lines. Runs in a pool thread.

    :raises OSError: the file cannot be read, or is a pipe, a socket or a device.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("it is not a regular file")
    with open(path, "rb") as file:
        data = file.read()
    return data, len(data.splitlines())


def count_definitions(data: bytes) -> tuple[int, int]:
    """Return how many functions and how many classes a source text defines. Runs in a pool process.

    :raises SyntaxError: it does not parse. (Some Pythons raise ValueError for null bytes, and
        RecursionError or MemoryError for expressions nested too deeply.)
    """
    import ast

    kinds = Counter(map(type, _statements(_parse(data))))
    return kinds[ast.FunctionDef] + kinds[ast.AsyncFunctionDef], kinds[ast.ClassDef]


def count_names(path: str) -> int:
    """Return how many different names, keywords among them, a file uses. Runs in a pool process."""
    import re

    return len(set(re.findall(rb"[^\W\d]\w*", read_source(path)[0])))


def longest_function(path: str) -> tuple[str, int, int] | None:
    """Return the name, the line and the number of lines of a file's longest function.

    Return None if it has no function. Runs in a pool process.
    """
    import ast

    functions = ((node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1)
                 for node in _statements(_parse(read_source(path)[0]))
                 if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return max(functions, key=lambda function: function[2], default=None)


def _parse(data: bytes) -> ast.Module:
    import ast
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")     # the warnings of the compiler are about these files
        return ast.parse(data)


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the tree and every statement in it, without recursion: nesting may be deep."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for field in _STATEMENTS:
            waiting += getattr(node, field, ())
