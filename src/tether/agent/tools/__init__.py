"""The tools that come with Tether, what the model is told of them, and how any tool is carried out in its own process.

A tool is a function (workspace, args, options) -> JSON: the folder it works in, what the model asked for, and the keys of its
[tools.NAME] section. Standard library only; each tool imports what it needs when it is called.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tether.agent.adapters.entry import EntryError, load_entry
from tether.agent.tools.arguments import ToolProblem

__all__ = ["ASK_HUMAN", "BUILTIN", "ToolProblem", "ToolSpec", "offered", "run"]

ASK_HUMAN = "ask_human"
_LARGEST_RESULT = 4 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class ToolSpec:
    """What is known of a tool before it is called.

    parameters: JSON Schema of its arguments. idempotent: may be rerun when a crash hid its outcome. entry: "module:function".
    """

    name: str
    description: str
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    idempotent: bool = False
    entry: str = ""


def _tool(name: str, description: str, *, idempotent: bool, required: tuple[str, ...] = (), **properties: Any) -> ToolSpec:
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    entry = "" if name == ASK_HUMAN else f"tether.agent.tools.{name}:tool"
    return ToolSpec(name=name, description=description, parameters=parameters, idempotent=idempotent, entry=entry)


def _text(description: str) -> dict[str, str]:
    return {"type": "string", "description": description}


def _number(description: str) -> dict[str, str]:
    return {"type": "integer", "description": description}


_PATH = _text("path inside the workspace")  # no example: weak models take it for what they are to write

BUILTIN: dict[str, ToolSpec] = {
    spec.name: spec
    for spec in (
        _tool(
            "web_fetch",
            "Fetch a web page and return its readable text.",
            idempotent=True,
            required=("url",),
            url=_text("full address, starting with http:// or https://"),
        ),
        _tool(
            "web_search",
            "Search the web; returns titles, addresses and short extracts.",
            idempotent=True,
            required=("query",),
            query=_text("what to search for"),
            max_results=_number("how many results, at most 20"),
        ),
        _tool(
            "run_python",
            "Run a Python program in the workspace; returns what it printed and its exit code. Print what you want to see.",
            idempotent=False,
            required=("code",),
            code=_text("the program"),
        ),
        _tool(
            "run_shell",
            "Run a bash command in the workspace; returns what it printed and its exit code.",
            idempotent=False,
            required=("command",),
            command=_text("the command line"),
        ),
        _tool(
            "read_file",
            "Read a text file of the workspace.",
            idempotent=True,
            required=("path",),
            path=_PATH,
            first_line=_number("line to start at, counted from 1"),
            max_lines=_number("how many lines"),
        ),
        _tool(
            "write_file",
            "Write a text file in the workspace, replacing what was there; folders are made.",
            idempotent=True,
            required=("path", "content"),
            path=_PATH,
            content=_text("the whole new content, with every value worked out"),
        ),
        _tool(
            "list_files", "List the files of the workspace with their sizes.", idempotent=True, path=_text("folder, default .")
        ),
        _tool(
            ASK_HUMAN,
            "Ask the user a question and wait for the answer. Only for what you cannot find out or decide yourself.",
            idempotent=True,
            required=("question",),
            question=_text("one clear question"),
            choices={"type": "array", "items": {"type": "string"}, "description": "possible answers, if there are few"},
        ),
    )
}


def offered(names: Iterable[str], configured: Mapping[str, Mapping[str, Any]]) -> dict[str, ToolSpec]:
    """The specs of these tools: what [tools.NAME] says, else the built-in one; raises KeyError with an unknown name."""
    return {name: _spec(name, configured.get(name) or {}) for name in names}


def _spec(name: str, given: Mapping[str, Any]) -> ToolSpec:
    known = BUILTIN.get(name)
    if known is None and not given.get("entry"):
        raise KeyError(name)
    known = known or ToolSpec(name=name, description="", parameters={"type": "object", "properties": {}})
    idempotent = given.get("idempotent")
    return ToolSpec(
        name=name,
        description=given.get("description") or known.description,
        parameters=given.get("parameters") or known.parameters,
        idempotent=known.idempotent if idempotent is None else bool(idempotent),
        entry=given.get("entry") or known.entry,
    )


def run(entry: str, workspace: str | Path, args: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out a tool in this process: {"ok": true, "result"} or {"ok": false, "error", "kind"}; never raises.

    kind: problem (the tool says so) | crash (it raised) | entry (it cannot be called) | result (no JSON, or too much).
    """
    try:
        tool = load_entry(entry, arguments=3)
        result = tool.function(Path(workspace), dict(args), dict(options))
        if tool.awaitable:
            result = asyncio.run(result)
    except EntryError as error:
        return {"ok": False, "kind": "entry", "error": str(error)}
    except ToolProblem as error:
        return {"ok": False, "kind": "problem", "error": str(error)}
    except BaseException as error:
        # Whatever it is, the model gets one line; a traceback would only fill its memory.
        return {"ok": False, "kind": "crash", "error": f"{type(error).__name__}: {str(error)[:2000]}"}
    return _checked(result)


def _checked(result: Any) -> dict[str, Any]:
    try:
        size = len(json.dumps(result, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        return {"ok": False, "kind": "result", "error": f"the tool returned a {type(result).__name__} that is not JSON: {error}"}
    if size > _LARGEST_RESULT:
        return {"ok": False, "kind": "result", "error": f"the tool returned {size:,} bytes; it should write a file instead"}
    return {"ok": True, "result": result}
