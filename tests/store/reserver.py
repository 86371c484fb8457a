"""Processes that ask for calls on somebody's budget, all at once; prints how many each got: URL TASK LEASE PROCESSES CALLS."""

from __future__ import annotations

import multiprocessing
import sys
import time
from functools import partial

from tether.errors import StoreUnavailable
from tether.events import NewEvent
from tether.store import Store, open_store
from tether.store.rows import Reserve

_WITHIN_S = 90.0


def main() -> None:
    """Fork before anything is opened, so that each process has its own connections and the imports are paid once."""
    url, task_id, lease, processes, calls = sys.argv[1:]
    with multiprocessing.get_context("fork").Pool(int(processes)) as pool:
        print(*pool.map(partial(ask, url, task_id, lease, int(calls)), range(int(processes)), chunksize=1))


def ask(url: str, task_id: str, lease: str, calls: int, name: int) -> int:
    """Reserve one call at a time; while the store is busy, ask again, which counts nothing twice."""
    store = open_store(url)
    granted = 0
    for n in range(calls):
        call_id = f"{name}-{n}"
        event = NewEvent(type="call_started", attempt=1, data={"call_id": call_id})
        item = Reserve(kind="llm", task_id=task_id, lease_token=lease, attempt=1, call_id=call_id, hold_nanousd=1, event=event)
        granted += _reserve(store, item)
    store.close()
    return granted


def _reserve(store: Store, item: Reserve) -> bool:
    deadline = time.monotonic() + _WITHIN_S
    while True:
        try:
            return bool(store.reserve([item])[0])
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise


if __name__ == "__main__":
    main()
