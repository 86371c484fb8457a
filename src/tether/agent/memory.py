"""The built-in agent's memory: the conversation, its size, and how it is made smaller before the model's window is full."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from tether.agent.failure import AgentFailed
from tether.agent.prompts import EARLIER_STEPS

__all__ = ["Memory"]

VERSION = 1
_BYTES_PER_TOKEN = 3.5
_LEAST_BYTES_PER_TOKEN = 1.0
_PART_BYTES = 24  # what a message costs beside its text
_OLD_RESULT = 400
_LEAST_RESULT = 160


class Memory:
    """What the model is reminded of in every request: system prompt and goal, a digest of dropped steps, and the messages since.

    `fixed_chars` counts what every request carries besides (the tool definitions).
    """

    def __init__(self, system: str, goal: str, *, fixed_chars: int = 0) -> None:
        self.system = system
        self.goal = goal
        self.digest: list[str] = []
        self.messages: list[ModelMessage] = []
        self._fixed_bytes = fixed_chars
        self._bytes_per_token = _BYTES_PER_TOKEN
        self._saved = 0
        self._rewritten = True
        self._counted_tokens = 0
        self._counted_messages = 0

    @classmethod
    def restored(cls, state: Mapping[str, Any], *, fixed_chars: int = 0) -> Memory:
        """The memory of a checkpoint; raises AgentFailed for one that another version wrote."""
        if state.get("version") != VERSION:
            raise AgentFailed("agent_error", f"the checkpoint has format {state.get('version')!r}, this release reads {VERSION}")
        memory = cls(state["system"], state["goal"], fixed_chars=fixed_chars)
        memory.digest = list(state["digest"])
        memory.messages = ModelMessagesTypeAdapter.validate_python(state["messages"])
        memory._saved = len(memory.messages)
        memory._rewritten = False
        return memory

    @property
    def pending(self) -> ModelResponse | None:
        """The model's last answer, when its calls have no results yet."""
        last = self.messages[-1] if self.messages else None
        return last if isinstance(last, ModelResponse) else None

    @property
    def call_ids(self) -> set[str]:
        """Ids of all calls the memory holds."""
        return {part.tool_call_id for m in self.messages for part in m.parts if isinstance(part, ToolCallPart)}

    def add(self, message: ModelMessage) -> None:
        """Append a message; a response brings the true size of what was asked."""
        if isinstance(message, ModelResponse) and message.usage.input_tokens:
            asked = self._fixed_bytes + sum(_size(earlier) for earlier in self.request())
            # Never more than 3.5: what was dense may be followed by what is denser, and too small a guess fills the window.
            self._bytes_per_token = min(_BYTES_PER_TOKEN, max(_LEAST_BYTES_PER_TOKEN, asked / message.usage.input_tokens))
            self._counted_tokens = message.usage.input_tokens + message.usage.output_tokens
            self._counted_messages = len(self.messages) + 1
        self.messages.append(message)

    def note(self, text: str) -> None:
        """Tell the model something with the next request."""
        last = self.messages[-1] if len(self.messages) > self._saved else None
        if isinstance(last, ModelRequest):
            self.messages[-1] = replace(last, parts=[*last.parts, UserPromptPart(content=text)])
        else:
            self.messages.append(ModelRequest(parts=[UserPromptPart(content=text)]))

    def request(self) -> list[ModelMessage]:
        """The messages to send."""
        head: list[Any] = [SystemPromptPart(content=self.system), UserPromptPart(content=self.goal)]
        if self.digest:
            head.append(UserPromptPart(content="\n".join([EARLIER_STEPS, *self.digest])))
        rest = self.messages
        while rest and isinstance(rest[0], ModelRequest):
            head.extend(rest[0].parts)
            rest = rest[1:]
        return [ModelRequest(parts=head), *rest]

    def tokens(self) -> int:
        """Estimated tokens of the next request: the provider's count of the last one, and 3.5 characters each for what is new."""
        if self._counted_tokens:
            new = sum(_size(message) for message in self.messages[self._counted_messages :])
            return self._counted_tokens + int(new / self._bytes_per_token)
        everything = self._fixed_bytes + sum(_size(message) for message in self.request())
        return int(everything / self._bytes_per_token)

    def shrink(self, window_tokens: int, share: float) -> bool:
        """Make the memory smaller until what can be dropped fills at most `share` of the room that goal and tools leave.

        Returns false when even the goal and the last turn, shortened, are estimated not to fit the window.
        """
        self._counted_tokens = 0
        self._rewritten = True
        fixed = int((self._fixed_bytes + len(self.system.encode()) + len(self.goal.encode())) / self._bytes_per_token)
        most = fixed + int(max(0, window_tokens - fixed) * share)
        digest_bytes = int((most - fixed) * self._bytes_per_token / 4)
        self._shorten_old_results(most)
        self._drop_oldest(most, digest_bytes)
        self._shorten_last_results(most)
        return self.tokens() <= window_tokens

    def unsaved(self) -> tuple[list[Any], bool]:
        """New messages as JSON, and whether only a whole checkpoint will do because older ones changed."""
        return _dump(self.messages[self._saved :]), self._rewritten

    def state(self) -> dict[str, Any]:
        """The whole memory as JSON."""
        return {
            "version": VERSION,
            "system": self.system,
            "goal": self.goal,
            "digest": self.digest,
            "messages": _dump(self.messages),
        }

    def saved(self) -> None:
        """The memory as it is now is durable."""
        self._saved = len(self.messages)
        self._rewritten = False

    def _turns(self) -> list[int]:
        """Where each turn (an answer and what followed it) begins."""
        return [i for i, message in enumerate(self.messages) if isinstance(message, ModelResponse)]

    def _shorten_old_results(self, most: int) -> None:
        turns = self._turns()
        for i in range(turns[-2] if len(turns) > 2 else 0):
            if self.tokens() <= most:
                return
            self.messages[i] = _shortened(self.messages[i], _OLD_RESULT)

    def _drop_oldest(self, most: int, digest_bytes: int) -> None:
        while self.tokens() > most and len(self._turns()) > 1:
            end = self._turns()[1]
            self.digest += _digest(self.messages[:end])
            self.messages = self.messages[end:]
            while self.digest and sum(len(line.encode("utf-8", "replace")) for line in self.digest) > digest_bytes:
                self.digest.pop(0)

    def _shorten_last_results(self, most: int) -> None:
        longest = max((_size(message) for message in self.messages), default=0)
        while self.tokens() > most and longest > _LEAST_RESULT:
            longest = max(longest // 2, _LEAST_RESULT)
            self.messages = [_shortened(message, longest) for message in self.messages]


def _dump(messages: Sequence[ModelMessage]) -> list[Any]:
    return ModelMessagesTypeAdapter.dump_python(list(messages), mode="json", exclude_none=True)


def _size(message: ModelMessage) -> int:
    """Bytes of what a message says: in UTF-8, because 3.5 characters a token holds for no script but the Latin."""
    return sum(len(_said(part).encode("utf-8", "replace")) + _PART_BYTES for part in message.parts)


def _said(part: Any) -> str:
    if isinstance(part, ToolCallPart):
        args = part.args if isinstance(part.args, str) else json.dumps(part.args or {}, ensure_ascii=False)
        return part.tool_name + args
    return part.content if isinstance(part.content, str) else json.dumps(part.content, ensure_ascii=False, default=str)


def _shortened(message: ModelMessage, most: int) -> ModelMessage:
    if isinstance(message, ModelRequest):
        return replace(message, parts=[_short_return(part, most) for part in message.parts])
    return replace(message, parts=[_short_answer(part, most) for part in message.parts])


def _short_return(part: Any, most: int) -> Any:
    if isinstance(part, ToolReturnPart) and isinstance(part.content, str) and len(part.content) > most:
        return replace(part, content=part.content[:most] + " … (shortened)")
    return part


def _short_answer(part: Any, most: int) -> Any:
    """Long arguments (a file's content) and texts are shortened too; a signed thought is kept whole, it would be refused."""
    if isinstance(part, ToolCallPart):
        args = _arguments(part)
        if any(isinstance(value, str) and len(value) > most for value in args.values()):
            short = {k: v[:most] + " … (shortened)" if isinstance(v, str) and len(v) > most else v for k, v in args.items()}
            return replace(part, args=short)
    if isinstance(part, TextPart) and len(part.content) > most:
        return replace(part, content=part.content[:most] + " … (shortened)")
    return part


def _arguments(part: ToolCallPart) -> dict[str, Any]:
    return part.args_as_dict()


def _digest(messages: Sequence[ModelMessage]) -> list[str]:
    """A line for each call that is dropped: what was done and how it began to answer."""
    results = {
        part.tool_call_id: " ".join(str(part.content).split())[:120]
        for message in messages
        for part in message.parts
        if isinstance(part, ToolReturnPart)
    }
    lines: list[str] = []
    for message in messages:
        for part in message.parts:
            if isinstance(part, ToolCallPart):
                args = {k: v for k, v in _arguments(part).items() if k not in ("thought", "plan", "criticism")}
                shown = json.dumps(args, ensure_ascii=False)[:120]
                lines.append(f"- {part.tool_name} {shown} → {results.get(part.tool_call_id, 'no result')}")
            elif isinstance(part, TextPart | ThinkingPart) and part.content.strip():
                lines.append(f"- said: {' '.join(part.content.split())[:120]}")
    return lines
