"""Count the words of text files, in threads."""
import pathlib
import sys

from atasker_like import background_task, wait_completed


@background_task
def count_words(path):
    return len(path.read_text(encoding="utf-8").split())


def main(folder):
    paths = sorted(pathlib.Path(folder).glob("*.txt"))
    # submits all calls; some run at once
    tasks = [count_words(path) for path in paths]
    # in the order of the tasks
    counts = wait_completed(tasks)
    for path, task, count in zip(paths, tasks, counts):
        if count is None:
            print(path.name, "failed:", type(task.exception()).__name__)
        else:
            print(path.name, count)


if __name__ == "__main__":
    main(sys.argv[1])
