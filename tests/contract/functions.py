"""What the tasks of the contract tests run. Importable, so that pool processes find it; and quick
to import."""
import asyncio
import contextvars
import logging
import os
import select
import signal
import threading
import time

from atasker_like import background_task, current_task, report_progress

from ..support.internals import manager


class Gate:
    """Holds tasks, in whatever thread or process they run, until the test opens it.

    Made of two named pipes, so that one and the same works everywhere and both sides can wait with
    a deadline.
    """

    def __init__(self, path):
        self.path = str(path)
        self._fds = []

    def make(self):
        """In the test: make the pipes and keep them open."""
        for name in (".entered", ".open"):
            os.mkfifo(self.path + name)
            self._fds.append(os.open(self.path + name, os.O_RDWR | os.O_NONBLOCK))
        return self

    def __reduce__(self):
        return Gate, (self.path,)

    def enter(self):
        """In a task: say that it has begun, and stay until the gate is opened."""
        self.arrive()
        fd = os.open(self.path + ".open", os.O_RDONLY)
        try:
            os.read(fd, 1)
        finally:
            os.close(fd)

    async def co_enter(self):
        """The same in a coroutine, that does not block its loop."""
        self.arrive()
        loop = asyncio.get_running_loop()
        opened = loop.create_future()
        fd = os.open(self.path + ".open", os.O_RDONLY | os.O_NONBLOCK)

        def look():
            try:
                os.read(fd, 1)
            except BlockingIOError:
                return
            loop.remove_reader(fd)
            opened.set_result(None)

        loop.add_reader(fd, look)
        try:
            await opened
        finally:
            loop.remove_reader(fd)
            os.close(fd)

    def arrive(self):
        """In a task: say that it has begun."""
        fd = os.open(self.path + ".entered", os.O_WRONLY)
        try:
            os.write(fd, b".")
        finally:
            os.close(fd)

    def wait_entered(self, count=1, timeout=20):
        """In the test: wait until so many tasks have come."""
        deadline = time.monotonic() + timeout
        for number in range(count):
            ready, _, _ = select.select([self._fds[0]], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"only {number} of {count} tasks began within {timeout} s"
            os.read(self._fds[0], 1)

    def open(self, count=1000):
        """In the test: let tasks go on, those that come later too."""
        os.write(self._fds[1], b"." * count)

    def close(self):
        """In the test: let all go on, and forget the pipes."""
        if self._fds:
            self.open()
            for name, fd in zip((".entered", ".open"), self._fds):
                # a later caller fails instead of waiting without end
                os.unlink(self.path + name)
                os.close(fd)
            self._fds = []


def add(a, b=0):
    return a + b


def wait_for_file(path):
    """Return when a file exists; for functions on the far side of an engine."""
    deadline = time.monotonic() + 60
    while not os.path.exists(path) and time.monotonic() < deadline:
        time.sleep(0.005)


def tell(path):
    """Log and report, wait for a file to exist, and report again."""
    logging.getLogger("far").warning("from %s", "afar")
    report_progress(1, 2, "half")
    wait_for_file(path)
    report_progress(2, 2)


def report_numbers(done, total):
    report_progress(done, total)


def give_lock():
    return threading.Lock()


def give(value):
    return value


def nothing(*args, **kwargs):
    pass


async def co_nothing():
    pass


def fail(message="no"):
    raise ValueError(message)


def fail_with(error):
    raise error


def enter(gate, value=None):
    gate.enter()
    return value


async def co_enter(gate, value=None):
    await gate.co_enter()
    return value


def enter_and_fail(gate):
    gate.enter()
    raise ValueError("late")


async def co_enter_and_fail(gate):
    await gate.co_enter()
    raise ValueError("late")


def enter_and_check(gate):
    gate.enter()
    current_task().check_cancelled()
    return "nobody cancelled"


async def co_enter_and_check(gate):
    await gate.co_enter()
    current_task().check_cancelled()
    return "nobody cancelled"


def arrive_and_check(gate):
    """Run until it is cancelled."""
    gate.arrive()
    pause = threading.Event()
    while not pause.wait(0.001):
        current_task().check_cancelled()


async def co_arrive_and_check(gate):
    gate.arrive()
    await asyncio.get_running_loop().create_future()


async def hold_loop(gate):
    gate.enter()


def record(path, word):
    """Leave a trace that a test can read, in the order of the calls."""
    with open(path, "a") as file:
        file.write(f"{word}\n")
    return word


def succeed_at(attempt, error=ValueError):
    """Fail until this is the attempt of the number."""
    now = current_task().attempts
    if now < attempt:
        raise error(f"attempt {now}")
    return now


def who():
    task = current_task()
    return task.id, task.name, task.attempts


def report(gate):
    current_task().report_progress(3, 10, "reading")
    gate.enter()
    current_task().report_progress(10, total=10)


async def co_report(gate):
    current_task().report_progress(3, 10, "reading")
    await gate.co_enter()
    current_task().report_progress(10, total=10)


def with_task_id(a, _task_id):
    return a, _task_id


def with_keywords(a, **kwargs):
    return a, kwargs


variable = contextvars.ContextVar("variable", default="unset")


def swap(value):
    """Return what the context variable was, and change it."""
    was = variable.get()
    variable.set(value)
    return was


# -- of pool processes -----------------------------------------------------------------------------


def pid():
    return os.getpid()


def enter_and_give_pid(gate):
    gate.enter()
    return os.getpid()


def die(status):
    os._exit(status)


def kill_self(number=signal.SIGKILL):
    import faulthandler  # refused by the interpreters of InterpreterPoolExecutor

    faulthandler.disable()      # the test runner's, of which a forked process has a copy
    os.kill(os.getpid(), number)
    signal.pause()


def enter_and_die(gate):
    gate.enter()
    os._exit(3)


class Unsendable(Exception):
    """Cannot be pickled."""

    def __reduce__(self):
        raise TypeError("not this one")


class Unbuildable(Exception):
    """Can be pickled, but not be built again: its arguments are not those of its constructor."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def raise_unsendable():
    raise Unsendable("stays there")


def raise_unbuildable():
    raise Unbuildable(7, "half of it")


def raise_local():
    class Local(Exception):
        pass

    raise Local("nobody can import me")


def raise_chained():
    try:
        fail("the first")
    except ValueError as error:
        raise KeyError("the second") from error


def give_lambda():
    return lambda: None


def give_open_file():
    return open(os.devnull)


def _refuse():
    raise RuntimeError("I will not be rebuilt")


class Stubborn:
    """Can be pickled, and raises when it is rebuilt."""

    def __reduce__(self):
        return _refuse, ()


def give_stubborn():
    return Stubborn()


def measure(data):
    """What arrived: its type, its length, its first and last item."""
    return type(data).__name__, len(data), data[0], data[-1]


def make_bytes(size):
    return b"\x07" * size


def make_bytearray(size):
    return bytearray(b"\x07") * size


def make_array(size):
    from array import array

    return array("d", [7.0]) * (size // 8)


def make_buffer(size):
    from pickle import PickleBuffer

    return PickleBuffer(b"\x07" * size)


setting = None


def configure(value):
    global setting
    setting = value


def get_setting():
    return setting


def refuse_to_start(path):
    record(path, "tried")
    raise RuntimeError("the initializer does not like it here")


def stay_unless_first(path, gate):
    """An initializer: only the first process gets ready at once."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        gate.enter()


class Counter:
    """Its methods are sent with their object."""

    def __init__(self, start):
        self.start = start

    def plus(self, n):
        return self.start + n

    @classmethod
    def made(cls, n):
        return cls(n).start

    @staticmethod
    def twice(n):
        return 2 * n


class Callable:
    def __call__(self, n):
        return n + 1


# -- another attempt, asked for from inside --------------------------------------------------------


def attempt():
    """What a function sees of its attempt: its number, how many may follow, and whether none
    may."""
    task = current_task()
    return task.attempts, task.remaining_retries, task.is_last_retry


def retry_until(last, countdown=None):
    """Ask for attempts until this is the one of the number; return all that is seen in it."""
    if current_task().attempts < last:
        current_task().retry(countdown)
    return attempt()


def retry_for_ever(countdown=0):
    current_task().retry(countdown)


def retry_with(error):
    current_task().retry(0, exc=error)


def retry_what_is_handled(countdown=0):
    """Ask for another attempt in an except block."""
    try:
        {}["missing"]
    except LookupError:
        current_task().retry(countdown)


def retry_past_a_broad_handler():
    """Ask for another attempt where every error is caught."""
    try:
        if current_task().attempts < 2:
            current_task().retry()
    except Exception:
        return "caught"
    return current_task().attempts


def retry_twice():
    """Catch what retry() raises, and ask again."""
    try:
        current_task().retry(exc=KeyError("first"))
    except BaseException:
        current_task().retry(0)


def retry_after(argument):
    """Say why an argument of retry() is refused."""
    try:
        current_task().retry(**argument)
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


kept = []


def retry_first():
    """Ask for another attempt of the task that ran this function first, here."""
    kept.append(current_task())
    if len(kept) > 1:
        kept[0].retry()


def retry_unsendable():
    current_task().retry(0, exc=Unsendable("unsendable"))


def report_by_module():
    report_progress(1, 2, "half")


async def co_retry_until(last, countdown=None):
    return retry_until(last, countdown)


async def co_retry_for_ever(countdown=0):
    retry_for_ever(countdown)


async def co_retry_what_is_handled(countdown=0):
    retry_what_is_handled(countdown)


def leave_a_task_behind(gate):
    """Submit a task to a supervisor of this process, which ends it before the process itself
    ends."""
    from atasker_like import background_task

    background_task(enter)(gate)


def fail_at_two(number):
    return number // (number != 2)


def keyword_names(**keywords):
    return sorted(keywords)


def configure_ahead():
    """In a pool process, as the import of a module that configures a pool does."""
    from atasker_like import TaskSupervisor

    supervisor = TaskSupervisor()
    supervisor.set_mp_pool(pool_size=2, min_size=2)
    pool = manager(supervisor).processes
    return pool.process_count(), pool.starter.is_busy


# -- of executors ----------------------------------------------------------------------------------


@background_task
def decorated(number):
    return number + 1


_initialized = []


def initialize(value):
    _initialized.append(value)


def initialized():
    return _initialized


def refuse():
    raise ValueError("not today")


class Thing:
    """What a weak reference may refer to."""

    def method(self):
        return None


def make_thing(_):
    return Thing()
