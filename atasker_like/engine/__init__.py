"""What a task is, and when it may run.

Nothing here starts a thread but the timer.
"""
