"""Speed and cost, as ratios to peers measured in the same run: ``python3 -m tests.benchmarks``.

How a number comes about::

    __main__ ── rows ──> harness.run_contest ──> one Session a side, each in its own subprocess:
                                                 session.py opens its side (peers.py), then runs one
                                                 round each time it is told to
             <── lines ── report.compare <────── rounds, side by side: A B C, A B C, ...

Every side of a row lives in the same layout: a subprocess started by the same harness, a main
thread that drives, pools of the same size, made by the same start method and warmed up before the
first round. Only one side works at any time; the others wait for their next line on stdin. Both
sides of a ratio come from the same round, so that a machine that is busy for some seconds slows
both.
"""
