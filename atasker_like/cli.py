"""The command line: ``python3 -m atasker_like``, or ``atasker-like`` where it is installed.

A subcommand has one entry in :data:`COMMANDS`: its purpose, its arguments, and the function that
runs it. The modules behind it are imported when it runs, and argparse when the command line is
read: a pool process of the console script imports this file, too.
"""
from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any, Callable, NamedTuple

    class Command(NamedTuple):
        """A subcommand. ``run`` returns the exit status, or a program to be called by main()."""

        summary: str
        add_arguments: Callable[[ArgumentParser], None]
        run: Callable[[Namespace], int | Callable[[], None]]
else:
    from collections import namedtuple

    Command = namedtuple("Command", "summary add_arguments run")

__all__ = ["COMMANDS", "main"]

#: The exit status that a shell expects of a program that SIGINT has ended.
_INTERRUPTED = 130


class CommandError(Exception):
    """A command has failed. The message, one line, goes to stderr.

    :param status: the exit status (default: 2, wrong arguments).
    """

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


# -- the subcommands ---------------------------------------------------------------------------


def _demo_arguments(parser: ArgumentParser) -> None:
    parser.description = ("Index Python source files: threads read them and processes parse them, "
                          "an urgent task overtakes a backlog, one is delayed, and a coroutine "
                          "asks a process. Progress goes to stderr, the outcome to stdout.")
    parser.add_argument("path", metavar="PATH", nargs="?",
                        help="a folder, whose *.py files are indexed, or a file (default: the "
                             "standard library of the running Python)")
    parser.add_argument("--json", action="store_true", help="print the outcome as one JSON object")
    parser.epilog = ("Exit status: 0; 1 if no thread or process can be started, or the outcome "
                     "cannot be printed; 2 for wrong arguments, or if there is nothing to index; "
                     "130 after Ctrl-C.")


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
    from argparse import REMAINDER, SUPPRESS

    parser.usage = "%(prog)s [-h] (SCRIPT | -m MODULE) [ARGUMENT ...]"
    parser.description = ("Run a program that was written for atasker, as python would, with every "
                          "import of atasker resolved to this library, in its pool processes as "
                          "well. SCRIPT is a file, or a folder or archive that holds a "
                          "__main__.py. -m MODULE runs a module or package, as python -m would.")
    parser.epilog = ("Exit status: that of the program; 2 if there is no such program, or for "
                     "wrong arguments.")
    # Each takes the rest of the command line: the arguments after the name are the program's.
    # argparse would list both as "...", so the description explains them.
    parser.add_argument("-m", dest="module", nargs=REMAINDER, metavar="MODULE", help=SUPPRESS)
    parser.add_argument("script", nargs=REMAINDER, metavar="SCRIPT", help=SUPPRESS)


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
            _print_error(f"{_program()} exec: {error}")
            raise SystemExit(2) from None

    return program_alone


def _send_arguments(parser: ArgumentParser) -> None:
    parser.description = ("Send a task to a service, wait for its end, and print its result as "
                          "JSON.")
    parser.epilog = ("Exit status: 0; 1 if the task failed, the service is not there, or the "
                     "timeout is over; 2 if the service refused the task, or for wrong arguments; "
                     "130 after Ctrl-C.")
    parser.add_argument("address", metavar="ADDRESS",
                        help="the address of the service: a path such as ./lab.sock, or a host and "
                             "a port such as 127.0.0.1:8500")
    parser.add_argument("type", metavar="TYPE", help="the type of the task")
    parser.add_argument("fields", metavar="KEY=VALUE", nargs="*", default=[],
                        help="the fields of the task; a value that is JSON is read as JSON, "
                             "another one as a string")
    parser.add_argument("--target", metavar="NAME",
                        help="the name of the service, which refuses the task if it has another "
                             "name")
    parser.add_argument("--priority", metavar="NUMBER", type=int,
                        help="lower runs first (default: that of the task's type)")
    parser.add_argument("--timeout", metavar="SECONDS", type=float,
                        help="the time to wait at most; the task goes on")
    parser.add_argument("--no-wait", action="store_true",
                        help="print the id of the task once it is accepted, and do not wait")
    parser.add_argument("--token-file", metavar="FILE",
                        help="a file with the token, over TCP (default: the variable "
                             "ATASKER_LIKE_TOKEN); other users could read it on a command line")


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
            raise CommandError(f"{field!r} is not a field; write KEY=VALUE, such as qubit=3")
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
            answer: Any = client.send(arguments.type, fields, target=arguments.target,
                                      priority=arguments.priority, wait=not arguments.no_wait,
                                      timeout=arguments.timeout)
        print(answer.task_id if arguments.no_wait else dumps(answer.result))
    except TaskExecutionError as error:
        raise CommandError(f"the task failed\n{error.traceback.rstrip() or error}",
                           status=1) from None
    except (TaskRefusedError, InvalidArgumentError) as error:
        raise CommandError(str(error)) from None
    except (ServiceConnectionError, WaitTimeoutError) as error:
        raise CommandError(str(error), status=1) from None
    finally:
        task_supervisor.stop(wait=1)
    return 0


def _help_arguments(parser: ArgumentParser) -> None:
    parser.description = "Show the help of a command, as COMMAND --help does."
    parser.epilog = "Exit status: 0; 2 if there is no such command."
    parser.add_argument("topic", metavar="COMMAND", nargs="?",
                        help="the command (default: show the list of commands)")


def _help(arguments: Namespace) -> int:
    parser, commands = _parsers(_program())
    if arguments.topic is not None:
        _check_command(arguments.topic)
        parser = commands[arguments.topic]
    parser.print_help()
    return 0


def _completion_arguments(parser: ArgumentParser) -> None:
    from ._completion import SHELLS

    parser.description = ("Print a script that completes the command line of atasker-like in a "
                          "shell.")
    parser.epilog = ("In bash and zsh, put this line into the startup file of the shell: eval "
                     "\"$(atasker-like completion SHELL)\". In fish: atasker-like completion "
                     "fish > ~/.config/fish/completions/atasker-like.fish. Exit status: 0; 2 for "
                     "wrong arguments.")
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=" or ".join(SHELLS))


def _completion(arguments: Namespace) -> int:
    from ._completion import script

    parser, commands = _parsers("atasker-like")
    summaries = {name: command.summary for name, command in COMMANDS.items()}
    print(script(arguments.shell, parser, commands, summaries), end="")
    return 0


COMMANDS: dict[str, Command] = {
    "completion": Command("print a script that completes command lines in bash, zsh or fish",
                          _completion_arguments, _completion),
    "demo": Command("index source files with threads and processes, and show how it went",
                    _demo_arguments, _demo),
    "exec": Command("run a program that was written for atasker", _exec_arguments, _exec),
    "help": Command("show the help of a command", _help_arguments, _help),
    "send": Command("send a task to a service, and print its result", _send_arguments, _send),
}


# -- the command line --------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Run a command line and return its exit status.

    It is 0, 1 for a failure, 2 for wrong arguments, 130 after Ctrl-C.

    :param argv: the arguments (default: those of the process).
    :raises SystemExit: as argparse does, after ``--help`` and ``--version`` and for wrong
        arguments.
    """
    _occupy_standard_streams()
    name = _program()
    try:
        words = sys.argv[1:] if argv is None else argv
        parser, commands = _parsers(name)
        # The options before the command take no values, so the first word is the command.
        for word in words:
            if not word.startswith("-"):
                _check_command(word)
                break
        arguments, others = parser.parse_known_args(words)
        if arguments.command == "send" and not any(other.startswith("-") for other in others):
            arguments.fields += others      # argparse parses those before the first option only
        elif others:
            command = commands.get(arguments.command, parser)
            command.error(f"unrecognized arguments: {' '.join(others)}"
                          f"{_nearest_option(command, others)}")
        if arguments.command is None:
            parser.print_help(sys.stderr)
            return 2
        name = f"{name} {arguments.command}"
        outcome = COMMANDS[arguments.command].run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()      # here, where a failure can be reported
    except CommandError as error:
        _print_error(f"{name}: {error}")
        return error.status
    except KeyboardInterrupt:
        _print_error(f"{name}: interrupted")
        return _INTERRUPTED
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            _print_error(f"{name}: {error}")
        _discard_stdout()
        return 1
    if isinstance(outcome, int):
        return outcome
    outcome()               # a program of the user's: the interpreter shows what it raises
    return 0


def _program() -> str:
    script = os.path.basename(sys.argv[0] if sys.argv else "")
    return "atasker-like" if script.startswith("atasker-like") else "python -m atasker_like"


def _parsers(name: str) -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    """Return the parser of the command line, and that of each command."""
    from argparse import ArgumentParser

    from . import __version__

    parser = ArgumentParser(
        name, description="Run tasks in threads, processes and coroutines, in order of priority.",
        epilog="Exit status: 0; 1 after a failure; 2 for wrong arguments; 130 after Ctrl-C. "
               "'help COMMAND' tells more.")
    parser.add_argument("--version", action="version", version=f"atasker-like {__version__}",
                        help="show the version and exit")
    group = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    commands = {}
    for command, (summary, add_arguments, _) in COMMANDS.items():
        commands[command] = group.add_parser(command, help=summary)
        add_arguments(commands[command])
    return parser, commands


def _check_command(word: str) -> None:
    if word not in COMMANDS:
        from ._checks import nearest

        hint = nearest(word, COMMANDS, f"the commands are {', '.join(COMMANDS)}")
        raise CommandError(f"there is no command {word!r}; {hint}")


def _nearest_option(parser: ArgumentParser, words: list[str]) -> str:
    """Return a question with the option that is nearest to the first unknown one, if any."""
    from re import findall

    from ._checks import nearest

    options = findall(r"--[\w-]+", parser.format_help())
    unknown = [word.partition("=")[0] for word in words if word.startswith("--")]
    hint = nearest(unknown[0], options, "") if unknown else ""
    return f"; {hint}" if hint else ""


def _print_error(message: str) -> None:
    """Write a line to stderr, if it is open."""
    try:
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass


def _occupy_standard_streams() -> None:
    """Open the null device as each standard stream that is closed.

    Otherwise a file that is opened later gets its number, and a message of the C library or of a
    pool process to stderr might go into a pipe of the package.
    """
    try:
        while True:
            number = os.open(os.devnull, os.O_RDWR)
            if number > 2:
                os.close(number)
                break
            os.set_inheritable(number, True)
        if sys.stderr is None:
            sys.stderr = open(os.devnull, "w", encoding="utf-8")   # argparse needs one
    except OSError:         # there is no such device, or no file can be opened
        pass


def _discard_stdout() -> None:
    """Discard the buffer of stdout, whose pipe is closed, so that the exit prints no message."""
    try:
        number = sys.stdout.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):
        pass
