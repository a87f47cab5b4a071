"""The pages for contributors name only files and names that exist."""
import ast
import pathlib
import re
from functools import lru_cache

import pytest

import atasker_like
from tests.support.sources import tree_of

PACKAGE = pathlib.Path(atasker_like.__file__).parent
ROOT = pathlib.Path(atasker_like.__file__).resolve().parents[1]
PAGES = [*sorted((ROOT / "docs" / "development").glob("*.rst")),
         ROOT / "docs" / "explanation" / "glossary.rst", ROOT / "CONTRIBUTING.rst"]

_LITERAL = re.compile(r"``([^`]+)``")
_PATH = re.compile(r"[\w.-]*(/[\w.-]+)*/?")
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+|_\w+|[A-Z][a-z]+[A-Z]\w*|[A-Z]+_[A-Z_]+")

#: Names of Python and of the standard library, and of examples.
FOREIGN = {"KeyboardInterrupt", "_CHUNK"}


def literals(page):
    return {" ".join(text.split()) for text in _LITERAL.findall(page.read_text(encoding="utf-8"))}


@lru_cache(maxsize=None)
def defined_names():
    """Return every name that the package and the tools of its tests define or use."""
    found = set()
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "tests" / "support").rglob("*.py")]
    for path in files:
        for node in ast.walk(tree_of(path)):
            found.update(value for _, value in ast.iter_fields(node) if isinstance(value, str))
    return found


@lru_cache(maxsize=None)
def members_of_classes():
    """Return the members of each class of the package by its name, inherited ones included."""
    own, bases = {}, {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.ClassDef):
                continue
            members = own.setdefault(node.name, set())
            bases.setdefault(node.name, []).extend(
                base.id for base in node.bases if isinstance(base, ast.Name))
            for inner in ast.walk(node):
                if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    members.add(inner.name)
                elif isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
                    members.add(inner.attr)
                elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                    members.add(inner.id)
                elif isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                    members.add(inner.value)        # such as a slot

    def all_of(name):
        return own.get(name, set()).union(*map(all_of, bases.get(name, ())))

    return {name: all_of(name) for name in own}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page):
    paths = {text for text in literals(page)
             if _PATH.fullmatch(text) and (text.endswith((".py", ".rst", ".ini", ".cfg"))
                                           or text.startswith(("tests/", "docs/", "pools/")))}
    assert not {text for text in paths if not ((ROOT / text).exists() or (PACKAGE / text).exists())}


def test_names_that_a_page_names_exist():
    known = defined_names()
    missing = {}
    for page in PAGES:
        for text in literals(page):
            name = text[:-2] if text.endswith("()") else text
            if (_NAME.fullmatch(name) and name not in FOREIGN
                    and not name.endswith((".py", ".rst", ".ini", ".cfg"))
                    and not name.startswith(("os.", "python"))):
                lost = [part for part in name.split(".") if part not in known]
                if lost:
                    missing.setdefault(page.name, []).append(text)
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_members_that_a_page_names_are_of_their_class(page):
    classes = members_of_classes()
    lost = []
    for text in literals(page):
        kind, dot, member = text.rstrip("()").partition(".")
        if dot and kind in classes and member.isidentifier() and member not in classes[kind]:
            lost.append(text)
    assert not lost
