"""The pages of the documentation: a tree without orphans, all public names, valid references."""
import importlib
import importlib.util
import pathlib
import re

import pytest

import atasker_like
from atasker_like import service
from tests.support import ROOT

DOCS = pathlib.Path(ROOT) / "docs"
PAGES = {page.relative_to(DOCS).with_suffix("").as_posix(): page.read_text(encoding="utf-8")
         for page in sorted(DOCS.rglob("*.rst")) if page.parent.name != "changes"}

#: Pages for users, which link to the reference.
GUIDES = {name: text for name, text in PAGES.items()
          if not name.startswith(("reference/", "development/", "changelog", "contributing"))}

_ENTRY = re.compile(r"^\.\. (?:auto\w+|py:data):: ([\w.]+)", re.MULTILINE)
_ROLE = re.compile(r":(?:class|func|meth|exc|attr|data):`[~!]?([\w.]+)`")


def linked(name):
    """Yield the pages that the table of contents of a page names."""
    folder = name.rpartition("/")[0]
    for block in re.findall(r"^\.\. toctree::\n((?:   .*\n|\n)+)", PAGES[name] + "\n",
                            re.MULTILINE):
        for line in block.splitlines():
            entry = line.strip()
            if entry and not entry.startswith(":"):
                yield f"{folder}/{entry}".lstrip("/")


def test_every_page_is_in_the_table_of_contents():
    found, queue = {"index"}, ["index"]
    while queue:
        for page in linked(queue.pop()):
            assert page in PAGES
            if page not in found:
                found.add(page)
                queue.append(page)
    assert set(PAGES) == found


@pytest.mark.parametrize("name", [name for name in GUIDES if name != "index"])
def test_a_page_begins_with_a_title_and_a_paragraph(name):
    title, line, empty, first = GUIDES[name].split("\n", 3)
    assert set(line) == {"="} and len(line) >= len(title) and empty == ""
    assert re.match(r"[A-Z`:>]", first), first[:60]
    assert not first.startswith((">>>", ".. "))


def documented():
    return {entry for name, text in PAGES.items() if name.startswith("reference/")
            for entry in _ENTRY.findall(text)}


def test_the_reference_has_every_public_name_by_its_public_path():
    found = documented()
    names = {name.rpartition("atasker_like.")[2] for name in found}
    assert set(atasker_like.__all__) - names == set()
    assert set(service.__all__) - names == set()


@pytest.mark.parametrize("name", sorted(GUIDES))
def test_references_of_a_page_resolve(name):
    missing = []
    for target in _ROLE.findall(GUIDES[name]):
        path = target.split(".")
        if not exists(["atasker_like", *path]) and not exists(path):
            missing.append(target)
    assert not missing


def exists(path):
    """Return True if a dotted path leads to an object."""
    for length in range(len(path), 0, -1):
        try:
            found = importlib.import_module(".".join(path[:length]))
        except ImportError:
            continue
        for part in path[length:]:
            if not hasattr(found, part):
                return part in getattr(found, "__annotations__", ())
            found = getattr(found, part)
        return True
    return hasattr(__import__("builtins"), path[0])


def test_the_pictures_are_those_that_the_script_draws():
    path = DOCS / "pictures" / "make.py"
    spec = importlib.util.spec_from_file_location("make_pictures", str(path))
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for draw in script.PICTURES:
        picture = draw()
        file = path.with_name(picture.name + ".svg")
        assert file.read_text(encoding="utf-8") == str(picture), "run docs/pictures/make.py"


def test_provisional_names_are_public():
    names = re.findall(r"^- ``(\w+)``$", PAGES["reference/status"], re.MULTILINE)
    assert names == sorted(names) and len(names) > 5
    assert set(names) <= set(atasker_like.__all__)
