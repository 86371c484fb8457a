"""`tether api`, `tether keys`, `tether db prune` and `export`, and commands against a server."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

from api_server import ApiProcess
from played import PlayedWorker
from terminal import Terminal
from tether.web.access import digest


def test_keys_are_made_listed_rotated_and_revoked(terminal: Terminal) -> None:
    """The key alone goes to stdout, once; the list shows no key; what was done is in the audit log."""
    made = terminal.run("keys", "create", "shop", "--scope", "read", "--expires-days", "3")
    token = made.out.strip()
    assert (made.code, token.startswith("tth_")) == (0, True)
    listed = terminal.run("keys", "list", "--json")
    [row] = listed.json["data"]
    assert (row["name"], row["scopes"], token in listed.out) == ("shop", ["read"], False)
    rotated = terminal.run("keys", "rotate", row["id"], "--json").json
    assert rotated["scopes"] == ["read"]
    assert terminal.run("keys", "revoke", row["id"]).code == 0
    store = terminal.store()
    old, new = store.key_by_hash(digest(token)), store.key_by_hash(digest(rotated["key"]))
    assert old is not None
    assert new is not None
    assert (old.valid(int(time.time() * 1000)), new.valid(int(time.time() * 1000))) == (False, True)
    assert [line.action for line in store.audit().data] == ["key_revoke", "key_rotate", "key_create"]
    store.close()


def test_bad_keys_are_refused(terminal: Terminal) -> None:
    """An unknown scope, tenant or id is named."""
    scope = terminal.run("keys", "create", "x", "--scope", "root")
    tenant = terminal.run("keys", "create", "x", "--tenant", "a b")
    unknown = terminal.run("keys", "revoke", "key_none")
    assert [ended.code for ended in (scope, tenant, unknown)] == [2, 2, 1]
    assert ("tenants:any" in scope.err, "tenant" in tenant.err, "key_none" in unknown.err) == (True, True, True)


def test_commands_speak_to_a_server(terminal: Terminal, tmp_path: Path) -> None:
    """--server, or the variable, and the same answers as with the store; a server that is not there is said plainly."""
    api = ApiProcess(tmp_path, terminal.store_url)
    terminal.store().close()
    try:
        api.start()
        where = {"TETHER_API_KEY": api.key}
        task_id = terminal.run("submit", "look", "--server", api.url, **where).out.strip()
        shown = terminal.run("show", task_id, "--json", TETHER_API_URL=api.url, **where)
        straight = terminal.run("show", task_id, "--json")
        assert shown.json == straight.json
        wrong = terminal.run("list", "--server", api.url, TETHER_API_KEY="tth_wrong")
        assert (wrong.code, "key" in wrong.err) == (4, True)
    finally:
        api.stop()
    gone = terminal.run("list", "--server", api.url, **where)
    assert (gone.code, "does not answer" in gone.err) == (1, True)


def test_old_tasks_are_exported_and_deleted_with_their_files(terminal: Terminal, worker: PlayedWorker) -> None:
    """export writes every task and its journal as JSON lines; prune deletes what ended long ago, its workspace too."""
    task_id = terminal.run("submit", "look").out.strip()
    young = terminal.run("submit", "young").out.strip()
    worker.succeed(worker.claim(), "ok")
    workspace = terminal.folder / ".tether" / "workspaces" / task_id
    workspace.mkdir(parents=True)
    lines = [json.loads(line) for line in terminal.run("db", "export", "--events").out.splitlines()]
    assert {line["id"] for line in lines if "goal" in line} == {task_id, young}
    assert [line["type"] for line in lines if line.get("task_id") == task_id][-1] == "task_succeeded"
    with sqlite3.connect(terminal.folder / ".tether" / "tether.db") as database:
        database.execute("UPDATE tasks SET ended_at_ms = ended_at_ms - 3 * 86400000 WHERE id = ?", (task_id,))
    database.close()
    assert terminal.run("db", "prune", "--json").json["tasks"] == 0
    assert terminal.run("db", "prune", "--older-than", "2", "--json").json["tasks"] == 1
    assert not workspace.exists()
    assert terminal.run("show", task_id).code == 1
    assert terminal.run("show", young).code == 0
