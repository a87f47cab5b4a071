"""Subprocesses of the sides, with a time limit on everything, and the rounds that alternate between
them."""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from tests.benchmarks.peers import missing

ROOT = Path(__file__).resolve().parents[2]

#: Rounds of those that no budget speaks of.
ROUNDS_SHOWN = 3


class Settings(NamedTuple):
    quick: bool
    rounds: int
    start_method: str
    #: time.monotonic() after which no further row starts
    deadline: float

    def pick(self, full: int, quick: int) -> int:
        return quick if self.quick else full


class SideFailed(Exception):
    """The subprocess of a side raised, died or hung; ``details`` hold its traceback or stacks."""

    def __init__(self, reason: str, details: str = '') -> None:
        super().__init__(reason)
        self.details = details


class Session:
    """A side in a subprocess and a process group of its own. Each answer is awaited ``limit``
    seconds."""

    def __init__(self, measure: str, side: str, params: Dict[str, Any], limit: float) -> None:
        self._limit = limit
        self._errors = tempfile.TemporaryFile()
        request = json.dumps({'measure': measure, 'side': side, 'params': params})
        self._process = subprocess.Popen(
            [sys.executable, '-m', 'tests.benchmarks.session', request],
            cwd=str(ROOT),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )
        self._lines: 'queue.Queue[Optional[bytes]]' = queue.Queue()
        # a thread, since a pipe cannot be read with a timeout on every platform
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def answer(self) -> Dict[str, Any]:
        """The next answer: the first says that the side is ready, further ones are rounds."""
        try:
            line = self._lines.get(timeout=self._limit)
        except queue.Empty:
            raise SideFailed('no answer in {:g} s'.format(self._limit), self._where()) from None
        if line is None:
            raise SideFailed('the subprocess ended', self._tail())
        message: Dict[str, Any] = json.loads(line.decode())
        if 'error' in message:
            raise SideFailed(message['error'], self._tail())
        result: Dict[str, Any] = message['ok']
        return result

    def round(self) -> Dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b'\n')
            self._process.stdin.flush()
        except OSError as error:
            raise SideFailed('the subprocess ended', self._tail()) from error
        return self.answer()

    def _where(self) -> str:
        """The stacks of a subprocess that hangs; session.py prints them on SIGUSR1."""
        if hasattr(signal, 'SIGUSR1'):
            self._process.send_signal(signal.SIGUSR1)
            time.sleep(0.3)
        return self._tail()

    def _tail(self) -> str:
        self._errors.seek(0)
        text = self._errors.read().decode(errors='replace').strip()
        return text[-6000:]

    def close(self, patience: float = 3) -> None:
        """Asks the side to close; what is left of its process group after that is killed."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except OSError:
            pass
        end = time.monotonic() + patience
        while time.monotonic() < end and not self._has_ended():
            time.sleep(0.01)
        if hasattr(os, 'killpg'):
            # The leader has not been reaped, so the group's number still belongs to it alone.
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        else:
            self._process.kill()
        self._process.wait()
        self._errors.close()

    def _has_ended(self) -> bool:
        if hasattr(os, 'waitid'):
            options = os.WEXITED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PID, self._process.pid, options) is not None
        return self._process.poll() is not None


class Contest(NamedTuple):
    """One measurement, to be made by several sides in alternating rounds."""

    measure: str                 # 'module:function' in this package
    params: Dict[str, Any]
    #: what differs for some sides, such as fewer tasks for a slow one
    special: Dict[str, Dict[str, Any]] = {}
    #: True: a new subprocess for every round (memory is never given back)
    fresh: bool = False
    limit: float = 30


class Outcome:
    """What one side brought home: its rounds, or the reason why there are none."""

    def __init__(self) -> None:
        self.rounds: List[Dict[str, Any]] = []
        self.failure: Optional[str] = None
        self.details = ''
        self.absent = False  # not installed: nobody's fault

    def fail(self, reason: str, details: str = '') -> None:
        self.failure = reason
        self.details = details

    def is_absent(self, reason: str) -> None:
        self.failure = reason
        self.absent = True

    def series(self, key: str) -> List[float]:
        if self.failure is not None:
            return []
        return [found[key] for found in self.rounds if found.get(key) is not None]


def run_contest(
    settings: Settings,
    contest: Contest,
    sides: Sequence[str],
    rounds: Optional[int] = None,
    shown: Sequence[str] = (),
) -> Dict[str, Outcome]:
    """Opens the sides, runs the rounds A B C, A B C, ... and closes the sides.

    A side that fails leaves the contest; the others go on. ``shown`` are further ones, which no
    budget speaks of: they play the first rounds only, and none when there is little time.
    """
    if not settings.quick:
        sides = [*sides, *shown]
    outcomes = {side: Outcome() for side in sides}
    sessions: Dict[str, Session] = {}

    def enter(side: str) -> None:
        params = dict(contest.params, start_method=settings.start_method)
        params.update(contest.special.get(side, {}))
        sessions[side] = Session(contest.measure, side, params, contest.limit)
        sessions[side].answer()

    def leave(side: str) -> None:
        sessions.pop(side).close()

    def attempt(side: str, action: Any) -> None:
        if outcomes[side].failure is None:
            try:
                action(side)
            except SideFailed as error:
                outcomes[side].fail(str(error), error.details)

    def play(side: str) -> None:
        outcomes[side].rounds.append(sessions[side].round())

    for side in sides:
        reason = missing(side)
        if reason is not None:
            outcomes[side].is_absent(reason)
    try:
        if not contest.fresh:
            for side in sides:
                attempt(side, enter)
        for number in range(rounds or settings.rounds):
            for side in sides:
                if side in shown and number >= ROUNDS_SHOWN:
                    continue
                if contest.fresh:
                    attempt(side, enter)
                attempt(side, play)
                if contest.fresh and side in sessions:
                    leave(side)
    finally:
        for side in list(sessions):
            leave(side)
    return outcomes
