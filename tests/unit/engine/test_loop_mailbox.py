"""What brings calls into a loop."""
import asyncio
import threading

import pytest

from atasker_like import QueueFullError
from atasker_like.engine.blocking import block, without_blocking
from atasker_like.engine.loop_mailbox import mailbox_of


def test_a_call_that_raises_does_not_hold_up_later_calls():
    made, told = [], []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda loop,
                                                         context: told.append(context["exception"]))
        mailbox, over = mailbox_of(asyncio.get_running_loop()), asyncio.Event()
        mailbox.post(made.append, 1)
        mailbox.post(int, "none")
        mailbox.post(made.append, 2)
        mailbox.post(lambda _: over.set(), None)
        await over.wait()

    asyncio.run(main())
    assert made == [1, 2]
    assert [type(error) for error in told] == [ValueError]


def test_what_is_posted_while_it_is_held_comes_with_the_drain():
    made = []

    async def main():
        mailbox = mailbox_of(asyncio.get_running_loop())
        mailbox.hold()
        poster = threading.Thread(target=mailbox.post, args=(made.append, 1))
        poster.start()
        poster.join()
        assert made == []
        mailbox.drain()
        assert made == [1]
        over = asyncio.Event()
        mailbox.post(lambda _: over.set(), None)        # and from then on it wakes its loop again
        await over.wait()

    asyncio.run(main())


def test_a_call_made_at_once_raises_where_it_would_wait():
    gate = threading.Lock()
    gate.acquire()
    with pytest.raises(QueueFullError):
        without_blocking(block, gate.acquire, None)
    gate.release()
    assert block(gate.acquire, None)
