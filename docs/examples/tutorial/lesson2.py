"""Find the most common words of text files, in processes."""
import collections
import pathlib
import re
import sys

from atasker_like import TT_MP, background_task


@background_task
def read(path):
    return path.read_text(encoding="utf-8", errors="replace")


@background_task(tt=TT_MP, timeout=30)
def count_words(text):
    return collections.Counter(re.findall(r"[a-z]+", text.lower()))


def main(folder):
    paths = sorted(pathlib.Path(folder).glob("*.txt"))
    total = collections.Counter()
    for counts in count_words.map(read.map(paths)):
        total += counts
    for word, count in sorted(total.items(), key=lambda item: (-item[1], item[0]))[:3]:
        print(word, count)


if __name__ == "__main__":
    main(sys.argv[1])
