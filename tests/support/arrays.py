"""An array whose elements leave the pickle out of band, as those of NumPy do."""
import pickle

#: More than the size from which on buffers cross in shared memory.
LARGE = 3_000_000


class Array:
    def __init__(self, data):
        self.data = data

    def __reduce_ex__(self, protocol):
        return Array, (pickle.PickleBuffer(self.data),)


def large(value=1, size=LARGE):
    return Array(bytearray(bytes([value])) * size)


def look(array):
    """The length, and the elements at both ends."""
    return len(array.data), array.data[0], array.data[-1]


def overwrite(array, value):
    """What is there before the first element gets another value."""
    before = array.data[0]
    array.data[0] = value
    return before


def give_back(array):
    array.data[0] = 42
    return array


def shared_back(value):
    from atasker_like import shared

    return shared(large(value))


def kind_of(array):
    return memoryview(array.data).readonly


def look_at_all(arrays):
    return [look(array) for array in arrays]


_kept = []


def keep(array):
    """Keep an array in this process. Return how many it keeps."""
    _kept.append(array)
    return len(_kept)


def all_kept():
    return [look(array) for array in _kept]
