"""Agents that have secrets and do not keep them."""

from __future__ import annotations

import os
import sys
import time
from typing import Any


def tells(task: Any, link: Any) -> dict[str, Any]:
    """Puts its secret everywhere it can."""
    secret = os.environ["SHOP_KEY"]
    link.step()
    link.thought(f"my key is {secret}", [secret], "")
    link.log(f"log {secret}")
    link.checkpoint({"key": secret})
    link.partial([f"partial {secret}"])
    print(f"printed {secret}", flush=True)
    if task.goal == "hang":
        print(f"hanging with {secret}", file=sys.stderr, flush=True)
        time.sleep(600)
    return {"length": len(secret), "said": secret}
