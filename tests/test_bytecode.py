"""The compiled code: which jumps back in a loop the blocks of their function cover.

From Python 3.13 on, the blocks of a function do not cover a jump back that follows a condition:
that of ``while condition:``, and that of a loop which ends with an ``if``. Python handles signals
at such a jump. If a handler raises there, as Ctrl-C does, the ``with``, ``finally`` or ``except
BaseException`` around the loop does not run, and a lock stays held (CPython gh-130279).

Code that the main thread may run has no such loop in such a block. Move the loop to a function of
its own, use ``filter()``, or write ``while True`` with a ``break`` before the last statement.
"""
import dis
import signal
import sys
import threading
from pathlib import Path

import pytest

import atasker_like
from atasker_like._atomics import RLock

PACKAGE = Path(atasker_like.__file__).parent

#: Functions of the package's own threads. Python calls signal handlers in the main thread.
IN_OWN_THREADS = {
    "Dispatcher.on_writable",       # the I/O thread
    "ExitHandler.replace_all",
    "ExternalPool._submit_all",     # the thread that gives calls to an executor
    "Timer._run",
    "_ThreadRunner._run_task",          # a pool thread
    "ownership._end",               # the thread that ends a supervisor without references
}

uses_tables = pytest.mark.skipif(sys.version_info < (3, 13),
                                 reason="the blocks of earlier versions cover all jumps")


def codes(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            yield from codes(constant)


def uncovered_jumps(code):
    """Return the lines of the jumps back that a signal handler must not leave by an error."""
    entries = dis._parse_exception_table(code)
    instructions = list(dis.get_instructions(code))
    index = {one.offset: number for number, one in enumerate(instructions)}

    def block_of(offset):
        return next((one for one in entries if one.start <= offset < one.end), None)

    def matters(offset):
        block = block_of(offset)
        while block is not None:
            if catches_interrupts(instructions[index[block.target]:]):
                return True
            outer = block_of(block.target)
            block = None if outer is block else outer
        return False

    return [one.positions.lineno for one in instructions if one.opname == "JUMP_BACKWARD"
            and block_of(one.offset) is None and matters(one.argval)]


def catches_interrupts(handler):
    """Return True for the code of a ``with``, a ``finally``, or an ``except`` for interrupts."""
    if handler[0].opname != "PUSH_EXC_INFO":
        return False                    # a comprehension restores its variables
    names = []
    for one in handler[1:8]:
        if one.opname == "CHECK_EXC_MATCH":
            return not {"BaseException", "KeyboardInterrupt"}.isdisjoint(names)
        names.append(one.argval)
    return True


def compiled(source, name):
    return codes(compile(source, name, "exec"))


@uses_tables
@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")),
                         ids=lambda path: str(path.relative_to(PACKAGE)))
def test_blocks_cover_the_jumps_of_their_loops(path):
    found = {code.co_qualname: lines for code in compiled(path.read_text(), str(path))
             for lines in [uncovered_jumps(code)] if lines}
    own = {name for name in found
           if {name, f"{path.stem}.{name}"} & IN_OWN_THREADS}
    assert {name: found[name] for name in found.keys() - own} == {}


LOOPS = """
def condition(lock, count):
    with lock:
        while next(count, 0):
            pass

def rest(lock, count):
    with lock:
        for number in count:
            if number < 0:
                print(number)

def comprehension(lock, count):
    with lock:
        return [number for number in count if number < 0]

def way_out(lock, count):
    with lock:
        while True:
            if not next(count, 0):
                break
            len("")

def function(lock, count):
    with lock:
        return list(filter(int, count))
"""


@uses_tables
def test_loops_that_end_with_a_condition_are_found():
    found = {code.co_name for code in compiled(LOOPS, "loops") if uncovered_jumps(code)}
    assert {"rest", "comprehension"} <= found <= {"condition", "rest", "comprehension"}


@uses_tables
@pytest.mark.parametrize("name", ["way_out", "function"])
def test_signal_handler_that_raises_in_a_loop_leaves_no_lock_held(name):
    defined = {}
    exec(LOOPS, defined)
    lock, sent = RLock(), [0]

    class Interrupt(Exception):
        pass

    def handle(*ignored):
        if lock._is_owned():
            raise Interrupt

    def numbers():
        while sent[0] < 200:
            yield 1

    def send():
        while not over.wait(0.0005):
            signal.raise_signal(signal.SIGUSR1)
            sent[0] += 1

    over = threading.Event()
    before = signal.signal(signal.SIGUSR1, handle)
    sender = threading.Thread(target=send)
    sender.start()
    interrupts = 0
    try:
        while sent[0] < 200:
            try:
                defined[name](lock, numbers())
            except Interrupt:
                interrupts += 1
                assert not lock._is_owned()
    finally:
        over.set()
        sender.join()
        signal.signal(signal.SIGUSR1, before)
    assert interrupts
