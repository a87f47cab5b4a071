"""Batches of work with a beginning and an end: submit, run, look at the summary.

::

    submit, map, group ──> Task ──> the queue's lane ──> the supervisor's pool ──> on_complete, checkpoint
                            │       (workers, rate,       (priority: the
                            │        size, paused          queue's pool_priority)
                            │        until it runs)
                            └─> the queue's ledger ──> run(): wait for all ──> RunSummary

A queue owns no thread and no process. It is a lane of a supervisor, a list of the tasks that it has accepted, and the
policies by which it gives up: handles, groups and summaries are views of those tasks.
"""
