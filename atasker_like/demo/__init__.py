"""``python3 -m atasker_like demo``: what the library does, shown on the source files of a Python.

::

    source.py    the work: finding, reading and parsing files; the pool processes import only this
    measure.py   the numbers: of files, and of the times of tasks
    run.py       the tasks: threads read, processes parse, a HIGH task overtakes, one is delayed,
                 a coroutine asks
    report.py    the outcome as text and as data
"""
