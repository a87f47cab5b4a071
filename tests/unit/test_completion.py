"""The scripts that complete command lines, as their shells run them."""
import shutil
import subprocess

import pytest

from atasker_like import cli
from tests.support import PROGRAM_PATIENCE

SHELLS = ("bash", "zsh", "fish")

pytestmark = pytest.mark.slow

COMPLETED = [
    ("", ["completion", "demo", "exec", "help", "send"]),
    ("d", ["demo"]),
    ("completion ", ["bash", "fish", "zsh"]),
    ("help s", ["send"]),
    ("demo --", ["--help", "--json"]),
    ("demo fi", ["file.py"]),
    ("send --t", ["--target", "--timeout", "--token-file"]),
    ("send --token-file fi", ["file.py"]),
    ("send --target ", []),
    ("exec fi", ["file.py"]),
]


def script(shell, capsys):
    assert cli.main(["completion", shell]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def run(shell, program, folder):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    (folder / "file.py").touch()
    done = subprocess.run([shell, "-c", program], cwd=str(folder), timeout=PROGRAM_PATIENCE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
                          stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, "")
    return sorted(line.split("\t")[0].rstrip("/") for line in done.stdout.splitlines() if line)


@pytest.mark.parametrize("line, words", COMPLETED)
def test_script_for_bash_completes_a_line(capsys, tmp_path, line, words):
    before = " ".join(f"'{word}'" for word in line.split(" "))
    found = run("bash", f"{script('bash', capsys)}\nCOMP_WORDS=(atasker-like {before})\n"
                        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n"
                        "_atasker_like\nprintf '%s\\n' \"${COMPREPLY[@]}\"", tmp_path)
    assert [word for word in found if line or not word.startswith("-")] == words


@pytest.mark.parametrize("line, words", COMPLETED)
def test_script_for_fish_completes_a_line(capsys, tmp_path, line, words):
    assert run("fish", f"{script('fish', capsys)}\ncomplete -C 'atasker-like {line}'",
               tmp_path) == words


def test_script_for_bash_counts_no_value_of_an_option_as_an_argument(capsys, tmp_path):
    words = "send --target lab fi"
    found = run("bash", f"{script('bash', capsys)}\nCOMP_WORDS=(atasker-like {words})\n"
                        "COMP_CWORD=4\n_atasker_like\nprintf '%s\\n' \"${COMPREPLY[@]}\"", tmp_path)
    assert found == ["file.py"]


def test_script_for_zsh_is_read_without_an_error(capsys, tmp_path):
    read = ("autoload -Uz compinit; compinit -u -D\n"
            f"{script('zsh', capsys)}\nprint ${{_comps[atasker-like]}}")
    assert run("zsh", read, tmp_path) == ["_atasker_like"]


@pytest.mark.parametrize("shell", SHELLS)
def test_script_names_every_command_and_option(capsys, shell):
    text = script(shell, capsys)
    dashes = "-l " if shell == "fish" else "--"
    for name in (*cli.COMMANDS, *(dashes + option for option in ("json", "no-wait", "token-file"))):
        assert name in text


def test_shell_that_has_no_script_is_refused(capsys):
    with pytest.raises(SystemExit) as raised:
        cli.main(["completion", "csh"])
    assert raised.value.code == 2
    assert "'csh'" in capsys.readouterr().err
