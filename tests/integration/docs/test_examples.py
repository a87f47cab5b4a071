"""The examples of the documentation do what they say."""
import doctest
import pathlib

import pytest

from tests.support import ROOT

PAGES = sorted((pathlib.Path(ROOT) / "docs").glob("*.rst"))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_page(page):
    from atasker_like import task_supervisor

    # The names of exceptions are compared, not their modules' paths, which Python versions print alike anyway.
    try:
        outcome = doctest.testfile(str(page), module_relative=False,
                                   optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL)
    finally:
        task_supervisor.stop()
        task_supervisor.start()
    assert outcome.failed == 0
