"""Batches of work with a beginning and an end: submit, run, read the summary.

::

    submit, map, group ──> Task ──> the queue's lane ──> the supervisor's pool ──> on_complete,
                            │       (workers, rate,       (priority: the            checkpoint
                            │        size; paused          queue's pool_priority)
                            │        until it runs)
                            └─> the queue's ledger ──> run(): wait for all ──> RunSummary

A queue owns no thread and no process. It is a lane of a supervisor, the ledger of the tasks that it
has accepted, and its policies for failures and timeouts. Handles, groups and summaries are views of
those tasks.
"""
