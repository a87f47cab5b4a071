"""Count the words of many files: with retries, progress and a checkpoint."""
import collections
import pathlib
import re
import sys

from atasker_like import Checkpoint, ProcessQueue, TaskOptions

OPTIONS = TaskOptions(timeout=30, retries=2, retry_delay=0.1, retry_on=OSError)


def count_words(path):
    text = pathlib.Path(path).read_text(encoding="utf-8")
    return collections.Counter(re.findall(r"[a-z]+", text.lower()))


def main(folder, checkpoint_path):
    paths = [str(path) for path in sorted(pathlib.Path(folder).glob("*.txt"))]
    queue = ProcessQueue(workers=2)
    with Checkpoint(checkpoint_path) as checkpoint:
        queue.map(count_words, paths, opts=OPTIONS, checkpoint=checkpoint)
        summary = queue.run(progress=True)
    total = sum(summary.values, collections.Counter())
    print(len(total), "words in", summary.succeeded, "files")
    for path, result in zip(paths, summary):
        if result.status == "failed":
            print("failed:", pathlib.Path(path).name, "attempts:", result.attempts)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
