import argparse
import os
import subprocess
import sys

import pytest

import atasker_like
from atasker_like import cli
from tests.support import PROGRAM_PATIENCE

ROOT = os.path.dirname(os.path.dirname(atasker_like.__file__))


@pytest.fixture
def command(monkeypatch):
    """Puts a function in the place of a subcommand named ``probe``; it gets the arguments."""
    def install(function):
        def add_arguments(parser):
            parser.add_argument("--number", type=int, default=0)

        monkeypatch.setitem(cli.COMMANDS, "probe",
                            cli.Command("for the test", add_arguments, function))

    return install


def run(*arguments, **options):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, timeout=PROGRAM_PATIENCE,
                          stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, **options)


# -- what is asked for -----------------------------------------------------------------------------


def test_without_a_command_the_help_on_stderr(capsys):
    assert cli.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: python -m atasker_like ")
    for name, command in cli.COMMANDS.items():
        assert name in err
        assert command.summary.split()[0] in err


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"]])
def test_help_on_stdout(capsys, arguments):
    with pytest.raises(SystemExit) as raised:
        cli.main(arguments)
    out, err = capsys.readouterr()
    assert (raised.value.code, err) == (0, "")
    assert out.startswith("usage: ")


def test_option_version_prints_the_version(capsys):
    with pytest.raises(SystemExit) as raised:
        cli.main(["--version"])
    assert raised.value.code == 0
    assert capsys.readouterr().out == f"atasker-like {atasker_like.__version__}\n"


@pytest.mark.parametrize("arguments", [["--no-such-option"], ["demo", "--no-such-option"],
                                       ["demo", "one", "two"]])
def test_what_does_not_exist(capsys, arguments):
    with pytest.raises(SystemExit) as raised:
        cli.main(arguments)
    out, err = capsys.readouterr()
    assert (raised.value.code, out) == (2, "")
    assert "error: " in err


@pytest.mark.parametrize("arguments, message", [
    (["dmo"], "there is no command 'dmo'; did you mean 'demo'?"),
    (["--version", "sned", "x"], "there is no command 'sned'; did you mean 'send'?"),
    (["help", "exce"], "there is no command 'exce'; did you mean 'exec'?"),
    (["qqq"], "there is no command 'qqq'; the commands are completion, demo, exec, help, send"),
])
def test_command_that_does_not_exist_is_answered_with_the_nearest(capsys, arguments, message):
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.partition(": ")[2]) == ("", message + "\n")


@pytest.mark.parametrize("arguments, message", [
    (["demo", "--jsno"], "unrecognized arguments: --jsno; did you mean '--json'?"),
    (["send", "a", "b", "--no-wiat"],
     "unrecognized arguments: --no-wiat; did you mean '--no-wait'?"),
    (["demo", "--qqq"], "unrecognized arguments: --qqq"),
])
def test_option_that_does_not_exist_is_answered_with_the_nearest(capsys, arguments, message):
    with pytest.raises(SystemExit) as raised:
        cli.main(arguments)
    assert raised.value.code == 2
    assert capsys.readouterr().err.endswith(f" {arguments[0]}: error: {message}\n")


def test_send_without_a_type_names_only_what_is_required(capsys):
    with pytest.raises(SystemExit):
        cli.main(["send", "./lab.sock"])
    assert capsys.readouterr().err.endswith(
        "error: the following arguments are required: TYPE\n")


@pytest.mark.parametrize("name", ["", *cli.COMMANDS])
def test_help_of_a_command_is_that_of_its_option(capsys, name):
    with pytest.raises(SystemExit):
        cli.main([name, "--help"] if name else ["--help"])
    text = capsys.readouterr().out
    assert cli.main(["help", name] if name else ["help"]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize("name", ["", *cli.COMMANDS])
def test_help_of_a_command_documents_its_exit_status(capsys, name):
    cli.main(["help", name] if name else ["help"])
    assert " Exit status: " in " " + " ".join(capsys.readouterr().out.split())


def test_help_of_exec_explains_both_ways_to_name_a_program(capsys):
    cli.main(["help", "exec"])
    text = " ".join(capsys.readouterr().out.split())
    assert "exec [-h] (SCRIPT | -m MODULE) [ARGUMENT ...]" in text
    assert "-m MODULE runs a module or package, as python -m would." in text


@pytest.mark.parametrize("script, name", [
    ("/usr/bin/atasker-like", "atasker-like"), ("C:\\bin\\atasker-like-script.py", "atasker-like"),
    ("/somewhere/atasker_like/__main__.py", "python -m atasker_like"),
    ("pytest", "python -m atasker_like"),
    ("", "python -m atasker_like"),
])
def test_the_name_is_what_was_typed(monkeypatch, capsys, script, name):
    if "\\" in script and os.sep != "\\":
        script = script.rpartition("\\")[2]
    monkeypatch.setattr(sys, "argv", [script])
    assert cli.main([]) == 2
    assert capsys.readouterr().err.startswith(f"usage: {name} ")


def test_a_command_gets_its_arguments_and_gives_the_status(command):
    given = []

    def probe(arguments):
        given.append(arguments)
        return arguments.number

    command(probe)
    assert cli.main(["probe"]) == 0
    assert cli.main(["probe", "--number", "7"]) == 7
    assert [type(arguments) for arguments in given] == [argparse.Namespace] * 2


def test_the_arguments_of_the_process_by_default(monkeypatch, command):
    command(lambda arguments: arguments.number)
    monkeypatch.setattr(sys, "argv", ["atasker-like", "probe", "--number", "3"])
    assert cli.main() == 3


# -- how it ends -----------------------------------------------------------------------------------


def ends(capsys, command, error):
    def probe(arguments):
        raise error

    command(probe)
    status = cli.main(["probe"])
    out, err = capsys.readouterr()
    assert out == ""
    return status, err


def test_a_refusal_is_one_line(capsys, command):
    assert ends(capsys, command, cli.CommandError("there is none; make one")) == (
        2, "python -m atasker_like probe: there is none; make one\n")
    assert ends(capsys, command, cli.CommandError("it broke", status=1)) == (
        1, "python -m atasker_like probe: it broke\n")


def test_ctrl_c_is_one_line(capsys, command):
    assert (ends(capsys, command, KeyboardInterrupt())
            == (130, "python -m atasker_like probe: " "interrupted\n"))


def test_a_reader_that_goes_away_is_no_news(capsys, command):
    assert ends(capsys, command, BrokenPipeError(32, "Broken pipe")) == (1, "")


def test_stdout_that_cannot_be_written_is_one_line(capsys, command):
    assert ends(capsys, command, OSError(28, "No space left on device")) == (
        1, "python -m atasker_like probe: [Errno 28] No space left on device\n")


def test_an_error_of_ours_keeps_its_traceback(command):
    def probe(arguments):
        raise LookupError("a bug")

    command(probe)
    with pytest.raises(LookupError):
        cli.main(["probe"])


# -- as a process ----------------------------------------------------------------------------------


def test_importing_it_imports_no_command_and_no_argparse():
    done = run("-c", "import sys; before = set(sys.modules); import atasker_like.cli; "
                     "print(sorted(set(sys.modules) - before - {'__future__'}))")
    assert done.stderr == ""
    new = set(eval(done.stdout))
    assert {"atasker_like", "atasker_like.cli"} <= new
    assert not {name for name in new if name.startswith("atasker_like.")} - {"atasker_like.cli"}
    assert not new & {"argparse", "asyncio", "multiprocessing", "json", "threading", "logging"}


def test_python_m_prints_the_version():
    done = run("-m", "atasker_like", "--version")
    assert ((done.returncode, done.stdout, done.stderr)
            == (0, "atasker-like " f"{atasker_like.__version__}\n", ""))


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes streams")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_occupied(closed):
    script = ("import os, sys; from atasker_like.cli import _occupy_standard_streams; "
              "_occupy_standard_streams(); "
              "new = os.open(os.devnull, os.O_RDONLY); "
              "sys.exit(40 + (new > 2) + (sys.stderr is not None) + all(map(os.get_inheritable, "
              "(0, 1, 2))))")
    done = subprocess.run(["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, script],
                          cwd=ROOT,
                          timeout=PROGRAM_PATIENCE)
    assert done.returncode == 43


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes streams")
@pytest.mark.parametrize("arguments", ["--no-such-option", "", "demo /no/such/folder"])
def test_the_status_with_stderr_closed(arguments):
    done = subprocess.run(["sh", "-c", f'exec "$0" -m atasker_like {arguments} 2>&-',
                           sys.executable], cwd=ROOT,
                          timeout=PROGRAM_PATIENCE, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (2, b"")
