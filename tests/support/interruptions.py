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
    """Whether the line that is about to be run begins with an instruction that does nothing, such
    as that of a ``try``. From Python 3.11 on no signal is seen there, and no block covers it."""
    return (sys.version_info >= (3, 11)
            and frame.f_code.co_code[frame.f_lasti] == dis.opmap["NOP"])


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
