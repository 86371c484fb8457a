"""Flask: enqueue a goal, show how far it is, let the user answer. `flask --app flask_app run`, with TETHER_API_URL and _KEY."""

from __future__ import annotations

from typing import Any

from flask import Flask, redirect, request
from markupsafe import escape

from tether import AutoGPTTask, Client

app = Flask(__name__)
tether = Client()


@app.post("/reports")
def start() -> Any:
    task = AutoGPTTask(goal=f"Write a short report on {request.form['topic']}", budget={"max_usd": 1})
    return redirect(f"/reports/{tether.submit(task).id}")


@app.get("/reports/<task_id>")
def show(task_id: str) -> Any:
    task = tether.get(task_id)
    again = "" if task.state in ("succeeded", "failed", "cancelled") else '<meta http-equiv="refresh" content="2">'
    form = '<form method="post"><input name="text"><button>Answer</button></form>' if "answer" in task.actions else ""
    return (
        f"{again}<h1>{escape(task.state)}</h1><p>{escape(task.message)}</p>{form}<pre>{escape(task.result or task.partial)}</pre>"
    )


@app.post("/reports/<task_id>")
def answer(task_id: str) -> Any:
    tether.answer(task_id, request.form["text"], by=request.remote_addr or "")
    return redirect(f"/reports/{task_id}")
