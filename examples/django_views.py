"""Django: views to enqueue a goal and show how far it is; for your urls.py, with TETHER_API_URL and TETHER_API_KEY."""

from __future__ import annotations

from functools import cache

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

from tether import AutoGPTTask, Client


@cache
def tether() -> Client:
    return Client()


@require_POST
def start(request: HttpRequest) -> JsonResponse:
    goal = f"Write a short report on {request.POST['topic']}"
    task = AutoGPTTask(goal=goal, user=request.META["REMOTE_ADDR"], budget={"max_usd": 1})
    return JsonResponse({"id": tether().submit(task).id}, status=202)


@require_GET
def show(_request: HttpRequest, task_id: str) -> JsonResponse:
    task = tether().get(task_id)
    return JsonResponse({"state": task.state, "message": task.message, "result": task.result, "partial": task.partial})


@require_POST
def cancel(request: HttpRequest, task_id: str) -> JsonResponse:
    return JsonResponse({"state": tether().cancel(task_id, by=request.META["REMOTE_ADDR"]).state})


urlpatterns = [path("reports", start), path("reports/<str:task_id>", show), path("reports/<str:task_id>/cancel", cancel)]
