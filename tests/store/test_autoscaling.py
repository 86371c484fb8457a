"""What the Kubernetes files have KEDA ask, PostgreSQL answers as they say."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import yaml

from staging import claimed, ended, submitted
from tether.lifecycle import Change, Reason
from tether.store import open_store

SCALING = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes" / "scaling.yaml"


def _asked(url: str) -> int:
    """The answer to the query of the manifest, which has to be one number."""
    [trigger] = yaml.safe_load(SCALING.read_text())["spec"]["triggers"]
    with psycopg.connect(url) as connection:
        [(number,)] = connection.execute(trigger["metadata"]["query"]).fetchall()
    return int(number)


def test_the_scaler_counts_what_runs_or_may_start(postgres_store_url: str) -> None:
    """Running tasks and those that may start now need a slot; delayed, paused and finished ones do not."""
    with closing(open_store(postgres_store_url)) as store:
        assert _asked(postgres_store_url) == 0
        submitted(store)
        submitted(store, start_at=datetime.now(UTC) + timedelta(hours=1))
        running, over = claimed(store, agent="a"), claimed(store, agent="b")
        store.pause(submitted(store))
        assert _asked(postgres_store_url) == 3
        ended(store, over, Change.FINISH, Reason.COMPLETED, "succeeded")
        assert _asked(postgres_store_url) == 2
        ended(store, running, Change.FAIL, Reason.AGENT_ERROR)
        assert _asked(postgres_store_url) == 1
