"""The table of faults. Adding a fault is adding a row here, and a scenario in one of the themed
modules."""
import re
from typing import Any, Callable, NamedTuple, Tuple

from . import (chaos, daemons, deaths, exits, foreign_processes, freezing, interrupts, limits, load,
               loops, objects, pickling, pools, producers, races, storage, worlds)
from .implementations import PEERS

#: "template": a template process forks the pool processes, as it does for legacy programs.
ALL = ("fork", "forkserver", "spawn", "template")
#: A template's pool starts its processes and its I/O thread before the scenario can hold the one or
#: refuse the others.
NOT_AHEAD = ("fork", "forkserver", "spawn")
#: For rows in which no pool process has a part: how it would be started does not matter.
NONE = ("-",)
#: Peers whose futures have callbacks, and whose processes start with the first submission.
FUTURES = ("ProcessExecutor", "PPE", "pebble", "loky")


class Fault(NamedTuple):
    """One row."""

    #: the number in the list of faults; several rows may share one
    number: int
    #: a few words; with the number they are the key of the row
    name: str
    #: called with a Scene; see there
    scenario: Callable[[Any], None]
    #: start methods that it is run over
    methods: Tuple[str, ...] = ALL
    #: peers whose interface can express it
    peers: Tuple[str, ...] = ()
    #: marked slow: left out of a quick run of the tests
    slow: bool = False
    #: seconds after which the case is ended and counts as hung; the machine may be busy
    limit: float = 60.0
    #: what does not hold yet, and why; the row is run by `python3 -m tests.faults`, which shows it
    open: str = ""

    @property
    def key(self) -> str:
        return "%d-%s" % (self.number, re.sub(r"\W+", "-", self.name.lower()).strip("-"))


TABLE = [
    Fault(1, "SIGKILL in a task", deaths.killed_in_a_task, peers=PEERS),
    Fault(1, "a worker that kills its process", producers.worker_that_kills),
    Fault(1, "an executor whose process dies", producers.executor_whose_process_dies),
    Fault(2, "SIGKILL of an idle process", deaths.killed_while_idle, peers=PEERS),
    Fault(2, "a queue worker, and processes die", producers.queue_worker_while_processes_die),
    Fault(3, "killed before it starts", deaths.killed_before_it_starts, peers=PEERS),
    Fault(4, "killed after the result", deaths.killed_after_the_result, NOT_AHEAD,
          peers=("ProcessExecutor",)),
    Fault(5, "segmentation fault", deaths.segmentation_fault, peers=PEERS),
    Fault(6, "os._exit", deaths.left_in_a_task, peers=PEERS),
    Fault(7, "sys.exit", deaths.system_exit_in_a_task, peers=PEERS),
    Fault(8, "exit and abort of C", deaths.ended_by_c, peers=PEERS),
    Fault(
        9, "killed in the middle of a result", deaths.killed_in_the_middle_of_a_result, peers=PEERS
    ),
    Fault(10, "frozen", freezing.frozen, peers=("ProcessExecutor", "pebble")),
    Fault(11, "SIGTERM ignored", freezing.termination_ignored, peers=("ProcessExecutor", "pebble")),
    Fault(11, "workers that hang", producers.workers_that_hang),
    Fault(12, "C that holds the interpreter", freezing.interpreter_held,
          peers=("ProcessExecutor", "pebble")),
    Fault(13, "pickling raises", pickling.pickling_raises, peers=PEERS),
    Fault(14, "pickling exits", pickling.pickling_exits, peers=PEERS),
    Fault(14, "pickling ends the process", pickling.pickling_ends_the_process, peers=PEERS),
    Fault(15, "an error that cannot be rebuilt", pickling.error_not_rebuilt, peers=PEERS),
    Fault(16, "memory exhausted", pools.memory_exhausted, peers=PEERS),
    Fault(17, "no second thread", limits.no_second_thread, NONE),
    Fault(17, "no first thread", limits.no_first_thread, NONE),
    Fault(17, "no thread at all", limits.no_thread_at_all, NONE),
    Fault(17, "threads now and then", limits.threads_now_and_then, NONE),
    Fault(17, "no memory for threads", limits.no_memory_for_threads, NONE),
    Fault(
        17,
        "no thread for processes",
        limits.no_thread_for_processes,
        peers=FUTURES,
    ),
    Fault(18, "no process", limits.no_process, NOT_AHEAD, peers=FUTURES),
    Fault(18, "no process in place of another", limits.no_replacement, peers=PEERS),
    Fault(18, "processes now and then", limits.processes_now_and_then, peers=PEERS),
    Fault(19, "no pipe", limits.no_pipe, peers=FUTURES),
    Fault(19, "no pipe in place of another", limits.no_pipe_for_another, peers=PEERS),
    Fault(19, "no loop", limits.no_loop, NONE),
    Fault(20, "a full disk under the log", limits.log_disk_full, ("fork", "forkserver"),
          peers=("ProcessExecutor",)),
    Fault(20, "a log handler that raises", limits.log_handler_raises, ("fork", "forkserver"),
          peers=("ProcessExecutor",)),
    Fault(21, "a full pipe", freezing.pipe_full, peers=PEERS),
    Fault(22, "an initializer that raises", pools.initializer_raises, peers=PEERS),
    Fault(22, "an initializer that dies", pools.initializer_dies, peers=PEERS),
    Fault(22, "an initializer that hangs", pools.initializer_hangs, peers=PEERS),
    Fault(23, "a task that always crashes", pools.always_crashes, peers=PEERS),
    Fault(
        24,
        "the fork server killed",
        pools.fork_server_killed,
        ("forkserver",),
        peers=("ProcessExecutor", "PPE", "Pool", "pebble"),
    ),
    Fault(25, "the parent ends", exits.parent_ends, peers=PEERS),
    Fault(25, "the parent ends while it starts", exits.parent_ends_while_it_starts),
    Fault(
        26,
        "KeyboardInterrupt in submissions",
        interrupts.interrupted_submissions,
        NONE,
        limit=120.0,
    ),
    Fault(26, "KeyboardInterrupt in waits", interrupts.interrupted_waits, NONE, limit=120.0),
    Fault(26, "KeyboardInterrupt in stops", interrupts.interrupted_stops, NONE, limit=120.0),
    Fault(
        26, "KeyboardInterrupt with processes", interrupts.interrupted_with_processes, limit=120.0
    ),
    Fault(27, "a storm of SIGINT", interrupts.storm_of_interrupts),
    Fault(27, "a timer signal at 1 kHz", interrupts.timer_signal),
    Fault(27, "a handler in submissions", interrupts.handled_in_submissions, NONE, limit=120.0),
    Fault(27, "a handler in waits", interrupts.handled_in_waits, NONE, limit=120.0),
    Fault(27, "a handler in stops", interrupts.handled_in_stops, NONE, limit=120.0),
    Fault(28, "fork with busy pools", exits.fork_with_busy_pools),
    Fault(28, "fork in a storm", exits.fork_in_a_storm),
    Fault(28, "programs that fork", exits.forked_programs),
    Fault(28, "workers and a fork", producers.workers_and_a_fork, NONE),
    Fault(29, "ends in every order", races.ends_in_every_order, NONE),
    Fault(29, "ends of processes in every order", races.ends_of_processes_in_every_order),
    Fault(29, "ends at once", races.ends_at_once, NONE),
    Fault(29, "ends of processes at once", races.ends_of_processes_at_once),
    Fault(29, "ends of waiting tasks at once", races.ends_of_waiting_tasks_at_once),
    Fault(30, "callbacks that raise", races.callbacks_that_raise),
    Fault(
        30,
        "callbacks that raise, of all",
        races.callbacks_of_peers,
        peers=FUTURES,
    ),
    Fault(30, "callbacks that block", races.callbacks_that_block),
    Fault(30, "callbacks that submit and cancel", races.callbacks_that_submit),
    Fault(31, "nested submissions", races.nested_submissions, NONE),
    Fault(31, "nested coroutines", races.nested_coroutines, ("fork", "forkserver")),
    Fault(32, "submissions against a stop", races.submissions_against_a_stop),
    Fault(32, "submissions against a shutdown", races.submissions_against_a_shutdown,
          peers=("PPE", "Pool", "pebble", "loky")),
    Fault(33, "submissions at the exit", exits.submitted_at_exit),
    Fault(33, "finalizers of the collector", exits.finalizers_of_the_collector),
    Fault(33, "finalizers everywhere", exits.finalizers_everywhere),
    Fault(34, "a loop closed before its results", loops.loop_closed),
    Fault(34, "a loop closed under its tasks", loops.loop_of_a_task_closed, NONE),
    Fault(34, "loops that end as tasks end", loops.loop_ends_while_tasks_end),
    Fault(35, "the awaiter cancelled", loops.awaiter_cancelled),
    Fault(35, "a waiter cancelled", loops.waiter_cancelled),
    Fault(36, "the wall clock jumps a day", loops.wall_clock_jumps),
    Fault(37, "recycling under load", load.recycling,
          peers=("ProcessExecutor", "PPE", "Pool", "pebble"), limit=240.0),
    Fault(38, "endless HIGH, aging", load.endless_high),
    Fault(39, "resized 4, 1, 8 under load", load.resized),
    Fault(40, "everything at once", chaos.everything_at_once),
    Fault(41, "a full disk under the results", storage.disk_full),
    Fault(41, "a file that another process holds", storage.file_locked),
    Fault(41, "a file that is spoilt", storage.file_spoilt),
    Fault(41, "killed while it stores", storage.killed_while_storing),
    Fault(42, "strangers at the local server", foreign_processes.at_the_local_server,
          ("forkserver",)),
    Fault(42, "clients that disappear", foreign_processes.clients_that_disappear, NONE),
    Fault(43, "no temporary folder", daemons.no_temporary_folder),
    Fault(43, "no socket in the temporary folder", daemons.no_socket),
    Fault(43, "the socket removed", daemons.socket_removed),
    Fault(43, "no interpreter", daemons.no_interpreter),
    Fault(44, "SIGCHLD ignored", daemons.children_ignored),
    Fault(44, "children reaped by a handler", daemons.children_reaped),
    Fault(44, "children reaped by a thread", daemons.children_reaped_by_a_thread),
    Fault(45, "descriptors closed", daemons.descriptors_closed),
    Fault(45, "descriptors closed by a daemon", daemons.descriptors_closed_by_a_daemon),
    Fault(46, "a patched standard library", worlds.library_patched, limit=240.0),
    Fault(47, "SIGTERM to the process group", daemons.group_terminated),
    Fault(47, "SIGHUP to the process group", daemons.group_hung_up, ("forkserver", "spawn")),
    Fault(48, "a signal raised again at the end", daemons.signal_raised_again),
    Fault(49, "the end of the interpreter", worlds.interpreter_ends),
    Fault(50, "callables that mislead", objects.misleading_callables),
    Fault(51, "exceptions that cannot be shown", objects.unshowable_exceptions),
    Fault(52, "supervisors dropped", objects.dropped),
    Fault(53, "waits that cannot end", objects.waits_that_cannot_end, NONE),
    Fault(54, "an executor whose cancel() lies", worlds.cancel_that_lies),
]


def find(key: str) -> Fault:
    """Return the row with a key; the lies that the oracle is tested with have keys, too."""
    from .lies import LIES

    for fault in TABLE + LIES:
        if fault.key == key:
            return fault
    raise LookupError(
        "no row has the key %r; there are %s" % (key, ", ".join(row.key for row in TABLE))
    )


def select(numbers: str) -> "list[Fault]":
    """Return the rows of numbers given as ``1,5-9``; all for an empty string."""
    wanted = set()
    for part in filter(None, numbers.split(",")):
        first, _, last = part.partition("-")
        wanted.update(range(int(first), int(last or first) + 1))
    return [fault for fault in TABLE if not numbers or fault.number in wanted]
