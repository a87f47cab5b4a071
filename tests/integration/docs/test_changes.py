"""The script that collects news fragments, and the fragments that there are."""
import importlib.util
import pathlib

import pytest

import atasker_like

ROOT = pathlib.Path(atasker_like.__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("collect_changes",
                                                  str(ROOT / "docs" / "collect_changes.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def root(tmp_path):
    """A folder with a change log and no fragment."""
    (tmp_path / "docs" / "changes").mkdir(parents=True)
    (tmp_path / "docs" / "changes" / "README.rst").write_text("News fragments\n")
    (tmp_path / "CHANGELOG.rst").write_text("Changes\n=======\n\n0.1.0\n-----\n\n- The first.\n")
    return tmp_path


def add(root, name, text):
    (root / "docs" / "changes" / name).write_text(text, encoding="utf-8")


def test_fragments_of_this_checkout_are_valid(script):
    assert script.main(["--check"]) == 0


def test_collecting_writes_the_section_and_removes_the_fragments(script, root):
    add(root, "lanes.fixed.rst", "A lane\nstarts again.\n")
    add(root, "lanes.2.fixed.rst", "A lane is closed once.")
    add(root, "queues.added.rst", "``ThreadQueue.run`` takes ``timeout``, é. " + "word " * 25)
    assert script.main(["0.2.0"], root) == 0
    assert (root / "CHANGELOG.rst").read_text(encoding="utf-8") == (
        "Changes\n=======\n\n"
        "0.2.0\n-----\n\n"
        "Added\n~~~~~\n\n"
        "- ``ThreadQueue.run`` takes ``timeout``, é." + 11 * " word" + "\n " + 14 * " word" + "\n\n"
        "Fixed\n~~~~~\n\n"
        "- A lane is closed once.\n"
        "- A lane starts again.\n\n"
        "0.1.0\n-----\n\n- The first.\n")
    assert [path.name for path in (root / "docs" / "changes").iterdir()] == ["README.rst"]


def test_collecting_again_adds_to_the_section_of_the_version(script, root):
    add(root, "lanes.fixed.rst", "A lane starts again, and " + "so on, " * 20 + "until it stops.")
    assert script.main(["0.2.0"], root) == 0
    add(root, "pools.fixed.rst", "A pool starts again.")
    add(root, "pools.added.rst", "Pools.")
    assert script.main(["0.2.0"], root) == 0
    log = (root / "CHANGELOG.rst").read_text(encoding="utf-8")
    assert log.count("0.2.0") == log.count("A lane starts again") == log.count("Fixed") == 1
    assert log.index("Added") < log.index("- Pools.") < log.index("Fixed")
    assert log.index("- A lane") < log.index("- A pool") < log.index("0.1.0\n-----\n\n- The first.")


def test_a_draft_is_printed_and_changes_nothing(script, root, capsys):
    add(root, "lanes.faster.rst", "Lanes are faster.")
    before = (root / "CHANGELOG.rst").read_text()
    assert script.main(["--draft", "0.2.0"], root) == 0
    assert "Faster\n~~~~~~\n\n- Lanes are faster.\n" in capsys.readouterr().out
    assert (root / "CHANGELOG.rst").read_text() == before
    assert (root / "docs" / "changes" / "lanes.faster.rst").exists()


@pytest.mark.parametrize("name, text, message", [
    ("lanes.rst", "Lanes.", "named <topic>.<kind>.rst"),
    ("lanes.broken.rst", "Lanes.", "one of incompatible, added"),
    ("Lanes.fixed.rst", "Lanes.", "named <topic>.<kind>.rst"),
    ("lanes.fixed.txt", "Lanes.", "named <topic>.<kind>.rst"),
    ("lanes.fixed.rst", " \n", "is empty"),
    ("lanes.fixed.rst", "- Lanes.", "no dash"),
])
def test_a_wrong_fragment_is_refused_and_the_log_stays(script, root, capsys, name, text, message):
    add(root, name, text)
    before = (root / "CHANGELOG.rst").read_text()
    assert script.main(["0.2.0"], root) == 1
    assert name in capsys.readouterr().err.replace("\n", " ")
    assert script.main(["--check"], root) == 1
    assert message in capsys.readouterr().err
    assert (root / "CHANGELOG.rst").read_text() == before


def test_a_release_without_fragments_is_refused(script, root, capsys):
    assert script.main(["0.2.0"], root) == 1
    assert "no fragment" in capsys.readouterr().err
