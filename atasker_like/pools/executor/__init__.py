"""The pool over an executor of the application, in the position of the process pool."""
