"""A Celery application as a team may have it; QUEUE and CELERY_BROKER in the environment say where its brokers are."""

from __future__ import annotations

import os

from celery import Celery

from tether.config import QueueSettings
from tether.queue.celery import wake_task

app = Celery("team", broker=os.environ["CELERY_BROKER"])
wake = wake_task(app, QueueSettings.model_validate_json(os.environ["QUEUE"]))
