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
    """An SVG picture with boxes, texts and arrows, as wide as the page of a phone."""

    def __init__(self, name, title, height, width=420):
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
    picture = Picture("choice", "Choose thread, process or event loop", 326)
    picture.text(116, 16, "Begin here")
    picture.arrow((116, 22), (116, 44))
    for y, question in ((44, "Is the function async def?"), (118, "Must it be ended by force?"),
                        (192, "Does it compute in Python?")):
        picture.box(6, y, 220, 44, question)
        picture.arrow((226, y + 22), (276, y + 22), label="yes", at=(250, y + 16))
        picture.arrow((116, y + 44), (116, y + 74), label="no", at=(132, y + 64))
    picture.box(276, 40, 140, 52, "event loop", "@background_task")
    picture.box(276, 118, 140, 118, "process", "tt=TT_MP")
    picture.box(46, 266, 140, 52, "thread", "@background_task")
    return picture


def life():
    picture = Picture("life", "The life of a task", 342)
    picture.text(215, 16, "call")
    picture.arrow((215, 22), (215, 40))
    picture.box(150, 40, 130, 54, "QUEUED", "pending")
    picture.arrow((215, 94), (215, 160), label="a slot is free", at=(222, 132), anchor="start")
    picture.box(150, 160, 130, 54, "STARTED", "running")
    picture.arrow((215, 214), (215, 282), label="the function ends", at=(222, 254),
                  anchor="start")
    picture.box(140, 282, 150, 54, "COMPLETED", "succeeded, failed")
    picture.box(4, 160, 122, 54, "DELAYED", "pending, retrying")
    picture.arrow((150, 60), (36, 60), (36, 160), label="delay", at=(90, 54))
    picture.arrow((86, 160), (86, 82), (150, 82), label="its time", at=(92, 126), anchor="start")
    picture.arrow((176, 214), (176, 238), (65, 238), (65, 214), label="failed, retries left",
                  at=(8, 258), anchor="start")
    picture.box(318, 40, 98, 54, "CANCELED", "cancelled")
    picture.arrow((280, 67), (318, 67), label="cancel()", at=(298, 30))
    picture.arrow((280, 187), (367, 187), (367, 94), label="cancel()", at=(322, 206))
    return picture


def slots():
    picture = Picture("slots", "A pool with reserves and lanes", 384)
    picture.text(6, 18, "Waiting tasks", anchor="start", weight="bold")
    for x, end, text in ((6, 170, "lane: 2 at once"), (144, 210, "lane: 100 a second"),
                         (282, 250, "no lane")):
        picture.box(x, 30, 132, 40, text, dashed=True)
        picture.arrow((x + 66, 70), (end, 104))
    picture.box(145, 104, 130, 54, "run queue", "by priority")
    picture.arrow((210, 158), (210, 200))
    picture.text(6, 194, "Slots of the pool", anchor="start", weight="bold")
    for x, text in ((10, "pool_size=8"), (194, "reserve_normal=2"), (318, "reserve_high=2")):
        picture.text(x, 220, text, anchor="start")
    for x, number, dashed in ((10, 8, False), (214, 2, True), (338, 2, True)):
        for place in range(number):
            picture.box(x + 22 * place, 230, 18, 36, dashed=dashed)
    for y, end, name in ((280, 184, "LOW"), (308, 258, "NORMAL"), (336, 382, "HIGH")):
        picture.arrow((10, y), (end, y))
        picture.text(10, y + 16, name, anchor="start")
    picture.text(10, 378, "CRITICAL starts at once, in a thread", anchor="start")
    return picture


def stop():
    picture = Picture("stop", "The stages of stop()", 366)
    picture.text(6, 18, "task_supervisor.stop(wait=30)", anchor="start", weight="bold")
    stages = ("1  workers finish items", "2  new tasks raise an error",
              "3  delayed tasks are cancelled", "4  other tasks finish",
              "5  threads and processes end")
    for number, text in enumerate(stages):
        y = 32 + 58 * number
        picture.box(6, y, 240, 42, text)
        if number < 4:
            picture.arrow((126, y + 42), (126, y + 58))
    picture.arrow((268, 32), (268, 250))
    picture.text(278, 134, "at most", anchor="start")
    picture.text(278, 152, "30 seconds", anchor="start")
    picture.arrow((268, 264), (268, 306))
    picture.text(278, 282, "at most", anchor="start")
    picture.text(278, 300, "2.5 seconds", anchor="start")
    picture.text(6, 336, "When the 30 seconds are over, queued tasks are", anchor="start")
    picture.text(6, 354, "cancelled and processes are ended.", anchor="start")
    return picture


def service():
    picture = Picture("service", "A service and its clients", 350)
    for x, end, lines in ((6, 170, ("program", "SyncClient")), (144, 210, ("program", "Client")),
                          (282, 250, ("shell", "atasker-like send"))):
        picture.box(x, 6, 132, 50, *lines)
        picture.arrow((x + 66, 56), (end, 100))
    picture.text(340, 84, "JSON")
    picture.box(145, 100, 130, 50, "Service", "checks fields")
    picture.arrow((165, 150), (80, 198))
    picture.box(10, 198, 140, 50, "lane", "one at a time")
    picture.arrow((80, 248), (155, 292))
    picture.arrow((255, 150), (330, 198), (330, 248), (265, 292), label="parallel=True",
                  at=(322, 228), anchor="end")
    picture.box(145, 292, 130, 50, "handler", "in a pool")
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
