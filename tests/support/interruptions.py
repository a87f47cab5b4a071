"""What comes in between two lines: an interrupt or a signal handler, at each line of a call, one
after another."""
import dis
import gc
import linecache
import os
import sys
from contextlib import contextmanager

import atasker_like

#: In front of the path of each file of the package, and of no other file.
PACKAGE = os.path.join(os.path.dirname(atasker_like.__file__), "")


@contextmanager
def collector_off():
    """Have the collector run no finalizer in the block.

    The lines of a finalizer are not those of the call, and what is raised there is ignored. If a
    trace function raises in a finalizer, Python 3.11 may go on to call the freed trace function.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def sees_no_signal(frame):
    """Whether no signal can raise an error where a trace function is called for a line.

    - From Python 3.11 on: at an instruction that does nothing, such as that of a ``try``. No block
      covers it.
    - In Python 3.12 and 3.13: at a jump back within a line, such as that of a comprehension. What a
      trace function raises there leaves the frame without its ``with`` and ``finally`` blocks. What
      a signal handler raises does so only where no block covers the jump: see test_bytecode.py.
    """
    if sys.version_info < (3, 11):
        return False
    instruction = frame.f_code.co_code[frame.f_lasti]
    if instruction == dis.opmap["NOP"]:
        return True
    return ((3, 12) <= sys.version_info < (3, 14)
            and instruction == dis.opmap["JUMP_BACKWARD"]
            and _line_before(frame) == frame.f_lineno)


def _line_before(frame):
    """Return the line of the instruction before the current one."""
    before = frame.f_lasti - 1
    return next((line for start, end, line in frame.f_code.co_lines() if start <= before < end),
                None)


def at_line(number, deed, call, part="atasker_like"):
    """Make a call, and do a deed as its line of that number is about to be run, of those in a part
    of the package. Return whether it was so long; what either of them raises comes out."""
    seen, blocks = [0], set()

    def trace(frame, event, argument):
        name = frame.f_code.co_filename
        if not name.startswith(PACKAGE) or part not in name:
            return None
        if event == "line" and seen[0] < number:
            if sees_no_signal(frame):
                return trace
            if linecache.getline(name, frame.f_lineno).strip().startswith("with "):
                # The line comes again when the block is left: no signal is seen there, before the
                # lock is free.
                place = frame, frame.f_lineno
                if place in blocks:
                    blocks.discard(place)
                    return trace
                blocks.add(place)
            seen[0] += 1
            if seen[0] == number:
                sys.settrace(None)
                deed()
        return trace

    before = sys.gettrace()
    with collector_off():
        sys.settrace(trace)
        try:
            call()
        finally:
            sys.settrace(before)
    return seen[0] == number


def interrupt():
    raise KeyboardInterrupt


#: The frames that are free when a call is made. With the most of them, each call succeeds.
ROOMS = range(0, 110)


def with_room(frames, call):
    """Make a call where so many frames are free; return True if it did not hit the limit."""
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back

    def descend(left):
        return descend(left - 1) if left > 0 else call()

    try:
        descend(sys.getrecursionlimit() - depth - frames)
    except RecursionError:
        return False
    return True
