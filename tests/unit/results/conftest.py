import pytest

from atasker_like import MemoryBackend, SQLiteBackend


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "results.db")


@pytest.fixture
def make_backend(request):
    """Makes backends, with their arguments, that are closed at the end."""
    made = []

    def make(kind, *args, **kwargs):
        made.append(kind(*args, **kwargs))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


@pytest.fixture(params=["memory", "sqlite"])
def backend(request, path, make_backend):
    return make_backend(MemoryBackend) if request.param == "memory" else make_backend(SQLiteBackend,
                                                                                      path)


@pytest.fixture
def stored(supervisor, backend):
    """A supervisor whose results are kept."""
    supervisor.set_result_backend(backend)
    yield supervisor
    supervisor.stop(wait=10, cancel_tasks=True)
    supervisor.set_result_backend(None)
