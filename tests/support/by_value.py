"""A serializer that carries lambdas and closures by value, as cloudpickle does."""
import io
import marshal
import pickle
import types


class _Pickler(pickle.Pickler):
    def reducer_override(self, thing):
        if type(thing) is types.FunctionType and "<" in thing.__qualname__:
            cells = [cell.cell_contents for cell in thing.__closure__ or ()]
            return rebuild, (marshal.dumps(thing.__code__), thing.__module__, cells)
        return NotImplemented


def rebuild(code, module, cells):
    names = __import__(module, fromlist=["x"]).__dict__
    return types.FunctionType(marshal.loads(code), names, "<rebuilt>", None,
                              tuple(types.CellType(value) for value in cells))


def dumps(value, protocol=5, buffer_callback=None):
    file = io.BytesIO()
    _Pickler(file, protocol, buffer_callback=buffer_callback).dump(value)
    return b"by value: " + file.getvalue()


def loads(data, buffers=()):
    assert bytes(data).startswith(b"by value: ")
    return pickle.loads(data[10:], buffers=buffers)
