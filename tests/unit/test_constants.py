import pytest

import atasker_like


@pytest.mark.parametrize("name, number", [
    ("TASK_CRITICAL", 0), ("TASK_HIGH", 50), ("TASK_NORMAL", 100), ("TASK_LOW", 200),
    ("TT_COROUTINE", 0), ("TT_THREAD", 1), ("TT_MP", 2),
    ("TASK_STATUS_QUEUED", 0), ("TASK_STATUS_DELAYED", 2), ("TASK_STATUS_STARTED", 100),
    ("TASK_STATUS_COMPLETED", 200), ("TASK_STATUS_CANCELED", -1),
])
def test_the_numbers_that_applications_have_stored(name, number):
    assert getattr(atasker_like, name) == number
    assert isinstance(getattr(atasker_like, name), int)
