"""Which functions of process tasks get the id of their task."""
import functools

import pytest

from atasker_like._inspect import wants_task_id


def names_it(a, _task_id=None):
    pass


def names_it_as_keyword(*, _task_id):
    pass


def takes_keywords(**columns):
    pass


def plain(a):
    pass


def passing_on(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper


def not_passing_on(function):
    @functools.wraps(function)
    def wrapper(a):
        return function(a)
    return wrapper


def hiding(function):
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper


class Callable:
    def __call__(self, *args, **kwargs):
        pass

    def method(self, **kwargs):
        pass

    def naming_method(self, _task_id):
        pass


class NamingCallable:
    def __call__(self, _task_id):
        pass


class AnswersToEverything:
    """Has an attribute of every name, as mocks and proxies have."""

    def __getattr__(self, name):
        return self

    def __call__(self, *args, **kwargs):
        pass


@pytest.mark.parametrize("function, always, legacy_background_task", [
    (names_it, True, True),
    (names_it_as_keyword, True, True),
    (Callable().naming_method, True, True),
    (NamingCallable(), True, True),
    (functools.partial(names_it, 1), True, True),
    (functools.lru_cache(maxsize=None)(names_it), True, True),
    (passing_on(names_it), True, True),
    (passing_on(passing_on(names_it)), True, True),
    (takes_keywords, True, False),
    (passing_on(takes_keywords), True, False),
    (hiding(plain), True, False),
    (plain, False, False),
    (passing_on(plain), False, False),
    (not_passing_on(names_it), False, False),
    (not_passing_on(takes_keywords), False, False),
    (functools.partial(takes_keywords, c=1), False, False),
    (functools.partial(names_it, _task_id="own"), False, False),
    (functools.lru_cache(maxsize=None)(takes_keywords), False, False),
    (Callable(), False, False),
    (Callable().method, False, False),
    (AnswersToEverything(), False, False),
    (dict, False, False),
    (print, False, False),
])
def test_function_gets_the_task_id_if_it_names_it_or_is_plain_with_keywords_of_its_own(
        function, always, legacy_background_task):
    assert wants_task_id(function) is always
    assert wants_task_id(function, named_only=True) is legacy_background_task
