"""``python3 -m atasker_like send``: a task from a shell."""
import json
import os
import subprocess
import sys

import pytest

import atasker_like
from atasker_like import cli, task_supervisor
from tests.support.scripts import without_late

ROOT = os.path.dirname(os.path.dirname(atasker_like.__file__))


@pytest.fixture
def send(lab, path, capsys, monkeypatch):
    """Sends in this process. The command uses the process's own supervisor, which goes on."""
    monkeypatch.delenv("ATASKER_LIKE_TOKEN", raising=False)
    with lab.serve(path):
        def run(*arguments, address=path):
            status = cli.main(["send", address, *arguments])
            task_supervisor.start()
            out, err = capsys.readouterr()
            return status, out, err

        yield run


def test_the_result_is_json(send):
    assert send("Add", "a=2") == (0, "3\n", "")
    assert send("Add", "a=2", "b=5", "--target", "lab", "--priority", "-3") == (0, "7\n", "")
    assert send("Add", "a=2", "--target", "lab", "b=5") == (0, "7\n", "")
    assert send("Add", "--target", "lab", "a=2", "b=5") == (0, "7\n", "")
    status, out, err = send("Give", 'value={"a": [1, null, "x"]}')
    assert (status, json.loads(out), err) == (0, {"a": [1, None, "x"]}, "")
    assert send("Give", "value=some text = here") == (0, '"some text = here"\n', "")
    assert send("Give", 'value="3"') == (0, '"3"\n', "")


def test_a_task_that_fails(send):
    status, out, err = send("Fail", "text=too bad")
    assert (status, out) == (1, "")
    assert err.startswith("python -m atasker_like send: the task failed\nTraceback")
    assert err.endswith("ValueError: too bad\n")


@pytest.mark.parametrize("arguments, said", [
    (["Add", "a=x"], "field a of Add takes an integer, not 'x'"),
    (["Add"], "field a of Add is missing"),
    (["Add", "a=1", "c=1"], "field c of Add is not a field of Add"),
    (["Sub", "a=1"], "handles no tasks of type 'Sub'"),
    (["Add", "a"], "'a' is not a field; write KEY=VALUE"), (["Add", "=1"], "'=1' is not a field"),
    (["Add", "a=1", "--target", "kitchen"], "this is service 'lab'"),
    (["Add", "a=1", "--token-file", "/nowhere/at/all"], "the token cannot be read"),
])
def test_what_is_refused_is_one_line_and_status_2(send, arguments, said):
    status, out, err = send(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err


@pytest.mark.parametrize("arguments",
                         [["--tagret", "lab"], ["-t", "b=2"], ["--priority", "1", "--wait"]])
def test_an_option_that_there_is_not(send, capsys, arguments):
    with pytest.raises(SystemExit) as refused:
        send("Add", "a=1", *arguments)
    assert refused.value.code == 2
    assert "unrecognized arguments" in capsys.readouterr().err


def test_send_without_a_service_fails_with_the_reason(send, tmp_path):
    status, out, err = send("Add", "a=1", address=str(tmp_path / "nothing.sock"))
    assert (status, out) == (1, "") and "cannot be reached" in err
    assert send("Add", "a=1", address="nonsense")[0] == 2


def test_without_waiting_the_id(send, crossing):
    status, out, err = send("Wait", "number=3", "--no-wait")
    assert (status, err) == (0, "") and out.strip()
    crossing.wait_begun(1)
    crossing.open()


def test_send_that_exceeds_its_timeout_fails(send, crossing):
    status, out, err = send("Wait", "--timeout", "0.01")
    assert (status, out) == (1, "") and "within 0.01 s" in err
    crossing.open()


@pytest.mark.parametrize("how", ["variable", "file"])
def test_send_takes_the_token_from_each_source(lab, send, how, monkeypatch, tmp_path):
    file = tmp_path / "token"
    file.write_text("correct horse\n")
    with lab.serve("127.0.0.1:0", token="correct horse") as server:
        assert send("Add", "a=1", address=server.address)[0] == 1
        if how == "variable":
            monkeypatch.setenv("ATASKER_LIKE_TOKEN", "correct horse")
            assert send("Add", "a=1", address=server.address)[:2] == (0, "2\n")
        else:
            done = send("Add", "a=1", "--token-file", str(file), address=server.address)
            assert done[:2] == (0, "2\n")


@pytest.mark.slow
def test_as_a_program(lab, path):
    with lab.serve(path):
        command = [sys.executable, "-m", "atasker_like", "send", path, "Add", "a=40", "b=2"]
        done = subprocess.run(command, cwd=ROOT, timeout=50, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, universal_newlines=True)
    assert (done.returncode, done.stdout, without_late(done.stderr)) == (0, "42\n", "")
