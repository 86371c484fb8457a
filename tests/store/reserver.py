"""A process that asks for calls on somebody's budget and prints how many it got: URL TASK LEASE NAME COUNT."""

from __future__ import annotations

import sys
import time

from tether.errors import StoreUnavailable
from tether.events import NewEvent
from tether.store import Store, open_store
from tether.store.rows import Reserve

_WITHIN_S = 90.0


def main() -> None:
    """Reserve one call at a time; while the store is busy, ask again, which counts nothing twice."""
    url, task_id, lease, name, count = sys.argv[1:]
    store = open_store(url)
    granted = 0
    for n in range(int(count)):
        call_id = f"{name}-{n}"
        event = NewEvent(type="call_started", attempt=1, data={"call_id": call_id})
        item = Reserve(kind="llm", task_id=task_id, lease_token=lease, attempt=1, call_id=call_id, hold_nanousd=1, event=event)
        granted += _reserve(store, item)
    store.close()
    print(granted)


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
