"""The few pages of the API itself, as plain HTML without script or style: a login with a key, and what a link shows."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import HTMLResponse

__all__ = ["home", "link", "login", "page"]

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title></head>
<body><main><h1>{title}</h1>
{body}
</main></body></html>
"""
_LABELS = {
    "approve": "Approve",
    "reject": "Reject",
    "answer": "Send the answer",
    "retry": "Try again",
    "cancel": "Cancel",
    "escalate": "Ask a human to take over",
}


def page(title: str, body: str, status: int = 200, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """A page; `body` is HTML, `title` text."""
    given = {"Cache-Control": "no-store", **(headers or {})}
    return HTMLResponse(_PAGE.format(title=html.escape(title), body=body), status, given)


def login(problem: str = "", status: int = 200) -> HTMLResponse:
    """Asks for a key."""
    said = f'<p role="alert">{html.escape(problem)}</p>' if problem else ""
    form = (
        '<form method="post" action="/login"><label>Key <input type="password" name="key" autocomplete="off" required></label> '
        "<button>Log in</button></form><p>A key is made with <code>tether keys create</code>.</p>"
    )
    return page("Log in", said + form, status)


def home(name: str, csrf: str) -> HTMLResponse:
    """Who is logged in, and where to go."""
    body = (
        f'<p>Logged in with the key {html.escape(name)}.</p><p><a href="/openapi.json">The API</a></p>'
        f'<form method="post" action="/logout"><input type="hidden" name="csrf" value="{html.escape(csrf)}">'
        "<button>Log out</button></form>"
    )
    return page("Tether", body)


def link(shown: Mapping[str, Any], token: str, problem: str = "", status: int = 200) -> HTMLResponse:
    """A task for somebody with a link: how it stands, what there is, and a form per action."""
    parts = [f'<p role="alert">{html.escape(problem)}</p>' if problem else ""]
    parts.append(f"<p>{html.escape(str(shown['goal']))}</p>")
    parts.append(f"<p><strong>{html.escape(shown['state'])}</strong>: {html.escape(shown['message'])}</p>")
    if shown["question"]:
        parts.append(f"<h2>Question</h2><p>{html.escape(shown['question'])}</p>")
    parts += [_form(action, token, shown) for action in shown["actions"]]
    for name in ("result", "partial"):
        if shown[name] is not None:
            text = shown[name] if isinstance(shown[name], str) else json.dumps(shown[name], indent=2, ensure_ascii=True)
            parts.append(f"<h2>{name.capitalize()}</h2><pre>{html.escape(text)}</pre>")
    return page("Your task", "\n".join(parts), status)


def _form(action: str, token: str, shown: Mapping[str, Any]) -> str:
    field = ""
    if action == "answer":
        field = '<label>Answer <textarea name="text" required></textarea></label> '
    elif action == "approve" and shown["may_add"]:
        field = f"<p>Approving adds {html.escape(', '.join(f'{key} {value}' for key, value in shown['may_add'].items()))}.</p>"
    return (
        f'<form method="post" action="/l/{html.escape(token)}"><input type="hidden" name="action" value="{action}">'
        f"{field}<button>{_LABELS[action]}</button></form>"
    )
