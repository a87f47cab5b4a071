"""The language of the pages, the README and the public docstrings.

A sentence has at most 25 words, struck phrases do not occur, and headings are tasks or nouns.
"""
import inspect
import pathlib
import re

import pytest

import atasker_like
from atasker_like import service
from tests.support import ROOT

TOP = pathlib.Path(ROOT)
DOCS = TOP / "docs"
PAGES = {page.relative_to(TOP).as_posix(): page
         for page in [TOP / "README.rst", TOP / "CONTRIBUTING.rst", TOP / "CHANGELOG.rst",
                      *sorted(DOCS.rglob("*.rst"))]
         if page.name not in ("changelog.rst", "contributing.rst")}

#: Words that a sentence may have; a literal counts as one word.
MOST_WORDS = 25

#: Phrases with which a sentence hides its actor or its default, each with a better one.
STRUCK = {
    r"whoever": "name the actor",
    r"(?:^|[.:;,] )who(?= )": "name the actor",
    r"unless told": "(default: 30)",
    r"for ever\b": "without a limit",
    r"says? whether": "returns True if",
    r"nobody else": "name what is not affected",
    r"is no (?=[a-z]+ (?:address|field|place|token))": "is not a",
    r"their like": "name them",
    r"and the like": "name them",
    r"what is going on": "name it",
    r"(?:^|[.] )Others ": "name them",
}

_HEADING = re.compile(r"(What|Who|Where|When|Why|How) |.*\b(going on|elsewhere|what)\b")


_CODE = re.compile(
    r"\.\. (code-block|literalinclude|toctree|auto\w+|py:\w+|image|figure|include|raw)")
_ITEM = re.compile(r"(\* - |- |\d+\. )+")


def paragraphs(text):
    """Yield the prose of a page: paragraphs, list items and cells, without code and headings."""
    found, block = [], []
    code = None             # the indent of a directive or a colon pair whose block is code
    example = False
    for line in [*text.splitlines(), ""]:
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        if example or stripped.startswith(">>> "):
            example = bool(stripped)
        elif not stripped:
            pass
        elif code is not None and indent > code:
            continue
        else:
            code = indent if _CODE.match(stripped) or stripped.endswith("::") else None
            item = _ITEM.match(stripped)
            if item or stripped.startswith((".. ", ":")):
                found.append(block)
                block = []
            if item:
                stripped = stripped[item.end():]
            if set(stripped) <= set("=-~ "):        # the line below a heading, or of a table
                block = []
            elif not re.match(r"\.\. |:[\w-]+:( |$)", stripped):
                block.append(stripped)
            continue
        found.append(block)
        block = []
    return [" ".join(block) for block in found if block]


def sentences(paragraph):
    """Return the sentences of a paragraph, with a word for each literal and role."""
    text = re.sub(r":\w+:`[^`]+`|``.+?``|`[^`]+`_*", "Literal", paragraph).replace("*", "")
    return re.split(r"(?<=[.!?:;])\s+(?=[A-Z])|(?<=:):$", text)


def long_sentences(text):
    return [sentence for paragraph in paragraphs(text) for sentence in sentences(paragraph)
            if len(sentence.split()) > MOST_WORDS]


def struck_phrases(text):
    prose = " ".join(paragraphs(text))
    return [match.group() for phrase in STRUCK for match in re.finditer(phrase, prose, re.I)]


@pytest.mark.parametrize("name", PAGES)
def test_sentences_have_at_most_25_words(name):
    found = long_sentences(PAGES[name].read_text(encoding="utf-8"))
    assert found == []


@pytest.mark.parametrize("name", PAGES)
def test_struck_phrases_do_not_occur(name):
    found = struck_phrases(PAGES[name].read_text(encoding="utf-8"))
    assert found == []


@pytest.mark.parametrize("name", [name for name in PAGES
                                  if not re.match(r"docs/changes/.*\..*\.", name)])
def test_headings_are_tasks_or_nouns(name):
    lines = PAGES[name].read_text(encoding="utf-8").splitlines()
    headings = [line for line, below in zip(lines, lines[1:])
                if re.fullmatch(r"([=~-])\1{3,}", below) and not line.startswith(" ")]
    assert headings
    assert [heading for heading in headings if _HEADING.match(heading)] == []


def docstrings():
    """Yield the path and the docstring of each public name and of its public members."""
    for module in (atasker_like, service):
        for name in module.__all__:
            thing = getattr(module, name)
            path = f"{module.__name__}.{name}"
            if not isinstance(thing, type) and not callable(thing):
                continue
            yield path, inspect.getdoc(thing) or ""
            for member, value in vars(thing).items() if isinstance(thing, type) else ():
                if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                    yield f"{path}.{member}", inspect.getdoc(value) or ""


def prose_of(docstring):
    """Return a docstring with a paragraph for each field."""
    return re.sub(r"^:(\w+)( [^:]+)?: ", "\n", docstring, flags=re.MULTILINE)


def test_docstrings_have_short_sentences_and_no_struck_phrases():
    found = {path for path, text in docstrings()
             if long_sentences(prose_of(text)) or struck_phrases(prose_of(text))}
    assert found == set()


@pytest.mark.parametrize("text, number", [
    ("word " * 25 + "word.", 1),
    ("word " * 24 + "word.", 0),
    ("word " * 20 + "word. " + "Word " * 20 + "word.", 0),
    ("``a literal of many words`` " * 25, 0),
    ("::\n\n    " + "code " * 30, 0),
    (">>> " + "code " * 30, 0),
    ("- " + "word " * 20 + "\n- " + "word " * 20, 0),
])
def test_sentences_are_counted_without_code(text, number):
    assert len(long_sentences(text)) == number
