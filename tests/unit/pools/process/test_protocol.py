"""What the parent makes of what a pool process says."""
import marshal
import os

import pytest

from atasker_like import RemoteError
from atasker_like.pools.process import child
from atasker_like.pools.process.child import ERROR
from atasker_like.pools.process.protocol import decode
from tests.support.internals.process_pool import make_server


def said(kind, pickled=None):
    """The error of a message that names a class."""
    number, what, seconds, error = decode(7, ERROR, 0.5,
                                          marshal.dumps((kind, "too bad", "Traceback: there",
                                                         pickled, "it says so")))
    assert (number, what, seconds) == (7, ERROR, 0.5)
    assert "Traceback: there" in str(error.__cause__)
    return error


def test_an_error_that_was_not_pickled_for_lack_of_memory_is_one_of_memory():
    """The pool looks for it: the process is not used again."""
    error = said("builtins.MemoryError")
    assert type(error) is MemoryError and str(error) == "too bad"


@pytest.mark.parametrize("pickled", [None, b"no pickle", b"N."])
def test_an_error_that_cannot_be_rebuilt_is_described(pickled):
    error = said("somewhere.Odd", pickled)
    assert type(error) is RemoteError and (error.type_name, error.message) == ("somewhere.Odd",
                                                                               "too bad")
    assert ("it says so" in str(error) if pickled is None
            else "it says so" not in str(error) and error.reason)


def test_bytes_that_are_no_frame_end_a_process_with_an_error():
    # They were taken for the end of the task pipe: marshal raises EOFError, too.
    reader, writer = os.pipe()
    try:
        os.write(writer, bytes(child.FRAME.size))
        with pytest.raises(EOFError, match="marshal|EOF read"):
            make_server(reader, -1, -1, -1, "prefix").serve()
    finally:
        os.close(reader)
        os.close(writer)


def test_a_process_ends_at_the_end_of_its_task_pipe():
    reader, writer = os.pipe()
    os.write(writer, bytes(child.FRAME.size - 1))
    os.close(writer)
    try:
        assert make_server(reader, -1, -1, -1, "prefix").serve() is None
    finally:
        os.close(reader)
