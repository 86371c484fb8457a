"""Figures as Prometheus reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from tether.store.figures import Figures
from tether.task import usd_from_nano

__all__ = ["text"]


def text(found: Figures, requests: Counter[tuple[str, int]], followers: int) -> str:
    """The exposition format, version 0.0.4. Source: prometheus.io, "Exposition formats"."""
    lines: list[str] = []
    ended = [(row, {"task_type": row[0], "state": row[1], "reason": row[2]}) for row in found.tasks]
    lines += _metric("tether_tasks", "gauge", "Tasks by type, state and reason.", [(labels, row[3]) for row, labels in ended])
    cost: Counter[str] = Counter()
    for row, _ in ended:
        cost[row[0]] += row[4]
    spent = [({"task_type": kind}, usd_from_nano(nano)) for kind, nano in sorted(cost.items())]
    lines += _metric("tether_cost_usd", "gauge", "Dollars spent by the tasks in the store.", spent)
    lines += _metric("tether_approvals_open", "gauge", "Questions that wait for a human.", [({}, found.open_approvals)])
    lines += _metric("tether_workers", "gauge", "Workers.", [({"state": state}, number) for state, number, _ in found.workers])
    slots = sum(each for _, _, each in found.workers)
    lines += _metric("tether_worker_slots", "gauge", "Attempts that can run at the same time.", [({}, slots)])
    lines += _metric("tether_leases", "gauge", "Tasks that are worked on.", [({}, found.leases)])
    sent = [({"state": state}, number) for state, number in found.deliveries]
    lines += _metric("tether_webhook_deliveries", "gauge", "Webhook deliveries that were not taken.", sent)
    asked = [({"method": method, "status": str(status)}, number) for (method, status), number in sorted(requests.items())]
    lines += _metric("tether_api_requests_total", "counter", "Requests answered by this process.", asked)
    lines += _metric("tether_api_followers", "gauge", "Requests of this process that follow a task.", [({}, followers)])
    return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, doc: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> list[str]:
    lines = [f"# HELP {name} {doc}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inner = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        lines.append(f"{name}{{{inner}}} {value:.15g}" if inner else f"{name} {value:.15g}")
    return lines


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
