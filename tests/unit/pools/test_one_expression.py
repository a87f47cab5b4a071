"""Submissions that are carried out and returned in one line.

Python 3.8 ends a return of two lines with the first line, once more. An interrupt there comes after
the task may run, and the caller takes the task for one that was refused.
"""
import ast

from ...support.sources import sources


def _one_expressions(tree):
    """Yield the returns of ``value if call() is None else value``."""
    for node in ast.walk(tree):
        if (isinstance(node, ast.Return) and isinstance(node.value, ast.IfExp)
                and ast.dump(node.value.body) == ast.dump(node.value.orelse)):
            yield node


def test_submission_that_is_returned_is_written_in_one_line():
    found = [(path, node) for path, _, tree in sources() for node in _one_expressions(tree)]
    assert len(found) > 5
    assert [(path, node.lineno) for path, node in found if node.lineno != node.end_lineno] == []
