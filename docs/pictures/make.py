"""Draw the pictures of the documentation as SVG files next to this script.

    python3 docs/pictures/make.py           write the files
    python3 docs/pictures/make.py demo      run the demo, and write its screen

Lines and text have the colour of the text around a picture, so that it fits light and dark pages.
"""
import pathlib
import re
import subprocess
import sys
from xml.sax.saxutils import escape

HERE = pathlib.Path(__file__).resolve().parent

HEAD = ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'style="width:100%;max-width:{width}px;height:auto" font-family="sans-serif" '
        'font-size="14" fill="none" stroke="currentColor">\n'
        '<title>{title}</title>\n'
        '<defs><marker id="{name}-arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
        'markerHeight="8" orient="auto-start-reverse"><path d="M0 0 L10 5 L0 10 z" '
        'fill="currentColor" stroke="none"/></marker></defs>\n')


def folded(svg):
    """Return an SVG file with the attributes of long lines in lines of their own."""
    return "\n".join(line if len(line) <= 100 else
                     re.sub("<[^>]+>", lambda tag: tag.group().replace('" ', '"\n'), line)
                     for line in svg.split("\n"))


class Picture:
    """An SVG picture with boxes, texts and arrows."""

    def __init__(self, name, title, width, height):
        self.name = name
        self._parts = [HEAD.format(name=name, title=escape(title), width=width, height=height)]

    def text(self, x, y, text, anchor="middle", weight="normal"):
        self._parts.append('<text x="{}" y="{}" text-anchor="{}" font-weight="{}" stroke="none" '
                           'fill="currentColor">{}</text>\n'
                           .format(x, y, anchor, weight, escape(text)))

    def box(self, x, y, width, height, *lines, **options):
        dashed = ' stroke-dasharray="5 4"' if options.get("dashed") else ""
        self._parts.append('<rect x="{}" y="{}" width="{}" height="{}" rx="6"{}/>\n'
                           .format(x, y, width, height, dashed))
        top = y + height / 2 + 5 - 9 * (len(lines) - 1)
        for number, line in enumerate(lines):
            self.text(x + width / 2, top + 18 * number, line,
                      weight="bold" if number == 0 and len(lines) > 1 else "normal")

    def arrow(self, *points, **options):
        label = options.get("label")
        path = " ".join("{} {}".format(*point) for point in points)
        self._parts.append('<path d="M{}" marker-end="url(#{}-arrow)"/>\n'.format(path, self.name))
        if label:
            x, y = options["at"]
            self.text(x, y, label, anchor=options.get("anchor", "middle"))

    def __str__(self):
        return folded("".join(self._parts) + "</svg>\n")


def choice():
    picture = Picture("choice", "Choose thread, process or event loop", 680, 300)
    picture.text(50, 37, "Begin here")
    picture.arrow((96, 32), (156, 32))
    picture.box(156, 10, 240, 44, "Is the function async def?")
    picture.arrow((396, 32), (490, 32), label="yes", at=(440, 26))
    picture.box(490, 6, 180, 52, "event loop", "@background_task")
    picture.arrow((276, 54), (276, 84), label="no", at=(292, 74))
    picture.box(156, 84, 240, 44, "Must it be ended by force?")
    picture.arrow((396, 106), (490, 106), label="yes", at=(440, 100))
    picture.box(490, 84, 180, 118, "process", "tt=TT_MP")
    picture.arrow((276, 128), (276, 158), label="no", at=(292, 148))
    picture.box(156, 158, 240, 44, "Does it compute in Python?")
    picture.arrow((396, 180), (490, 180), label="yes", at=(440, 174))
    picture.arrow((276, 202), (276, 240), label="no", at=(292, 226))
    picture.box(156, 240, 240, 52, "thread", "@background_task")
    return picture


def life():
    picture = Picture("life", "The life of a task", 680, 260)
    picture.text(24, 124, "call")
    picture.arrow((44, 119), (90, 119))
    picture.box(90, 92, 110, 54, "QUEUED", "pending")
    picture.arrow((200, 119), (310, 119), label="a slot is free", at=(255, 112))
    picture.box(310, 92, 110, 54, "STARTED", "running")
    picture.arrow((420, 119), (540, 119), label="the function ends", at=(480, 112))
    picture.box(540, 92, 134, 54, "COMPLETED", "succeeded, failed")
    picture.box(180, 200, 150, 54, "DELAYED", "pending, retrying")
    picture.arrow((120, 146), (120, 227), (180, 227), label="delay", at=(98, 190))
    picture.arrow((190, 200), (190, 146), label="its time", at=(222, 178))
    picture.arrow((365, 146), (365, 227), (330, 227), label="failed, retries left",
                  at=(375, 190), anchor="start")
    picture.box(310, 6, 110, 54, "CANCELED", "cancelled")
    picture.arrow((145, 92), (145, 33), (310, 33), label="cancel()", at=(220, 26))
    picture.arrow((365, 92), (365, 60))
    return picture


def slots():
    picture = Picture("slots", "A pool with reserves and lanes", 680, 270)
    picture.text(10, 22, "Waiting tasks", anchor="start", weight="bold")
    picture.box(10, 34, 150, 40, "lane: 2 at once", dashed=True)
    picture.box(10, 84, 150, 40, "lane: 100 a second", dashed=True)
    picture.box(10, 134, 150, 40, "no lane", dashed=True)
    for y, end in ((54, 90), (104, 104), (154, 118)):
        picture.arrow((160, y), (220, end))
    picture.box(220, 74, 130, 60, "run queue", "by priority")
    picture.arrow((350, 104), (400, 104))
    picture.text(400, 22, "Slots of the pool", anchor="start", weight="bold")
    for number in range(8):
        picture.box(400 + 22 * number, 84, 18, 40)
    for number in range(2):
        picture.box(584 + 22 * number, 84, 18, 40, dashed=True)
    for number in range(2):
        picture.box(634 + 22 * number, 84, 18, 40, dashed=True)
    for y, end, name in ((154, 574, "LOW"), (186, 624, "NORMAL"), (218, 674, "HIGH")):
        picture.arrow((400, y), (end, y))
        picture.text(400, y + 18, name, anchor="start")
    picture.text(400, 72, "pool_size=8", anchor="start")
    picture.text(674, 54, "reserve_normal=2", anchor="end")
    picture.text(674, 72, "reserve_high=2", anchor="end")
    picture.text(400, 262, "CRITICAL starts at once, in a thread", anchor="start")
    return picture


def stop():
    picture = Picture("stop", "The stages of stop()", 680, 190)
    stages = (("1", "workers", "finish items"), ("2", "new tasks", "are refused"),
              ("3", "delayed tasks", "are cancelled"), ("4", "other tasks", "finish"),
              ("5", "threads and", "processes end"))
    for number, lines in enumerate(stages):
        x = 6 + 136 * number
        picture.box(x, 40, 116, 76, *lines)
        if number < 4:
            picture.arrow((x + 116, 78), (x + 136, 78))
    picture.text(6, 22, "task_supervisor.stop(wait=30)", anchor="start", weight="bold")
    picture.arrow((6, 140), (530, 140))
    picture.text(268, 160, "at most wait= seconds")
    picture.arrow((550, 140), (666, 140))
    picture.text(608, 160, "at most 2.5 s")
    picture.text(268, 182, "When the time is over, queued tasks are cancelled and processes end.")
    return picture


def service():
    picture = Picture("service", "A service and its clients", 680, 230)
    for y, name, kind in ((20, "program", "SyncClient"), (90, "program", "Client"),
                          (160, "shell", "atasker-like send")):
        picture.box(6, y, 150, 50, name, kind)
        picture.arrow((156, y + 25), (236, 95 + y // 4))
    picture.text(206, 60, "JSON")
    picture.box(236, 90, 120, 50, "Service", "checks fields")
    picture.arrow((356, 105), (420, 60))
    picture.box(420, 34, 110, 50, "lane", "one at a time")
    picture.arrow((356, 125), (420, 170), label="parallel=True", at=(366, 196))
    picture.arrow((530, 60), (570, 104))
    picture.arrow((420, 170), (540, 170), (570, 128))
    picture.box(570, 90, 104, 50, "handler", "in a pool")
    return picture


PICTURES = (choice, life, slots, stop, service)


def demo_screen():
    """Run the demo, and return its screen as a picture with a background of its own."""
    text = subprocess.run([sys.executable, "-m", "atasker_like", "demo"], stdout=subprocess.PIPE,
                          universal_newlines=True, check=True, cwd=str(HERE.parents[1])).stdout
    report = text[text.index("The standard library"):].rstrip()     # without the files not parsed
    lines = ["$ python3 -m atasker_like demo", "", *report.splitlines()]
    width = 24 + 8.5 * max(len(line) for line in lines)
    height = 24 + 18 * len(lines)
    rows = "".join('<text x="12" y="{}" xml:space="preserve"\n>{}</text>\n'
                   .format(26 + 18 * number, escape(line)) for number, line in enumerate(lines))
    head = ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0:.0f} {1}" width="{0:.0f}" '
            'font-family="monospace" font-size="14" fill="#e6e6e6">\n'
            '<rect width="100%" height="100%" rx="8" fill="#1e1e1e"/>\n')
    return folded(head.format(width, height) + rows + "</svg>\n")


def main():
    if sys.argv[1:] == ["demo"]:
        (HERE / "demo.svg").write_text(demo_screen(), encoding="utf-8")
        return
    for draw in PICTURES:
        picture = draw()
        (HERE / (picture.name + ".svg")).write_text(str(picture), encoding="utf-8")


if __name__ == "__main__":
    main()
