"""Statements compiled once per database and sent straight to the driver: SQLAlchemy writes the SQL, but not for every call again.

Only for statements whose text hardly ever changes (lists: `among`). Columns are text, integers and bytes, which both drivers
take and give as they are.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Executable, Insert, bindparam

from tether.store.dialect import Dialect

__all__ = ["Form", "Prepared", "among", "listed"]


@dataclass(kw_only=True)
class Form:
    """One statement as one driver takes it: its text, the values that are part of it, and the type of its rows."""

    text: str
    fixed: Mapping[str, Any]
    _record: Callable[[Any], Any] | None = field(default=None)

    def values(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters of one execution."""
        return {**self.fixed, **given} if self.fixed else given

    def rows(self, cursor: Any) -> list[Any]:
        """All rows, with the columns as attributes."""
        if self._record is None:
            names = [column[0] for column in cursor.description]
            self._record = namedtuple("Record", names, rename=True)._make  # pyright: ignore[reportUntypedNamedTuple]
        return list(map(self._record, cursor.fetchall()))


def among(column: ColumnElement[Any], size: int) -> ColumnElement[bool]:
    """The condition that a column is one of `size` values, which `listed` gives."""
    return column.in_([bindparam(f"b_among_{n}") for n in range(size)])


def listed(values: Sequence[Any]) -> dict[str, Any]:
    """Parameters for `among`: the values, the last one again up to a power of two, so that a few statements do for all lists."""
    size = 1 << (len(values) - 1).bit_length()
    return {f"b_among_{n}": values[min(n, len(values) - 1)] for n in range(size)}


class Prepared:
    """A statement, or what makes it for a database. An INSERT takes the columns of its first parameters."""

    def __init__(self, statement: Executable | Callable[[Dialect], Executable]) -> None:
        self._statement = statement
        self._forms: dict[tuple[str, ...], Form] = {}

    def form(self, dialect: Dialect, given: Mapping[str, Any]) -> Form:
        """The compiled statement for this database."""
        inserts = isinstance(self._statement, Insert)
        key = (dialect.name, *given) if inserts else (dialect.name,)
        found = self._forms.get(key)
        if found is None:
            found = self._forms[key] = self._compile(dialect, list(given) if inserts else None)
        return found

    def _compile(self, dialect: Dialect, columns: list[str] | None) -> Form:
        statement: Any = self._statement(dialect) if callable(self._statement) else self._statement
        if columns is not None:
            statement = statement.inline()  # no RETURNING of generated ids
        compiled = statement.compile(dialect=dialect.engine.dialect, column_keys=columns)
        fixed = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        return Form(text=str(compiled), fixed=fixed)
