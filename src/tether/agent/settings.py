"""What the built-in agent is told by the AttemptSpec: model, tools, instructions, sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tether.agent.failure import AgentFailed
from tether.agent.tools import ToolSpec, offered

__all__ = ["LoopSettings"]

#: Tokens assumed when nobody knows the model's window: small local servers have this much, and trimming early does no harm.
_UNKNOWN_WINDOW = 8_192
_CHARS_PER_TOKEN = 3.5


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """Settings of one attempt of the built-in agent.

    base_url: of the gateway, with no version; token: its key. provider: "openai" | "anthropic"; model: the name asked for.
    window: tokens of input and output together. max_output: tokens of one answer, None leaves it to the gateway.
    instructions: added to the prompt. parallel_tools: whether tool calls of one answer run at the same time.
    """

    base_url: str
    token: str
    model: str = "default"
    provider: str = "openai"
    tools: Mapping[str, ToolSpec] = field(default_factory=dict[str, ToolSpec])
    window: int = _UNKNOWN_WINDOW
    max_output: int | None = None
    temperature: float | None = None
    instructions: str = ""
    parallel_tools: bool = False

    @classmethod
    def of(cls, spec: Mapping[str, Any], window: int | None = None) -> LoopSettings:
        """The settings in an AttemptSpec; `window` is what hello said. Raises AgentFailed for an unknown tool."""
        gateway, chosen = spec["gateway"], spec.get("builtin") or {}
        return cls(
            base_url=f"http://{gateway.get('host') or '127.0.0.1'}:{gateway.get('port') or 8080}",
            token=gateway["token"],
            model=chosen.get("model") or "default",
            provider=chosen.get("provider") or "openai",
            tools=_tools(chosen.get("tools") or (), spec.get("tools") or {}),
            window=window or chosen.get("window") or _UNKNOWN_WINDOW,
            max_output=chosen.get("max_output"),
            temperature=chosen.get("temperature"),
            instructions=chosen.get("instructions") or "",
            parallel_tools=bool(chosen.get("parallel_tools")),
        )

    @property
    def input_tokens(self) -> int:
        """What a request may fill of the window: the rest is for the answer."""
        return self.window - min(self.max_output or 4_096, self.window // 4)

    @property
    def observation_chars(self) -> int:
        """Most characters of one tool result that the model is shown."""
        return min(20_000, int(self.input_tokens * _CHARS_PER_TOKEN / 4))


def _tools(names: Any, configured: Mapping[str, Any]) -> dict[str, ToolSpec]:
    try:
        return offered(names or configured, configured)
    except KeyError as error:
        raise AgentFailed(
            "agent_error", f"tool {error.args[0]!r} is not known; add [tools.{error.args[0]}] with an entry"
        ) from None
