"""The closed list of events, and that no secret gets into a journal."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tether.errors import ValidationError
from tether.events import KINDS, MASK, VERSION, Event, NewEvent, redact

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
kinds = st.sampled_from(sorted(KINDS))


def test_every_kind_and_field_is_explained() -> None:
    """Each kind has a sentence and each field its meaning, so the reference has no blanks."""
    for name, kind in KINDS.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)
        assert kind.doc.endswith(".")
        assert all(kind.fields.values())
    assert re.fullmatch(r"\d+\.\d+", VERSION)


def test_unknown_kinds_are_refused() -> None:
    """An event outside the list cannot be written."""
    with pytest.raises(ValidationError, match="is not an event"):
        NewEvent(type="task_exploded")


@given(kinds, st.text(min_size=1))
def test_unknown_fields_are_refused(kind: str, key: str) -> None:
    """A field its kind does not have cannot be written."""
    if key not in KINDS[kind].fields:
        with pytest.raises(ValidationError, match="is not a field of this event"):
            NewEvent(type=kind, data={key: 1})


@given(kinds, st.data())
def test_events_survive_json(kind: str, data: st.DataObject) -> None:
    """An event's document is JSON with exactly the contract's keys, and carries its data unchanged."""
    values = {key: data.draw(json_values) for key in KINDS[kind].fields}
    new = NewEvent(type=kind, data=values, attempt=2, step=3)
    event = Event(
        task_id="task_x", seq=7, attempt=new.attempt, step=new.step, type=new.type, at_ms=1_700_000_000_000, data=new.data
    )
    document = json.loads(json.dumps(event.document()))
    assert list(document) == ["seq", "task_id", "attempt", "step", "type", "at", "data"]
    assert document["data"] == values
    assert document["at"] == "2023-11-14T22:13:20.000Z"


SECRETS = [
    "sk-" + "a" * 20,
    "sk-proj-" + "B7_" * 8,
    "tth_" + "x" * 20,
    "ghp_" + "A1" * 12,
    "xoxb-123456789012-abc",
    "AKIA" + "ABCDEFGH12345678",
    "AIza" + "b" * 35,
    "eyJ" + "a" * 12 + "." + "b" * 12 + "." + "c" * 12,
]


@pytest.mark.parametrize("secret", SECRETS, ids=lambda s: s[:5])
def test_tokens_are_masked_in_any_text(secret: str) -> None:
    """A well-known token is masked wherever it stands: in a text, a list, a map, an argument."""
    value = {"args": [f"curl -H 'X: {secret}' http://x", {"deep": secret}], "text": f"({secret})"}
    assert secret not in json.dumps(redact(value))
    assert "curl" in json.dumps(redact(value))


def test_bearer_header_is_masked_but_named() -> None:
    """An Authorization header in a text keeps its name and loses its key."""
    assert redact("Authorization: Bearer abcdefghijklmnop1234") == f"Authorization: Bearer {MASK}"


@pytest.mark.parametrize(
    "key",
    [
        "api_key",
        "OPENAI_API_KEY",
        "x-api-key",
        "Authorization",
        "password",
        "db_password",
        "client-secret",
        "cookie",
        "access_token",
    ],
)
def test_values_of_telling_keys_are_masked(key: str) -> None:
    """A value is masked by the name of its key alone, whatever it looks like."""
    assert redact({key: "hunter2"}) == {key: MASK}


@pytest.mark.parametrize("key", ["author", "tokens", "input_tokens", "monkey", "keyboard", "secretary"])
def test_harmless_keys_are_kept(key: str) -> None:
    """Keys that only sound like secrets keep their values."""
    assert redact({key: "plain"}) == {key: "plain"}


@given(json_values)
def test_redaction_keeps_the_shape(value: object) -> None:
    """Redaction changes texts only, keeps every key, and doing it twice changes nothing more."""
    once = redact(value)
    assert redact(once) == once
    assert _shape(once) == _shape(value)


def _shape(value: object) -> object:
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shape(item) for item in value]
    return type(value).__name__
