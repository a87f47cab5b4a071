"""Functions that take long, in the place of those of an application."""
import time


def write(number):
    time.sleep(1)
    print("written", number)


def count(number):
    return sum(range(number * 1_000_000))


def add_up(number):
    return number + 1
