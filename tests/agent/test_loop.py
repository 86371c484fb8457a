"""The built-in agent against a scripted model over HTTP, each attempt a process of its own."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.agent_supervisor import Kill, Packet, Supervised, Supervisor, attempt
from agent.nursery import Nursery
from tether.packets import pair
from tether.testing import Fault, Reply, Request, ScriptedModels, call, reply
from tether.testing.spoken import Refusal, tokens

TOOLS = ["run_python", "run_shell", "read_file", "write_file", "list_files", "ask_human"]
WRITE = reply(
    tools=[call("write_file", thought="first write", plan=["write", "check"], criticism="none", path="r.txt", content="42")]
)
READ = reply("Let me check.", tools=[call("read_file", thought="check it", path="r.txt")])
FINISH = reply(tools=[call("finish", thought="done", result="The sum is 42.", summary="wrote it")])


class Desk:
    """Everything one task needs: the model, the workspace, the spec; `attempt` makes one attempt."""

    def __init__(self, nursery: Nursery, workspace: Path, models: ScriptedModels) -> None:
        self.nursery, self.workspace, self.models = nursery, workspace, models
        workspace.mkdir(exist_ok=True)

    def spec(self, **builtin: Any) -> Packet:
        chosen = {"model": "scripted", "tools": TOOLS, "window": 32_000, **builtin}
        gateway = {"host": "127.0.0.1", "port": self.models.port, "token": "tth_test"}
        return {"kind": "builtin", "agent": "autogpt", "workspace": str(self.workspace), "gateway": gateway, "builtin": chosen}

    def attempt(
        self, task: Supervised, *, kill: Kill | None = None, builtin: Mapping[str, Any] | None = None, **how: Any
    ) -> Supervised:
        code = attempt(self.nursery, task, self.spec(**(builtin or {})), kill=kill, **how)
        assert code == 0 or kill or task.question, f"the attempt ended with {code}"
        return task

    @property
    def paid(self) -> int:
        """Model calls so far."""
        return len(self.models.ledger)

    def last_request(self) -> str:
        """The messages of the newest model call, as text."""
        return json.dumps(self.models.ledger[-1].body["messages"], ensure_ascii=False)


@pytest.fixture
def models() -> Iterator[ScriptedModels]:
    """A scripted model; tests change its script."""
    with ScriptedModels([WRITE, READ, FINISH]) as models:
        yield models


@pytest.fixture
def desk(nursery: Nursery, tmp_path: Path, models: ScriptedModels) -> Desk:
    """A desk with that model and an empty workspace."""
    return Desk(nursery, tmp_path / "w", models)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_goal_is_worked_on_until_it_is_finished(desk: Desk, provider: str) -> None:
    """Each model turn is a step with its thoughts shown, tools act in the workspace, `finish` hands over the result."""
    task = desk.attempt(Supervised(goal="write the sum", input={"a": 17}), builtin={"provider": provider})
    assert (task.result, task.done, task.failure) == ("The sum is 42.", True, None)
    assert (desk.workspace / "r.txt").read_text() == "42"
    assert (task.steps, desk.paid, len(task.ops("checkpoint"))) == (3, 3, 3)
    assert [name for name, _ in task.ran] == ["write_file", "read_file"]
    assert task.ran[0][1] == {"path": "r.txt", "content": "42"}, "thought, plan and criticism are not the tool's business"
    first, second, _ = task.ops("thought")
    assert (first["thoughts"], first["plan"], first["criticism"]) == ("first write", ["write", "check"], "none")
    assert second["thoughts"] == "Let me check.\ncheck it"
    assert task.ops("result")[0]["summary"] == "wrote it"
    assert task.partial["done"][-1].startswith("read_file: ")
    request = desk.models.ledger[0]
    assert request.route == ("messages" if provider == "anthropic" else "chat")
    asked = json.dumps(request.body)
    assert "write the sum" in asked
    assert '\\"a\\": 17' in asked


def test_checkpoints_grow_by_what_is_new(desk: Desk) -> None:
    """After the first one, a checkpoint carries only the new messages."""
    task = desk.attempt(Supervised())
    first, second, third = task.ops("checkpoint")
    assert (first["base"], second["base"], third["base"]) == (None, 1, 2)
    assert [len(part["state"]["append"]["messages"]) for part in (second, third)] == [2, 2]
    assert len(task.state["messages"]) == 5


def _counting(name: str) -> Reply:
    return reply(tools=[call("run_shell", thought=name, command=f"echo {name} >> log")])


def test_killed_anywhere_no_answer_is_paid_twice_and_no_finished_call_repeated(desk: Desk, models: ScriptedModels) -> None:
    """At every request of an attempt, before it is handled and before it is answered: the next attempt takes up right there."""
    models.change([_counting("one"), _counting("two"), FINISH])
    undisturbed = desk.attempt(Supervised())
    telling = [n for n, packet in enumerate(undisturbed.said) if packet["op"] not in ("thought", "step_ended")]
    points = [(n, phase) for n in telling for phase in ("asked", "kept")]
    for number, phase in points:
        (desk.workspace / "log").unlink(missing_ok=True)
        before = desk.paid
        task = Supervised()

        def kill(packet: Packet, at: str, number: int = number, phase: str = phase, task: Supervised = task) -> bool:
            return at == phase and len(task.said) == number + 1 and packet is task.said[number]

        desk.attempt(task, kill=kill)
        killed_at = task.said[-1]["op"] if len(task.said) == number + 1 else "end"
        # The call in flight: paid for, and not durable when the kill came before its checkpoint was kept.
        lost = 1 if killed_at == "checkpoint" and phase == "asked" else 0
        desk.attempt(task)
        assert task.result == "The sum is 42.", (number, phase, killed_at)
        assert (desk.workspace / "log").read_text().split() == ["one", "two"], (number, phase, killed_at)
        assert desk.paid - before == 3 + lost, (number, phase, killed_at)


def test_a_call_whose_outcome_is_unknown_is_told_and_only_repeated_when_idempotent(desk: Desk, models: ScriptedModels) -> None:
    """A kill while a tool runs: a shell command is not run again but explained, reading a file is simply done again."""
    both = reply(tools=[call("run_shell", thought="t", command="echo once >> log"), call("read_file", thought="t", path="log")])
    models.change([both, FINISH])
    task = Supervised()
    in_tool = threading.Event()

    def tool(_name: str, _args: Packet) -> None:
        in_tool.set()  # and never answers, as when the machine goes down

    with _running(desk, task, tool=tool):
        assert in_tool.wait(20)
    assert [outcome["outcome"] for outcome in task.tools.values()] == ["outcome_unknown"]
    (desk.workspace / "log").write_text("once\n")
    desk.attempt(task)
    assert task.done
    assert [name for name, _ in task.ran] == ["run_shell", "read_file"]
    assert "not known whether this call took effect" in desk.last_request()


@contextlib.contextmanager
def _running(desk: Desk, task: Supervised, **how: Any) -> Iterator[Supervisor]:
    """An attempt in the background, ended by the loss of its supervisor, as when the worker dies."""
    ours, theirs = pair()
    with ours:
        with theirs:
            supervisor = Supervisor(task, ours, workspace=desk.workspace, **how)
            supervisor.pid = desk.nursery.start(desk.spec(), theirs)
        yield supervisor
        ours.shutdown(socket.SHUT_RDWR)
        assert desk.nursery.wait(supervisor.pid) == 0, "an agent without a supervisor leaves by itself"
        supervisor.join()


def test_a_question_waits_without_a_process_and_its_answer_costs_no_call(desk: Desk, models: ScriptedModels) -> None:
    """ask_human ends the attempt; with the answer stored, the next one goes on in the same step."""
    ask = reply(tools=[call("ask_human", thought="I must know", question="Which colour?", choices=["red", "blue"])])
    models.change([ask, FINISH])
    task = desk.attempt(Supervised())
    assert task.question is not None
    assert (task.question["question"], task.question["choices"]) == ("Which colour?", ["red", "blue"])
    assert desk.paid == 1
    task.answers[task.question["key"]] = "blue"
    task.question = None
    desk.attempt(task)
    assert (task.result, desk.paid) == ("The sum is 42.", 2)
    assert "The user answered: blue" in desk.last_request()


def test_several_calls_of_one_answer_run_in_order_and_finish_comes_last(desk: Desk, models: ScriptedModels) -> None:
    """Calls are carried out one after the other; a `finish` among them waits for the rest."""
    mixed = reply(tools=[*FINISH.tools, *WRITE.tools, *READ.tools])
    models.change([mixed])
    task = desk.attempt(Supervised())
    assert [name for name, _ in task.ran] == ["write_file", "read_file"]
    assert (task.result, desk.paid) == ("The sum is 42.", 1)


def test_calls_that_cannot_be_made_are_told_to_the_model(desk: Desk, models: ScriptedModels) -> None:
    """An unknown tool, arguments that are cut off, a failing tool, a finish without result: the model reads what to change."""
    unknown = reply(tools=[call("teleport", thought="t", to="mars")])
    failing = reply(tools=[call("read_file", thought="t", path="missing.txt")])
    empty = reply(tools=[call("finish", thought="t")])
    no_question = reply(tools=[call("ask_human", thought="t", question=" ")])
    models.change([unknown, failing, empty, no_question, FINISH])
    task = desk.attempt(Supervised())
    assert task.done
    said = desk.last_request()
    for words in (
        "there is no tool 'teleport'",
        "Error: there is no missing.txt",
        "'result' is missing",
        "'question' is missing",
    ):
        assert words in said


def test_a_call_cut_off_at_the_output_limit_is_explained(desk: Desk, models: ScriptedModels) -> None:
    """Half a JSON object is no call: the model is told to write less."""

    def script(request: Request) -> Reply:
        return FINISH if request.turn else reply(tools=[call("write_file", thought="t", path="a", content="x" * 4000)])

    models.change(script)
    task = desk.attempt(Supervised(), builtin={"max_output": 100})
    assert task.done
    assert not task.ran
    assert "cut off at the output limit" in desk.last_request()


def test_a_tool_that_was_stopped_is_a_text_for_the_model(desk: Desk) -> None:
    """The agent survives the timeout of a tool and learns of it."""

    def tool(_name: str, _args: Packet) -> Packet:
        return {"outcome": "timeout", "result": None, "error": "took longer than 30 s and was ended"}

    task = desk.attempt(Supervised(), tool=tool)
    assert task.done
    assert "Timeout: took longer than 30 s" in desk.last_request()


def test_an_answer_without_a_call_is_nudged_and_then_forgiven(desk: Desk, models: ScriptedModels) -> None:
    """Two answers that lead nowhere are pointed out; the next good one makes them forgotten."""
    models.change(["I think so.", "Yes.", *[WRITE, "Hm.", "Well.", FINISH]])
    task = desk.attempt(Supervised())
    assert task.done
    assert "you called no tool" in desk.last_request()


@pytest.mark.parametrize(
    "bad", [reply("I will think about it."), reply(), Reply(fault=Fault(kind="garbage")), Reply(fault=Fault(kind="empty"))]
)
def test_a_model_that_answers_nothing_of_use_fails_the_attempt(desk: Desk, models: ScriptedModels, bad: Reply) -> None:
    """Text without a call, nothing, and no JSON: nudged twice, then agent_error in plain words."""
    models.change(lambda _request: bad)
    task = desk.attempt(Supervised())
    assert task.failure is not None
    assert task.failure["reason"] == "agent_error"
    assert "called no tool in 3 answers" in task.failure["message"]
    assert (desk.paid, task.steps) == (3, 3)


def test_a_tool_call_written_as_text_is_understood(desk: Desk, models: ScriptedModels) -> None:
    """Weak local models write the call as fenced JSON: it counts."""
    text = 'Sure!\n```json\n{"name": "write_file", "arguments": {"path": "r.txt", "content": "7", "thought": "so"}}\n```'
    models.change([text, FINISH])
    task = desk.attempt(Supervised())
    assert task.done
    assert (desk.workspace / "r.txt").read_text() == "7"
    assert task.ops("thought")[0]["thoughts"] == "Sure!\nso"


def test_a_result_that_does_not_match_is_repaired_once(desk: Desk, models: ScriptedModels) -> None:
    """The first refusal goes to the model with its reason, the second fails the attempt as invalid_result."""
    schema = {"type": "object", "properties": {"n": {"$ref": "#/$defs/N"}}, "$defs": {"N": {"type": "integer"}}}
    refusal = {"ok": False, "reason": "invalid_result", "message": "n: 'x' is not an integer"}
    models.change([reply(tools=[call("finish", thought="t", result={"n": n})]) for n in ("x", 1)])
    task = desk.attempt(Supervised(result_schema=schema, results_wanted=[dict(refusal)]))
    assert task.result == {"n": 1}
    assert "is not an integer" in desk.last_request()
    finish = next(t["function"] for t in desk.models.ledger[0].body["tools"] if t["function"]["name"] == "finish")
    assert finish["parameters"]["properties"]["result"]["properties"]["n"] == {"$ref": "#/$defs/N"}
    assert finish["parameters"]["$defs"]["N"]["type"] == "integer"

    task = desk.attempt(Supervised(result_schema=schema, results_wanted=[dict(refusal), dict(refusal)]))
    assert task.failure is not None
    assert task.failure["reason"] == "invalid_result"


def test_a_nudge_of_the_supervisor_reaches_the_model(desk: Desk) -> None:
    """What stuck detection has to say stands in the next request."""
    desk.attempt(Supervised(nudges={2: "You repeat yourself."}))
    assert "You repeat yourself." in desk.last_request()


def test_an_ending_at_a_step_loses_nothing(desk: Desk) -> None:
    """Told to stop at a step boundary the agent leaves quietly; later it goes on with the next step."""
    task = Supervised()
    stop: Kill = lambda packet, _phase: bool(  # noqa: E731
        packet["op"] == "step_started"
        and task.steps == 1
        and task.refuse.update(step_started={"ok": False, "reason": "ending", "message": "drain"})
    )
    desk.attempt(task, kill=stop)
    assert (task.done, task.failure, desk.paid) == (False, None, 1)
    task.refuse.clear()
    desk.attempt(task)
    assert (task.result, desk.paid) == ("The sum is 42.", 3)


def test_a_call_refused_for_the_budget_waits_for_the_supervisor(desk: Desk, models: ScriptedModels) -> None:
    """402 is no error of the agent: it says nothing, keeps still and leaves when it is ended."""
    models.change(lambda _request: Reply(fault=Fault(kind="status", status=402)))
    task = Supervised()
    with _running(desk, task):
        models.wait_for(lambda ledger: len(ledger) == 1)
    assert (task.failure, task.done, desk.paid) == (None, False, 1)


@pytest.mark.parametrize(("status", "said"), [(503, "HTTP 503"), (500, "HTTP 500"), (401, "HTTP 401"), (400, "HTTP 400")])
def test_an_upstream_that_fails_is_an_upstream_error(desk: Desk, models: ScriptedModels, status: int, said: str) -> None:
    """What the gateway could not mend by retrying ends the attempt, once, with the server's words."""
    models.change(lambda _request: Reply(fault=Fault(kind="status", status=status)))
    task = desk.attempt(Supervised())
    assert task.failure is not None
    assert task.failure["reason"] == "upstream_error"
    assert said in task.failure["message"]
    assert "a scripted fault" in task.failure["message"]
    assert desk.paid == 1


def test_a_gateway_that_comes_back_is_waited_for(desk: Desk, models: ScriptedModels) -> None:
    """A connection that is cut or refused for a moment, as while the gateway restarts, is tried again."""
    models.change(lambda request: FINISH if request.turn else Reply(tools=WRITE.tools, fault=Fault(kind="reset", times=2)))
    task = desk.attempt(Supervised())
    assert task.done
    assert desk.paid == 4


def test_memory_is_trimmed_before_the_window_is_full(desk: Desk, models: ScriptedModels) -> None:
    """However much the tools return, no request passes the window, the goal stays in each, and every result belongs to a call."""
    window = 4_000
    sizes: list[int] = []
    steps = iter(range(30))

    def script(request: Request) -> Reply:
        sizes.append(tokens(json.dumps(request.body)))
        assert "the GOAL of it all" in request.asked
        called = {t.id for m in request.messages for t in m.tools}
        answered = {m["tool_call_id"] for m in request.body["messages"] if m["role"] == "tool"}
        assert answered == called
        n = next(steps)
        return FINISH if n == 29 else reply(tools=[call("read_file", thought=f"step {n}", path="r.txt")])

    models.change(script)
    (desk.workspace / "r.txt").write_text("long words and more " * 1000)
    task = desk.attempt(Supervised(goal="the GOAL of it all"), builtin={"window": window})
    assert task.done, task.failure
    assert max(sizes) <= window
    trims = task.ops("memory_trimmed")
    assert trims
    assert all(trim["after_tokens"] < trim["before_tokens"] for trim in trims)
    assert "What you did earlier" in desk.last_request()


def test_a_trimmed_memory_is_what_the_next_attempt_finds(desk: Desk, models: ScriptedModels) -> None:
    """After trimming the checkpoint is whole again, and an attempt that resumes from it goes on."""
    steps = iter(range(100))

    def script(_request: Request) -> Reply:
        n = next(steps)
        return FINISH if n == 20 else reply(tools=[call("read_file", thought=f"step {n}", path="r.txt")])

    models.change(script)
    (desk.workspace / "r.txt").write_text("long words and more " * 1000)
    task = Supervised()
    desk.attempt(task, kill=lambda packet, _: packet["op"] == "step_started" and task.steps == 12, builtin={"window": 4_000})
    assert task.ops("memory_trimmed")
    assert task.state["digest"]
    assert len(task.state["messages"]) < 20
    desk.attempt(task, builtin={"window": 4_000})
    assert task.done


def test_a_server_that_finds_the_request_too_long_gets_a_shorter_one(desk: Desk, models: ScriptedModels) -> None:
    """When the window is smaller than anybody knew, the memory is cut and the call made once more."""

    refused: list[int] = []

    def script(request: Request) -> Reply:
        if tokens(json.dumps(request.body)) > 4_000:
            refused.append(request.turn)
            raise Refusal(400, "This model's maximum context length is 4000 tokens")
        return FINISH if refused else READ

    models.change(script)
    (desk.workspace / "r.txt").write_text("long words and more " * 900)
    task = desk.attempt(Supervised(), builtin={"window": 12_000})
    assert task.done, task.failure
    assert (len(refused), len(task.ops("memory_trimmed"))) == (1, 1)


def test_a_goal_larger_than_the_window_is_context_exceeded(desk: Desk, models: ScriptedModels) -> None:
    """What cannot be made to fit fails with that reason, without a call when it is known before, after one retry when not."""
    task = desk.attempt(Supervised(goal="word " * 10_000), builtin={"window": 4_000})
    assert task.failure is not None
    assert task.failure["reason"] == "context_exceeded"
    assert desk.paid == 0

    def script(_request: Request) -> Reply:
        raise Refusal(400, "the request exceeds the available context size")

    models.change(script)
    task = desk.attempt(Supervised())
    assert task.failure is not None
    assert task.failure["reason"] == "context_exceeded"
    assert desk.paid == 2


def test_a_tool_call_is_required_where_the_server_can(desk: Desk, models: ScriptedModels) -> None:
    """Every request asks for a tool call; a server that objects is asked again without, and not bothered any more."""

    def script(request: Request) -> Reply:
        if request.body.get("tool_choice") == "required":
            raise Refusal(400, "tool_choice: required is not supported by this model")
        return FINISH if request.turn else WRITE

    models.change(script)
    assert desk.attempt(Supervised()).done
    choices = [entry.body.get("tool_choice") for entry in models.ledger]
    assert choices[0] == "required"
    assert "required" not in choices[1:]
    assert len(choices) == 3


def test_an_unknown_tool_in_the_configuration_is_named(desk: Desk) -> None:
    """The failure says which tool and where to define it."""
    task = desk.attempt(Supervised(), builtin={"tools": ["abacus"]})
    assert task.failure is not None
    assert "[tools.abacus]" in task.failure["message"]


def test_operator_instructions_and_own_tools_reach_the_model(desk: Desk, models: ScriptedModels) -> None:
    """Instructions stand in the system prompt; a tool of one's own is offered with its description and parameters."""
    models.change([FINISH])
    parameters = {"type": "object", "properties": {"thought": {"type": "integer"}}, "required": ["thought"]}
    spec = desk.spec(tools=["mine"], instructions="Answer in French.", model="gpt-x")
    spec["tools"] = {"mine": {"entry": "m:f", "description": "my tool", "parameters": parameters}}
    task = Supervised()
    attempt(desk.nursery, task, spec)
    body = desk.models.ledger[0].body
    assert "Answer in French." in json.dumps(body["messages"][0])
    assert body["model"] == "gpt-x"
    mine = body["tools"][0]["function"]
    assert (mine["name"], mine["description"]) == ("mine", "my tool")
    assert mine["parameters"]["properties"]["thought"] == {"type": "integer"}, "its own argument of that name wins"


def test_the_rehearsal_leaves_a_process_that_can_be_forked(nursery: Nursery) -> None:
    """After it, for both providers, there is one thread and no socket or event loop left open."""
    assert nursery.after_rehearsal["threads"] == 1
    left = [name for name in nursery.after_rehearsal["descriptors"] if "socket" in name or "event" in name]
    assert left == []
