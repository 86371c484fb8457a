"""Events and bars in words."""

from __future__ import annotations

from tether.cli.actions import commands
from tether.cli.bars import Bar
from tether.cli.event_lines import LINES, NOISE, STYLES, describe, line, money, seconds
from tether.cli.output import clean, one_line
from tether.cli.watch import Watch, fold
from tether.events import KINDS, Event


def _event(name: str, /, *, seq: int = 1, at_ms: int = 0, **data: object) -> Event:
    return Event(task_id="task_1", seq=seq, attempt=1, step=2, type=name, at_ms=at_ms, data=data)


def test_every_kind_of_event_has_a_line_and_no_other() -> None:
    """The lines, styles and noise are about the closed list of events."""
    assert set(LINES) == set(KINDS)
    assert set(KINDS) >= NOISE
    assert set(KINDS) >= set(STYLES)


def test_lines_name_only_fields_that_exist() -> None:
    """A line speaks of fields the event has; nothing in it stays empty by a typing error."""
    computed = {"step", "task_id", "usd", "answer", "origin"}
    for kind, text in LINES.items():
        named = {part.split("}")[0] for part in text.split("{")[1:]}
        assert named <= set(KINDS[kind].fields) | computed, kind


def test_every_line_bears_missing_and_hostile_fields() -> None:
    """Whatever an agent puts into an event, its line is one clean line."""
    for kind, known in KINDS.items():
        hostile = dict.fromkeys(known.fields, "\x1b[2J\n{x} %s [bold]")
        for data in ({}, hostile, dict.fromkeys(known.fields), {key: {"a": [1]} for key in known.fields}):
            text = line(_event(kind, **data), wide=True).plain
            assert "\x1b" not in text
            assert "\n" not in text


def test_money_and_time_read_well() -> None:
    """Dollars keep the digits that matter, seconds become minutes and hours."""
    assert [money(n) for n in (0, 1_500_000, 250_000_000, 5_000_000_000)] == ["$0.00", "$0.0015", "$0.25", "$5.00"]
    assert [seconds(s) for s in (0.04, 59.9, 61, 7260)] == ["0.0 s", "59.9 s", "1 min 01 s", "2 h 01 min"]


def test_tool_ends_show_what_came_back() -> None:
    """The line of a tool's end has its result or its error."""
    ended = _event("tool_ended", name="read_file", outcome="error", error="no such file", took_ms=3)
    assert describe(ended) == "read_file: error in 3 ms no such file"


def test_text_is_cleaned_and_cut() -> None:
    """Control and direction characters go, long text ends in an ellipsis."""
    assert clean("a\x1b[1mb\u202ec\td\r\n") == "a[1mbc\td\n"
    assert one_line("x" * 500, 10) == "x" * 9 + "…"
    assert one_line({"ü": [1]}) == '{"ü": [1]}'


def test_bars_are_full_at_the_limit() -> None:
    """A bar is as long as its part, and never longer than full."""
    for part, full in ((0, 0), (0.5, 12), (1, 24), (7.5, 24)):
        assert Bar(name="x", part=part, figures="").text().plain.count("━") == full


def test_the_watch_follows_an_attempt() -> None:
    """Step, thought, running tools and active time are those of the events."""
    watch = Watch()
    story = (
        _event("attempt_started", at_ms=1000),
        _event("step_started", seq=2, at_ms=2000),
        _event("thought", seq=3, thoughts="hm", plan=["a", "b"]),
        _event("call_started", seq=4, call_id="c", model="m"),
        _event("call_ended", seq=5, call_id="c"),
        _event("tool_started", seq=6, at_ms=3000, call_id="t", name="run_shell", args={"command": "ls"}, timeout_s=30),
    )
    for event in story:
        watch = fold(watch, event)
    assert (watch.seq, watch.attempt, watch.step, watch.thought, watch.plan) == (6, 1, 2, "hm", ("a", "b"))
    assert [tool.name for tool in watch.tools.values()] == ["run_shell"]
    assert (dict(watch.calls), watch.active_at(5000)) == ({}, 4.0)
    watch = fold(watch, _event("tool_ended", seq=7, call_id="t"))
    watch = fold(watch, _event("attempt_ended", seq=8, active_s=4.5))
    assert (dict(watch.tools), watch.active_at(99_000), watch.step_started_ms) == ({}, 4.5, None)


def test_actions_are_real_commands() -> None:
    """Every action a task can offer has a command of the command line."""
    from tether.cli.app import app

    names = {command.name for command in app.registered_commands}
    assert {"approve", "reject", "answer", "resume", "retry", "escalate", "cancel", "pause", "update"} <= names
    assert callable(commands)
