"""The OpenAPI document is true: schemathesis asks every operation for everything, and nothing falls over."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import load_all_checks
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from played import PlayedWorker
from tether.web.app import listed

load_all_checks()


@pytest.fixture(scope="module")
def api(make_api: Callable[..., Any]) -> Any:
    """A server with a few tasks, whose ids the document gives as examples."""
    made = make_api(api={"rate_per_s": 100_000})
    http = made.client()
    worker = PlayedWorker(made.store)
    http.post("/v1/tasks", json={"goal": "look"})
    worker.succeed(worker.claim(), {"a": 1})
    return made


@pytest.fixture(scope="module")
def schema(api: Any) -> Any:
    """The document, asked with a key of every scope."""
    token = api.key("default", ("submit", "read", "approve", "admin", "tenants:any"))[1]
    document = httpx2.get(f"{api.server.url}/openapi.json", trust_env=False).json()
    loaded = schemathesis.openapi.from_dict(document)
    loaded.config.update(base_url=api.server.url)
    loaded.config.generation.update(allow_x00=False)  # refused everywhere, see test_bodies
    return loaded, {"Authorization": f"Bearer {token}"}


_SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large, HealthCheck.large_base_example]
_EXAMPLES = {GenerationMode.POSITIVE: 12, GenerationMode.NEGATIVE: 8}
#: A URL may be well written and still lead inward; a hold of claims has no model; what an approval adds is bounded together
#: with what the task has. These are refused on purpose.
EXCLUDED = {
    "POST /v1/webhooks": [positive_data_acceptance],
    "POST /v1/holds": [positive_data_acceptance],
    "POST /v1/approvals/{approval_id}/decision": [positive_data_acceptance],
}
_PHASES = [Phase.explicit, Phase.generate]
#: Of the document of no server in particular, so that a new route is asked too.
OPERATIONS = [(method.upper(), path) for path, methods in listed()["paths"].items() for method in methods]


def _ask(operation: Any, mode: GenerationMode, headers: dict[str, str], excluded: list[Any]) -> None:
    """Some cases of one operation."""

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=_EXAMPLES[mode], deadline=None, suppress_health_check=_SLOW, phases=_PHASES, derandomize=True)
    def one(case: Any) -> None:
        _with_a_key_of_its_own(case)
        case.call_and_validate(headers=headers, excluded_checks=excluded)

    one()


def _with_a_key_of_its_own(case: Any) -> None:
    """A key that came up twice with another content is refused, as it should be: test_tasks_api asks for that."""
    key = uuid.uuid4().hex
    if isinstance(case.body, dict) and isinstance(case.body.get("idempotency_key"), str):
        case.body["idempotency_key"] = key
    if case.headers and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = key


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=map(" ".join, OPERATIONS))
def test_an_operation_does_what_the_document_says(schema: Any, method: str, path: str, mode: GenerationMode) -> None:
    """All checks: no 5xx, no undocumented status or type, answers as described, keys enforced, bad data refused."""
    document, headers = schema
    try:
        _ask(document[path][method], mode, headers, EXCLUDED.get(f"{method} {path}", []))
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE


def test_the_document_has_examples_and_problems(api: Any) -> None:
    """Every body has an example, every operation a summary and the problems it may answer."""
    document = api.server.app.openapi()
    bodies = [name for name in document["components"]["schemas"] if name.endswith("In")]
    shown = [n for n in bodies if "examples" in document["components"]["schemas"][n]]
    assert set(bodies) - set(shown) <= {"BudgetIn", "TimeoutsIn", "RotateIn"}
    for path, methods in document["paths"].items():
        for method, how in methods.items():
            assert how.get("summary"), (path, method)
            if path.startswith("/v1/"):
                problem = how["responses"]["503"]["content"]["application/problem+json"]["schema"]
                assert problem == {"$ref": "#/components/schemas/Problem"}
    assert "HTTPValidationError" not in json.dumps(document)
