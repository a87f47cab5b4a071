"""A Flask application whose tasks outlive their requests."""
import os
import signal
import sys

from flask import Flask, jsonify

import reports
from atasker_like import TT_MP, background_task

# in a thread
write = background_task(reports.write)
# in a process
count = background_task(reports.count, tt=TT_MP)
add_up = background_task(reports.add_up, tt=TT_MP)

app = Flask(__name__)


@app.post("/reports/<int:number>")
def accept(number):
    # returns at once
    write(number)
    count(number)
    return jsonify(accepted=number)


@app.get("/sums/<int:number>")
def sums(number):
    return jsonify(sum=add_up(number).value(timeout=10))


# Flask's own server
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))
    app.run(port=int(os.environ.get("PORT", 5000)))
