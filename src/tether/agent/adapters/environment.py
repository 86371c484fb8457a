"""The environment of an attempt, the same for every kind of agent and for its tools. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["attempt_environment"]

_GATEWAY_PORT = 8080
_PROXY_PORT = 8081
#: The kernel refuses an argument or variable of 128 KiB; a longer goal reaches the agent on stdin and over Link.
LONGEST_VARIABLE = 120_000


def attempt_environment(spec: Mapping[str, Any]) -> dict[str, str]:
    """The variables of DESIGN §5 on top of the spec's own `env`; TETHER_GOAL is left out when the kernel would refuse it."""
    gateway, proxy = spec["gateway"], spec.get("proxy") or {}
    host, token = gateway.get("host") or "127.0.0.1", str(gateway["token"])
    base = f"http://{host}:{gateway.get('port') or _GATEWAY_PORT}"
    way_out = f"http://tether:{token}@{host}:{proxy.get('port') or _PROXY_PORT}"
    env: dict[str, str] = {
        **spec.get("env", {}),
        "TETHER_TASK": spec["task_id"],
        "TETHER_WORKSPACE": spec["workspace"],
        "TETHER_LINK_URL": f"{base}/link",
        "TETHER_LINK_TOKEN": token,
        **dict.fromkeys(("OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_API_BASE_URL"), f"{base}/v1"),
        **dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY"), token),
        "ANTHROPIC_BASE_URL": base,
        # curl and others read only the lower-case names.
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), way_out),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
    }
    goal = spec["goal"]
    if len(goal.encode()) <= LONGEST_VARIABLE:
        env["TETHER_GOAL"] = goal
    return env
