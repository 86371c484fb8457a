"""The Python client, straight on a store and through a server: submit, follow, decide, with a played worker on the other side."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api_server import serving
from played import PlayedWorker
from tether import AutoGPTTask, Client, Task, TaskFailed, ValidationError
from tether.errors import ConfigurationError, Conflict, IllegalTransition, NotFound, StoreUnavailable, WaitTimeout
from tether.store import open_store
from tether.task import ApprovalKind, Budget


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new store, in a folder without any configuration."""
    monkeypatch.chdir(tmp_path)
    for name in ("TETHER_API_URL", "TETHER_CONFIG", "TETHER_STORE__URL"):
        monkeypatch.delenv(name, raising=False)
    return f"sqlite:///{tmp_path}/tether.db"


@pytest.fixture(params=["store", "server"])
def client(url: str, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client on that store, straight and through a server: the same methods, the same results."""
    if request.param == "store":
        with Client(url) as client:
            yield client
        return
    with serving(url) as server, Client(server.url, server.key) as client:
        yield client


@pytest.fixture
def worker(url: str) -> Iterator[PlayedWorker]:
    """A played worker on that store."""
    store = open_store(url)
    yield PlayedWorker(store)
    store.close()


def test_the_articles_example(client: Client, worker: PlayedWorker) -> None:
    """The example of the requirements works as written: submit, wait, result."""
    task = AutoGPTTask(
        goal="Research competitors and prepare a report",
        budget={"max_llm_calls": 50, "max_usd": 5.00, "max_web_requests": 100},
        on_budget_exceeded="checkpoint_and_pause",
        timeouts={"tool_s": 30, "step_s": 120, "task_s": 3600},
    )
    handle = client.submit(task)
    worker.succeed(worker.claim(), {"report": "all is well"})
    done = handle.wait(until="settled", timeout=10)
    assert (done.state, done.reason, done.result) == ("succeeded", "completed", {"report": "all is well"})
    assert handle.result() == {"report": "all is well"}
    assert done.budget == Budget()


def test_a_failed_task_carries_its_partial_result(client: Client, worker: PlayedWorker) -> None:
    """result() of a task that failed raises TaskFailed with what was accomplished."""
    handle = client.submit(Task(goal="x"))
    claim = worker.claim()
    worker.step(claim, 1, "hm", partial={"half": True})
    worker.fail(claim, message="the sea is too deep")
    with pytest.raises(TaskFailed, match="the sea is too deep") as caught:
        handle.result(timeout=10)
    assert (caught.value.partial, caught.value.reason) == ({"half": True}, "agent_error")


def test_waiting_ends_where_it_was_told_to(client: Client, worker: PlayedWorker) -> None:
    """settled includes paused; final does not, and gives up with WaitTimeout while the task goes on."""
    handle = client.submit(Task(goal="x"))
    with pytest.raises(WaitTimeout, match="still queued"):
        handle.wait(timeout=0.1)
    worker.pause(worker.claim(), ApprovalKind.QUESTION, "Which?")
    assert handle.wait(timeout=10).state == "paused"
    with pytest.raises(WaitTimeout, match="still paused"):
        handle.wait(until="final", timeout=0.1)
    with pytest.raises(ValidationError, match="until"):
        handle.wait(until="tomorrow")


def test_a_wait_notices_the_end_while_it_waits(client: Client, worker: PlayedWorker) -> None:
    """wait returns soon after the task ends, whoever ends it."""
    handle = client.submit(Task(goal="x"))
    claim = worker.claim()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(handle.wait, "final", 30)
        worker.succeed(claim, 1)
        assert waiting.result(timeout=30).state == "succeeded"


def test_a_question_and_its_answer(client: Client, worker: PlayedWorker) -> None:
    """The open question is among the approvals, and the answer reaches the next attempt."""
    handle = client.submit(Task(goal="x"))
    worker.pause(worker.claim(), ApprovalKind.QUESTION, "Which harbour?")
    asked = client.approvals().data
    assert [(a.task_id, a.question) for a in asked] == [(handle.id, "Which harbour?")]
    assert handle.answer("the old one", by="ann").state == "queued"
    assert worker.claim().answers == {"k": "the old one"}
    with pytest.raises(Conflict, match="waits for no decision"):
        handle.answer("again")


def test_a_budget_pause_is_approved_by_its_approval_or_task(client: Client, worker: PlayedWorker) -> None:
    """approve takes the id of the task or of the approval, and adds to the budget."""
    for by_approval in (False, True):
        handle = client.submit(Task(goal="x", budget={"max_llm_calls": 2}))
        details = {"limit": "max_llm_calls", "used": 2, "allowed": 2}
        worker.pause(worker.claim(), ApprovalKind.BUDGET, "2 of 2 used", details)
        approval = handle.document().approval
        assert approval is not None
        task = client.approve(approval.id if by_approval else handle.id, add={"max_llm_calls": 3, "max_usd": "0.5"})
        assert (task.state, task.budget.max_llm_calls, task.budget.max_usd) == ("queued", 5, 5.5)
        handle.cancel()


def test_the_life_of_a_handle(client: Client) -> None:
    """pause, resume, update, escalate, reject, retry and cancel do what they say, and nothing that the table does not allow."""
    handle = client.submit(Task(goal="x"))
    assert handle.pause().state == "paused"
    assert handle.resume().state == "queued"
    assert handle.update(budget={"max_usd": 7}, priority=2).budget.max_usd == 7
    assert handle.update(timeouts={"step_s": 5}).timeouts.step_s == 5
    assert handle.escalate(note="look").reason == "escalated"
    assert handle.reject().state == "failed"
    assert handle.retry().state == "queued"
    assert handle.cancel().state == "cancelled"
    with pytest.raises(IllegalTransition):
        handle.pause()
    with pytest.raises(ValidationError, match="changes nothing"):
        handle.update()


def test_events_are_read_in_pages_and_followed(client: Client, worker: PlayedWorker) -> None:
    """events gives all of the journal, and with follow what is still to come, to the end."""
    handle = client.submit(Task(goal="x"))
    claim = worker.claim()
    for step in range(1, 120):
        worker.step(claim, step, f"thought {step}") if step < 50 else worker.write(claim, progress={"step": step})
    seen: list[int] = []
    reader = threading.Thread(target=lambda: seen.extend(event.seq for event in handle.events(follow=True)))
    reader.start()
    worker.succeed(claim, "ok")
    reader.join(timeout=30)
    everything = [event.seq for event in handle.events()]
    assert seen == everything == list(range(1, len(everything) + 1))
    assert [event.seq for event in handle.events(after=3)] == everything[3:]


def test_tasks_are_listed_newest_first(client: Client) -> None:
    """tasks() filters and pages."""
    ids = [client.submit(Task(goal=str(n), tags=["even"] if n % 2 == 0 else [])).id for n in range(5)]
    page = client.tasks(limit=2)
    assert [task.id for task in page.data] == ids[:2:-1]
    assert [task.id for task in client.tasks(limit=2, cursor=page.next_cursor).data] == [ids[2], ids[1]]
    assert [task.id for task in client.tasks(tag="even").data] == [ids[4], ids[2], ids[0]]
    assert client.tasks(created_from=datetime(2099, 1, 1, tzinfo=UTC)).data == ()
    with pytest.raises(ValidationError, match="time zone"):
        client.tasks(created_to=datetime(2099, 1, 1))


def test_limits_come_from_task_type_and_defaults(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Task wins over task type, task type over the defaults; ceilings hold; a task type names its agent."""
    config = tmp_path / "tether.toml"
    config.write_text(
        '[agents.mine]\nkind = "command"\ncommand = ["true"]\n[models.small]\nupstream = "http://127.0.0.1:9/v1"\n'
        'model = "tiny"\n'
        '[task_types.report]\nagent = "mine"\nbudget = { max_llm_calls = 9, max_usd = 2 }\ntimeouts = { step_s = 7 }\n'
        "[limits]\nbudget = { max_usd = 3 }\n"
    )
    monkeypatch.setenv("TETHER_CONFIG", str(config))
    with Client(url) as client:
        task = client.submit(Task(goal="x", task_type="report", budget={"max_usd": 1})).document()
        assert (task.agent, task.budget.max_llm_calls, task.budget.max_usd) == ("mine", 9, 1)
        assert (task.timeouts.step_s, task.timeouts.tool_s) == (7, 30)
        assert client.submit(AutoGPTTask(goal="x", task_type="report")).document().agent == "autogpt"
        with pytest.raises(ValidationError, match=r"budget.max_usd: 5 is over the ceiling of 3"):
            client.submit(Task(goal="x"))
        with pytest.raises(ValidationError, match="known are autogpt, mine"):
            client.submit(Task(goal="x", agent="other", task_type="report"))
        with pytest.raises(ValidationError, match="known are small"):
            client.submit(Task(goal="x", task_type="report", model="large"))
        with pytest.raises(ValidationError, match=r"budget.max_usd"):
            client.update(task.id, budget={"max_usd": 4})


def test_zero_means_zero(client: Client) -> None:
    """A budget of 0 is stored as 0, not as a default."""
    task = client.submit(Task(goal="x", budget={"max_llm_calls": 0, "max_usd": 0})).document()
    assert (task.budget.max_llm_calls, task.budget.max_usd) == (0, 0)


def test_the_default_store_is_the_configured_one(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Client() uses TETHER_API_URL, else the store of variables and tether.toml."""
    with Client(url) as direct:
        task_id = direct.submit(Task(goal="x")).id
    for name in ("TETHER_API_URL", "TETHER_STORE__URL"):
        monkeypatch.setenv(name, url)
        with Client() as client:
            assert client.get(task_id).goal == "x"
        monkeypatch.delenv(name)
    (tmp_path / "tether.toml").write_text('[store]\nurl = "sqlite:///tether.db"')
    with Client() as client:
        assert client.handle(task_id).document().goal == "x"


def test_what_cannot_be_is_refused_at_once(client: Client, url: str, tmp_path: Path) -> None:
    """Wrong arguments name themselves."""
    with pytest.raises(ConfigurationError, match="base_url"):
        Client("http://")
    with pytest.raises(ConfigurationError, match="api_key"):
        Client(url, api_key="k")
    with pytest.raises(ValidationError, match="timeout"):
        Client(url, timeout=0)
    with pytest.raises(ValidationError, match="max_retries"):
        Client(url, max_retries=-1)
    with pytest.raises((ConfigurationError, StoreUnavailable)):
        Client(f"sqlite:///{tmp_path}/no/such/../\0folder/x.db")
    with pytest.raises(ValidationError, match="not a Task"):
        client.submit("do it")  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        client.get("task_none")


def test_one_client_serves_many_threads(client: Client) -> None:
    """Submitting from several threads at once loses nothing."""
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda n: client.submit(Task(goal=str(n))).id, range(40)))
    assert len(ids) == 40
    assert {task.id for task in client.tasks(limit=100).data} == ids
