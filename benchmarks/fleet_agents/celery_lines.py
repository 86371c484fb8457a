"""The same with Celery: a task that writes when it was sent and when it began. As a program: sends them one at a time."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from celery import Celery

app = Celery("celery_lines", broker=os.environ["BROKER"])
app.conf.task_ignore_result = True


@app.task(name="celery_lines.line")
def line(book: str, number: int, sent: float) -> None:
    """One line."""
    with Path(book).open("a") as file:
        file.write(f"{number} {sent:.6f} {time.time():.6f}\n")


if __name__ == "__main__":
    for n in range(int(sys.argv[2]) + 5):
        line.delay(sys.argv[1], n, time.time())
        while len(Path(sys.argv[1]).read_text().splitlines()) <= n:
            time.sleep(0.002)
