"""An agent whose module starts a thread when it is imported, which must not be forked."""

from __future__ import annotations

import threading
import time
from typing import Any

threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()


def agent(task: Any, link: Any) -> str:
    """One step with a thread about."""
    link.step()
    return f"{task.goal} with {threading.active_count()} threads"
