"""Entries: "module:function" found, imported and checked, with words for what is wrong with them. Standard library only."""

from __future__ import annotations

import importlib
import inspect
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

__all__ = ["Entry", "EntryError", "load_entry", "validate_entry"]

_ENTRY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z")


class EntryError(Exception):
    """An entry cannot be used: `problem` says why, `remedy` what to change."""

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem}; {remedy}")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A usable entry; awaitable is true for `async def`, which gets the awaitable Link."""

    function: Callable[..., Any]
    awaitable: bool


def validate_entry(entry: str, arguments: int = 2) -> tuple[str, str] | None:
    """None when `entry` imports and takes `arguments` arguments, else (problem, remedy)."""
    try:
        load_entry(entry, arguments)
    except EntryError as error:
        return error.problem, error.remedy
    return None


def load_entry(entry: str, arguments: int = 2) -> Entry:
    """Import "module:function" and check that it can be called with `arguments` arguments; raises EntryError."""
    if not _ENTRY.match(entry):
        raise EntryError(f"{entry!r} is not an entry", 'write "package.module:function"')
    module_name, _, path = entry.partition(":")
    found = _import(module_name)
    for name in path.split("."):
        if not hasattr(found, name):
            known = ", ".join(sorted(n for n, v in vars(found).items() if inspect.isfunction(v))[:8])
            raise EntryError(f"{module_name} has no {path}", f"its functions are {known}" if known else "define it there")
        found = getattr(found, name)
    return (_checked_once if inspect.isfunction(found) else _checked)(found, entry, arguments)


def _import(module_name: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            remedy = "check the name and code_dir, the folder its code is in"
            raise EntryError(f"there is no module {module_name}", remedy) from None
        remedy = f"install {error.name} for that interpreter, or set python to the one that has it"
        raise EntryError(f"{module_name} needs the module {error.name}, which is not installed", remedy) from None
    except SyntaxError as error:
        place = f"{error.filename}, line {error.lineno}"
        raise EntryError(f"{module_name} is not valid Python: {error.msg} ({place})", "correct that line") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may even call sys.exit while it is imported
        remedy = "make the import work on its own: python -c 'import " + module_name + "'"
        raise EntryError(f"importing {module_name} raised {_said(error)}", remedy) from None


def _said(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {str(error)[:300]}{where}"


def _checked(found: Any, entry: str, arguments: int) -> Entry:
    _check_callable(found, entry, arguments)
    return Entry(function=found, awaitable=_awaitable(found))


#: An attempt has the function its zygote checked; checking writes to memory they share.
_checked_once = cache(_checked)


def _check_callable(found: Any, entry: str, arguments: int) -> None:
    shape = "(task, link)" if arguments == 2 else "(workspace, args, options)"
    if not callable(found):
        raise EntryError(f"{entry} is a {type(found).__name__}, not a function", f"name a function that takes {shape}")
    if inspect.isclass(found):
        raise EntryError(f"{entry} is a class", f"name a function that takes {shape}")
    if inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found):
        raise EntryError(f"{entry} is a generator", "return the result instead of yielding it")
    try:
        signature = inspect.signature(found)
    except ValueError:
        return
    try:
        signature.bind(*[None] * arguments)
    except TypeError:
        raise EntryError(f"{entry}{signature} cannot be called with {shape}", f"let it take {shape}") from None


def _awaitable(found: Any) -> bool:
    return inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(getattr(found, "__call__", None))  # noqa: B004
