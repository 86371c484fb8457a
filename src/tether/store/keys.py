"""Keys of the API and the log of what was decided with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, insert, select, update

from tether.errors import NotFound
from tether.store.access_rows import AuditRow, KeyRow, NewAudit, NewKey
from tether.store.access_tables import audit, keys
from tether.store.ids import new_id
from tether.store.payloads import pack, plain, unpack
from tether.store.reading import Reading
from tether.store.rows import Page
from tether.store.writing import Writing

__all__ = ["add", "audit_page", "begin", "by_hash", "conclude", "key_page", "one", "revoke", "touch"]


def _key(row: Row[Any]) -> KeyRow:
    values: dict[str, Any] = {name: getattr(row, name) for name in KeyRow.__dataclass_fields__}
    values["scopes"] = tuple(row.scopes.split())
    return KeyRow(**values)


def add(tx: Writing, new: NewKey) -> KeyRow:
    """Store a key; its row."""
    values = {name: getattr(new, name) for name in NewKey.__dataclass_fields__}
    key_id = new_id("key", tx.now_ms)
    values |= {"id": key_id, "scopes": " ".join(new.scopes), "name": plain(new.name, 200), "created_at_ms": tx.now_ms}
    tx.run(insert(keys).values(**values))
    return one(tx, key_id, None)


def by_hash(tx: Reading, digest: str) -> KeyRow | None:
    """The key with that hash, valid or not."""
    row = tx.one(select(keys).where(keys.c.hash == digest))
    return None if row is None else _key(row)


def one(tx: Reading, key_id: str, tenant: str | None) -> KeyRow:
    """Raises NotFound, also for another tenant's."""
    row = tx.one(select(keys).where(keys.c.id == key_id))
    if row is None or (tenant is not None and row.tenant != tenant):
        raise NotFound("key", key_id)
    return _key(row)


def key_page(tx: Reading, tenant: str | None, limit: int, cursor: str | None) -> Page[KeyRow]:
    """Newest first."""
    query = select(keys).order_by(keys.c.id.desc()).limit(limit + 1)
    query = query if tenant is None else query.where(keys.c.tenant == tenant)
    rows = tx.all(query if cursor is None else query.where(keys.c.id < cursor))
    data = tuple(_key(row) for row in rows[:limit])
    return Page(data=data, next_cursor=data[-1].id if len(rows) > limit else None)


def revoke(tx: Writing, key_id: str, tenant: str | None, at_ms: int | None) -> KeyRow:
    """Worth nothing from `at_ms` on (None: now), never later than before. Raises NotFound."""
    row = one(tx, key_id, tenant)
    if at_ms is None or at_ms <= tx.now_ms:
        if row.revoked_at_ms is None:
            tx.run(update(keys).where(keys.c.id == key_id).values(revoked_at_ms=tx.now_ms))
    elif row.expires_at_ms is None or at_ms < row.expires_at_ms:
        tx.run(update(keys).where(keys.c.id == key_id).values(expires_at_ms=at_ms))
    return one(tx, key_id, tenant)


def touch(tx: Writing, used: Mapping[str, int]) -> None:
    """Key id -> when it was used last."""
    for key_id in sorted(used):
        tx.run(update(keys).where(keys.c.id == key_id).values(last_used_at_ms=used[key_id]))


def begin(tx: Writing, new: NewAudit) -> str:
    """Write down what is asked before it is done; the line's id."""
    line_id = new_id("audit", tx.now_ms)
    values = {
        "id": line_id,
        "at_ms": tx.now_ms,
        "tenant": new.tenant,
        "actor": plain(new.actor, 500),
        "address": plain(new.address, 100),
        "action": new.action,
        "object": plain(new.object, 200),
        "detail": pack(dict(new.detail)),
        "outcome": "begun",
    }
    tx.run(insert(audit).values(**values))
    return line_id


def conclude(tx: Writing, line_id: str, outcome: str, about: str | None) -> None:
    """How it ended, and the id of what it made."""
    made = {} if about is None else {"object": about}
    tx.run(update(audit).where(audit.c.id == line_id).values(outcome=outcome, **made))


def audit_page(tx: Reading, tenant: str | None, about: str | None, limit: int, cursor: str | None) -> Page[AuditRow]:
    """Newest first."""
    query = select(audit).order_by(audit.c.id.desc()).limit(limit + 1)
    query = query if tenant is None else query.where(audit.c.tenant == tenant)
    query = query if about is None else query.where(audit.c.object == about)
    rows = tx.all(query if cursor is None else query.where(audit.c.id < cursor))
    data = tuple(_line(row) for row in rows[:limit])
    return Page(data=data, next_cursor=data[-1].id if len(rows) > limit else None)


def _line(row: Row[Any]) -> AuditRow:
    values: dict[str, Any] = {name: getattr(row, name) for name in AuditRow.__dataclass_fields__}
    values["detail"] = unpack(row.detail)
    return AuditRow(**values)
