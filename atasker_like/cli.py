"""The command line: ``python3 -m atasker_like``, or ``atasker-like`` where it is installed.

A subcommand has one entry in :data:`COMMANDS`: what it is for, its arguments, and what runs it. The modules behind
it are imported when it is asked for, and argparse when the command line is read: a pool process of the console
script imports this file, too.
"""
from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Callable, NamedTuple

    class Command(NamedTuple):
        """A subcommand. What it returns is the exit status, or what is to be called with nothing around it."""

        summary: str
        add_arguments: Callable[[ArgumentParser], None]
        run: Callable[[Namespace], int | Callable[[], None]]
else:
    from collections import namedtuple

    Command = namedtuple("Command", "summary add_arguments run")

__all__ = ["COMMANDS", "main"]

#: What a shell expects of a program that SIGINT has ended.
_INTERRUPTED = 130


class CommandError(Exception):
    """What was asked for cannot be done. The message, one line, goes to stderr.

    :param status: the exit status: 2 where the arguments are to blame.
    """

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


# -- the subcommands ---------------------------------------------------------------------------------------


def _demo_arguments(parser: ArgumentParser) -> None:
    parser.description = ("Index Python source files: threads read them and processes parse them, an urgent task "
                          "overtakes a backlog, one is delayed, and a coroutine asks a process. Progress goes to "
                          "stderr, the outcome to stdout.")
    parser.add_argument("path", metavar="PATH", nargs="?",
                        help="a folder, whose *.py files are indexed, or a file; the standard library of the running "
                             "Python unless told")
    parser.add_argument("--json", action="store_true", help="print the outcome as one JSON object")


def _demo(arguments: Namespace) -> int:
    from .demo.run import DemoError, run
    from .errors import SupervisorError

    try:
        return run(arguments.path, arguments.json)
    except DemoError as error:
        raise CommandError(str(error)) from None
    except SupervisorError as error:
        raise CommandError(str(error), status=1) from None


def _exec_arguments(parser: ArgumentParser) -> None:
    from argparse import REMAINDER

    parser.usage = "%(prog)s [-h] (SCRIPT | -m MODULE) [ARGUMENT ...]"
    parser.description = ("Run a program that was written for atasker, as python would, with every import of atasker "
                          "resolved to this library, in its pool processes as well.")
    # Each takes all that follows: what comes after the name belongs to the program.
    parser.add_argument("-m", dest="module", nargs=REMAINDER, metavar="MODULE [ARGUMENT ...]",
                        help="run a module or package, as python -m would")
    parser.add_argument("script", nargs=REMAINDER, metavar="SCRIPT [ARGUMENT ...]",
                        help="run a file, or a folder or archive that holds a __main__.py")


def _exec(arguments: Namespace) -> Callable[[], None]:
    from . import legacy

    program = arguments.script if arguments.module is None else arguments.module
    if program[:1] == ["--"]:
        del program[0]
    if not program:
        raise CommandError("name the program to run: exec SCRIPT, or exec -m MODULE")
    run = legacy.run_script if arguments.module is None else legacy.run_module

    def program_alone() -> None:
        try:
            run(program[0], program[1:])
        except legacy.ProgramNotFoundError as error:
            _tell(f"{_program()} exec: {error}")
            raise SystemExit(2) from None

    return program_alone


def _send_arguments(parser: ArgumentParser) -> None:
    parser.description = ("Send a task to a service, wait for its end, and print its result as JSON. Exit status: 0, 1 when "
                          "the task failed or the service is not there, 2 when the service refused the task.")
    parser.add_argument("address", metavar="ADDRESS",
                        help="where the service is: a path such as ./lab.sock, or a host and a port such as 127.0.0.1:8500")
    parser.add_argument("type", metavar="TYPE", help="the type of the task")
    parser.add_argument("fields", metavar="KEY=VALUE", nargs="*",
                        help="the fields of the task; a value that is JSON is taken as that, any other as a string")
    parser.add_argument("--target", metavar="NAME", help="the name of the service, which refuses the task when it has another")
    parser.add_argument("--priority", metavar="NUMBER", type=int, help="lower runs first; that of the task's type unless told")
    parser.add_argument("--timeout", metavar="SECONDS", type=float, help="how long to wait at most; the task goes on")
    parser.add_argument("--no-wait", action="store_true", help="print the id of the task once it is accepted, and do not wait")
    parser.add_argument("--token-file", metavar="FILE",
                        help="a file with the token, over TCP; else it is taken from the variable ATASKER_LIKE_TOKEN: on a "
                             "command line others could read it")


def _send(arguments: Namespace) -> int:
    from json import dumps

    from .errors import (InvalidArgumentError, ServiceConnectionError, TaskExecutionError,
                         TaskRefusedError, WaitTimeoutError)
    from .service.sync_client import SyncClient
    from .service.wire import value_of
    from .tasks import task_supervisor

    fields = {}
    for field in arguments.fields:
        name, equals, value = field.partition("=")
        if not equals or not name:
            raise CommandError(f"{field!r} is no field; write KEY=VALUE, such as qubit=3")
        fields[name] = value_of(value)
    token = os.environ.get("ATASKER_LIKE_TOKEN") or None
    if arguments.token_file is not None:
        try:
            with open(arguments.token_file, encoding="utf-8") as file:
                token = file.read().strip()
        except (OSError, ValueError) as error:
            raise CommandError(f"the token cannot be read: {error}") from None
    try:
        with SyncClient(arguments.address, token) as client:
            answer = client.send(arguments.type, fields, target=arguments.target, priority=arguments.priority,
                                 wait=not arguments.no_wait, timeout=arguments.timeout)
        print(answer.task_id if arguments.no_wait else dumps(answer.result))
    except TaskExecutionError as error:
        raise CommandError(f"the task failed\n{error.traceback.rstrip() or error}", status=1) from None
    except (TaskRefusedError, InvalidArgumentError) as error:
        raise CommandError(str(error)) from None
    except (ServiceConnectionError, WaitTimeoutError) as error:
        raise CommandError(str(error), status=1) from None
    finally:
        task_supervisor.stop(wait=1)
    return 0


COMMANDS: dict[str, Command] = {
    "demo": Command("index source files with threads and processes, and show how it went", _demo_arguments, _demo),
    "exec": Command("run a program that was written for atasker", _exec_arguments, _exec),
    "send": Command("send a task to a service, and print what it returns", _send_arguments, _send),
}


# -- the command line --------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Run a command line and return its exit status: 0, 1 for a failure, 2 for wrong arguments, 130 for Ctrl-C.

    :param argv: the arguments; those of the process unless told.
    :raises SystemExit: as argparse does, after ``--help`` and ``--version`` and for wrong arguments.
    """
    _occupy_standard_streams()
    name = _program()
    try:
        parser = _parser(name)
        arguments, others = parser.parse_known_args(argv)
        if arguments.command == "send" and not any(other.startswith("-") for other in others):
            arguments.fields += others      # argparse takes those in front of the first option only
        elif others:
            parser.error("unrecognized arguments: " + " ".join(others))
        if arguments.command is None:
            parser.print_help(sys.stderr)
            return 2
        name = f"{name} {arguments.command}"
        outcome = COMMANDS[arguments.command].run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()      # here, where it can be told when it fails
    except CommandError as error:
        _tell(f"{name}: {error}")
        return error.status
    except KeyboardInterrupt:
        _tell(f"{name}: interrupted")
        return _INTERRUPTED
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            _tell(f"{name}: {error}")
        _give_up_stdout()
        return 1
    if isinstance(outcome, int):
        return outcome
    outcome()               # a program of the user's: what it raises is for the interpreter to show
    return 0


def _program() -> str:
    script = os.path.basename(sys.argv[0] if sys.argv else "")
    return "atasker-like" if script.startswith("atasker-like") else "python -m atasker_like"


def _parser(name: str) -> ArgumentParser:
    from argparse import ArgumentParser

    from . import __version__

    parser = ArgumentParser(name, description="Run tasks in threads, processes and coroutines, in order of priority.")
    parser.add_argument("--version", action="version", version=f"atasker-like {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for command, (summary, add_arguments, _) in COMMANDS.items():
        add_arguments(commands.add_parser(command, help=summary))
    return parser


def _tell(message: str) -> None:
    """Write a line to stderr, if anyone can be reached there."""
    try:
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass


def _occupy_standard_streams() -> None:
    """See to it that no file opened from now on gets the number of a standard stream that is closed.

    Else what the C library or a pool process writes to stderr might end up in one of our own pipes.
    """
    try:
        while True:
            number = os.open(os.devnull, os.O_RDWR)
            if number > 2:
                os.close(number)
                break
            os.set_inheritable(number, True)
        if sys.stderr is None:
            sys.stderr = open(os.devnull, "w", encoding="utf-8")   # argparse takes for granted that there is one
    except OSError:         # no such device, or no file left to open: then it has to go without
        pass


def _give_up_stdout() -> None:
    """Nobody reads stdout any more: have what is left in its buffer go nowhere, without a word at exit."""
    try:
        number = sys.stdout.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):
        pass
