"""The contract of backends, over every one there is."""
import os
import threading
import unittest

import pytest

from atasker_like import MemoryBackend, SQLiteBackend
from atasker_like.testing import BackendContract
from tests.support.internals.result import lock_of_backend, texts_of


class TestMemory(BackendContract):
    lasting = False

    def make_backend(self, **options):
        return MemoryBackend(**options)


class TestSQLite(BackendContract):
    @pytest.fixture(autouse=True)
    def place(self, tmp_path):
        self.path = tmp_path / "results.db"

    def make_backend(self, **options):
        return SQLiteBackend(self.path, **options)


def test_the_contract_is_one_for_unittest_too():
    class Memory(BackendContract, unittest.TestCase):
        lasting = False

        def make_backend(self, **options):
            return MemoryBackend(**options)

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Memory).run(result)
    assert result.testsRun > 15 and result.wasSuccessful()


class Broken(MemoryBackend):
    """A backend with one defect, by name."""

    defect = ""

    def write(self, entries):
        if self.defect == "writes only the first":
            entries = entries[:1]
        if self.defect == "keeps the first text":
            entries = [(task_id, text)
                       for task_id, text in entries if MemoryBackend.read(self, task_id) is None]
        if self.defect == "ids in lower case":
            entries = [(task_id.lower(), text) for task_id, text in entries]
        MemoryBackend.write(self, entries)

    def read(self, task_id):
        if self.defect == "empty text for nothing":
            return MemoryBackend.read(self, task_id) or ""
        if self.defect == "never expires" and task_id in texts_of(self):
            return texts_of(self)[task_id][0]
        return MemoryBackend.read(self, task_id)

    def delete(self, task_id):
        if self.defect == "deletes by pattern":
            for key in list(texts_of(self)):
                if task_id.endswith("%") and key.startswith(task_id[:-1]):
                    del texts_of(self)[key]
        if self.defect == "deletes silently":
            MemoryBackend.delete(self, task_id)
            return True
        return MemoryBackend.delete(self, task_id)

    def keys(self):
        if self.defect == "lists what it has forgotten":
            return list(texts_of(self))
        found = MemoryBackend.keys(self)
        if self.defect == "lists ids twice":
            return found * 2
        return found[:1000] if self.defect == "lists the first" else found

    def close(self):
        if self.defect == "closed for good":
            self.write = None


@pytest.mark.parametrize("defect", ["writes only the first", "keeps the first text",
                                    "ids in lower case", "empty text for nothing",
                                    "never expires", "deletes by pattern", "deletes silently",
                                    "closed for good",
                                    "lists what it has forgotten", "lists ids twice",
                                    "lists the first"])
def test_the_contract_finds_what_is_wrong(defect):
    class Contract(BackendContract):
        lasting = False

        def make_backend(self, **options):
            backend = Broken(**options)
            backend.defect = defect
            return backend

    with pytest.raises((AssertionError, TypeError)):
        Contract.run_all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_fork_while_another_thread_is_in_the_memory():
    backend = MemoryBackend()
    backend.write([("parent", "1")])
    inside, go = threading.Event(), threading.Event()

    def hold():
        with lock_of_backend(backend):
            inside.set()
            assert go.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(30)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            if lock_of_backend(backend).acquire(timeout=0):
                lock_of_backend(backend).release()
                backend.write([("child", "1")])
                code = 0 if backend.read("parent") == backend.read("child") == "1" else 2
        finally:
            os._exit(code)
    go.set()
    holder.join(30)
    assert os.waitpid(pid, 0)[1] == 0
    assert backend.read("child") is None
