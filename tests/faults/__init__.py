"""The fault suite: everything that the library must survive, injected, and judged by one oracle.

::

    python3 -m tests.faults                       every row, over every start method
    python3 -m tests.faults --rows 1,5-9 --busy   some rows, with all cores busy
    python3 -m tests.faults --peer PPE            the rows that a peer can express
    python3 -m tests.faults --peer ProcessExecutor    the same, over our own executor
    python3 -m pytest -q tests/faults             the quick form, as tests

Each case is one row by one start method, in a process and a session of its own::

    __main__, test_faults ──> runner.run_case ──> python -m tests.faults.case ──> scene ──> oracle
                                   ^
                                   │ └────────────── the verdict, JSON
                                   ───────────────────────────────────┘

To add a fault

1. write a scenario, a function of one argument, in the module of its theme (or a new one). The
argument is a
   :class:`~tests.faults.scene.Scene`; its docstrings are the reference. ``deaths.py`` has short
   examples::

       def killed_in_a_task(scene):
           scene.open(size=2)                                        # left out: a pool of two
           processes scene.good(10)                                            # siblings; the
           oracle knows that they must succeed victim = scene.inject(work.end_by_signal,
           signal.SIGKILL) # the fault; counted scene.good(10) scene.died(victim,
           number=signal.SIGKILL)                 # what this row expects of it: X

2. put what its tasks run into ``work.py``, which pool processes import (by spawn, too); 3. add a
row to ``table.TABLE``: number, a short name, the scenario, the start methods (``NONE`` if no pool
process has
   a part in it), ``slow``, the limit, and the peers that can express it.

``python -m tests.faults --rows N`` runs it. Nothing else is to be done: after every scenario the
oracle judges A to F over all that was submitted with ``scene.submit``, ``inject`` and ``good`` (a
task that was submitted otherwise is handed over with ``scene.adopt``). Each task is one line in the
journal when it runs, so that what ran, and how often, is known whatever became of the process.

Rules: a scenario waits for events, pipes and files with a deadline (``scene.gate``,
``scene.until``), it never sleeps and hopes; it has a quick form well below a second, and a long one
(``scene.count(20, 1000)``); what is ours alone (types of errors, insides) is asserted under ``if
scene.strict``, or by the helpers that know.

``lies.py`` has scenarios in which something does not hold, one for each thing that the oracle must
find.
"""
