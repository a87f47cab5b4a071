"""The fault suite: every fault that the library must survive. README.rst describes it."""
