"""The examples of the documentation do what they say."""
import doctest
import pathlib

import pytest

from tests.support import ROOT

DOCS = pathlib.Path(ROOT) / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.rst") if ">>> " in page.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(DOCS)) for page in PAGES])
def test_page(page):
    from atasker_like import task_supervisor

    # The names of exceptions are compared, not their modules' paths, which Python versions print
    # alike anyway.
    try:
        outcome = doctest.testfile(str(page), module_relative=False,
                                   optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL)
    finally:
        task_supervisor.stop()
        task_supervisor.start()
    assert outcome.failed == 0
