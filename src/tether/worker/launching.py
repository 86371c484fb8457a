"""What an attempt is started with: its workspace, its AttemptSpec, and what the gateway is told of it."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tether import uploads
from tether.config import AgentSettings, Settings
from tether.errors import UnpricedModel, ValidationError
from tether.gateway.options import GatewayOptions, ModelOptions
from tether.gateway.prices import PriceList
from tether.store.rows import Claim
from tether.worker.attempt import MOST_PARKINGS, LiveAttempt

__all__ = [
    "Windows",
    "agent_environment",
    "attempt_spec",
    "attempt_uid",
    "code_dir",
    "configure_packet",
    "gateway_packet",
    "give_workspace",
    "host_listeners",
    "prepare_workspace",
    "readable",
    "rehearsed",
    "slot_uid",
    "workspace_of",
]

_FIRST_UID = 1_000_000
_UIDS_PER_WORKER = 10_000
_DEADLINE_GRACE_S = 5.0


def slot_uid(slot: int) -> int | None:
    """A user id of its own for the attempt in `slot`, when the worker is root and may give one away."""
    if os.geteuid() != 0:
        return None
    return _FIRST_UID + (os.getpid() % 100_000) * _UIDS_PER_WORKER + slot


def attempt_uid(slot: int, agent: AgentSettings, workspace: Path) -> int | None:
    """The user of an attempt where a root worker may give users: the slot's own, or the owner of the folder it works in."""
    if agent.in_place:
        return workspace.stat().st_uid or None
    return slot_uid(slot)


def workspace_of(settings: Settings, claim: Claim) -> Path:
    """The folder a task works in: one of its own, or that of an agent that works in place."""
    agent = settings.agent(claim.task.agent)
    return (settings.base_dir / agent.code_dir).resolve() if agent.in_place else settings.workspaces / claim.workspace_key


def prepare_workspace(settings: Settings, claim: Claim) -> Path:
    """The task's workspace folder, made at the first attempt with copies of the task's files; raises ValidationError."""
    folder = workspace_of(settings, claim)
    if folder.is_dir():
        return folder
    if settings.agent(claim.task.agent).in_place:
        raise ValidationError(f"agents.{claim.task.agent}.code_dir", f"{folder} is not a folder", "make it again, then retry")
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o700)
    for name, source in claim.task.files.items():
        _copy_in(part, name, uploads.source(settings, source))
    part.rename(folder)
    return folder


def _copy_in(folder: Path, name: str, source: str) -> None:
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise ValidationError(f"files.{name}", "leads out of the workspace", "use a relative path without ..")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise ValidationError(f"files.{name}", f"{source!r} cannot be read ({error.strerror})", "check the path") from None


def give_workspace(folder: Path, uid: int | None) -> None:
    """Make `uid` the owner of the folder and all in it; links are not followed."""
    if uid is None or folder.stat().st_uid == uid:
        return
    for place, _folders, names in os.walk(folder, followlinks=False):
        os.chown(place, uid, uid, follow_symlinks=False)
        for name in names:
            os.chown(os.path.join(place, name), uid, uid, follow_symlinks=False)


def attempt_spec(
    settings: Settings,
    attempt: LiveAttempt,
    workspace: Path,
    *,
    windows: Windows,
    uid: int | None,
    ports: Mapping[str, int] | None,
    secrets: Mapping[str, str],
) -> dict[str, Any]:
    """The AttemptSpec for the zygote. ports: of the host's listeners for it, None when they open in its namespace."""
    claim, agent, worker = attempt.claim, attempt.agent, settings.worker
    base = settings.base_dir
    memory_mb = agent.memory_mb or worker.memory_mb
    return {
        "task_id": claim.task_id,
        "attempt": claim.attempt,
        "agent": claim.task.agent,
        "kind": agent.kind,
        "entry": agent.entry or None,
        "command": list(agent.command) or None,
        "goal": claim.task.goal,
        "input": claim.task.input,
        "workspace": str(workspace),
        "in_place": agent.in_place,
        "hidden": [*hidden_paths(settings), *(_dotenv(workspace) if agent.in_place else ())],
        "readable": list(readable(settings, agent)),
        "writable": [str((base / path).resolve()) for path in agent.writable],
        "env": agent_environment(agent) | dict(secrets),
        "limits": {
            "memory_bytes": memory_mb * 1024 * 1024,
            "cpu_s": int(attempt.clocks.task_left_s + _DEADLINE_GRACE_S) + 1,
            "file_bytes": worker.file_mb * 1024 * 1024,
            "open_files": worker.open_files,
            "processes": worker.processes,
        },
        "deadline_s": attempt.clocks.task_left_s + _DEADLINE_GRACE_S + _parked_s(attempt),
        "uid": uid,
        "isolation": worker.isolation,
        "gateway": {"host": "127.0.0.1", "port": ports and ports["gateway"], "token": attempt.token},
        "proxy": {"port": ports and ports["proxy"]},
        "tools": {name: _tool(settings, name) for name in agent.tools if name in settings.tools},
        "builtin": _builtin(settings, attempt, windows) if agent.kind == "builtin" else None,
    }


def code_dir(settings: Settings, agent: AgentSettings) -> str | None:
    """The folder of the agent's code; the built-in agent has none."""
    return None if agent.kind == "builtin" else str((settings.base_dir / agent.code_dir).resolve())


def readable(settings: Settings, agent: AgentSettings) -> tuple[str, ...]:
    """What an agent may read besides its code and its interpreter."""
    return tuple(str((settings.base_dir / path).resolve()) for path in agent.readable)


def hidden_paths(settings: Settings) -> list[str]:
    """What no attempt may see, even where it lies inside a folder it may read: configuration, store, data folder, key files."""
    paths = [str(settings.home), *(str(settings.base_dir / m.key_file) for m in settings.models.values() if m.key_file)]
    if settings.file is not None:
        paths.append(str(settings.file))
    if settings.store_url.startswith("sqlite:///"):
        store = settings.store_url.removeprefix("sqlite:///")
        paths += [store, f"{store}-wal", f"{store}-shm"]
    return paths


def _dotenv(folder: Path) -> list[str]:
    """Where keys are kept beside code by custom; a folder that is the agent's to write needs this said."""
    return [str(path) for path in folder.iterdir() if path.name in ("tether.toml", ".env") or path.name.startswith(".env.")]


def agent_environment(agent: AgentSettings) -> dict[str, str]:
    """The variables an agent gets besides those of the attempt."""
    passed = {name: os.environ[name] for name in agent.pass_env if name in os.environ}
    return passed | dict(agent.env)


def _tool(settings: Settings, name: str) -> dict[str, Any]:
    tool = settings.tools[name]
    given = {
        "entry": tool.entry,
        "description": tool.description,
        "parameters": tool.parameters,
        "idempotent": tool.idempotent,
        "timeout_s": tool.timeout_s,
    }
    return {key: value for key, value in given.items() if value not in ("", {}, None)}


def rehearsed(settings: Settings, agent: AgentSettings) -> dict[str, Any]:
    """What the built-in agent's zygote warms up with: the client of its model's kind, its tools."""
    provider = _provider(settings, agent.model)
    return {"provider": provider, "model": agent.model, "tools": list(agent.tools), "instructions": agent.instructions}


def _provider(settings: Settings, alias: str) -> str:
    model = settings.models.get(alias)
    return ModelOptions(alias=alias, upstream=model.upstream, kind=model.kind).kind if model else "openai"


def _builtin(settings: Settings, attempt: LiveAttempt, windows: Windows) -> dict[str, Any]:
    alias, name = model_of(settings, attempt)
    model = settings.models.get(alias)
    return {
        "model": name or alias,
        "provider": _provider(settings, alias),
        "tools": [tool for tool in attempt.agent.tools if tool not in attempt.claim.task.prohibited],
        "window": windows.of(alias, name),
        "max_output": model.max_output if model else None,
        "instructions": attempt.agent.instructions,
    }


def model_of(settings: Settings, attempt: LiveAttempt) -> tuple[str, str]:
    """The configured model an attempt uses, and the name to ask for when the task wants another model of that server."""
    wanted = attempt.claim.task.model
    if wanted is None or wanted in settings.models:
        return wanted or attempt.agent.model, ""
    return attempt.agent.model, wanted


class Windows:
    """Context windows (tokens) of the configured models; the price list is compiled once."""

    def __init__(self, settings: Settings) -> None:
        options = GatewayOptions.of(configure_packet(settings, keys=False))
        self._models = options.models
        self._prices = PriceList(options.prices)

    def of(self, alias: str, name: str) -> int | None:
        """The window of a model, None when nobody knows it."""
        model = self._models.get(alias)
        if model is None:
            return None
        try:
            return model.context_window or self._prices.sheet(model, name or model.model).context_window
        except UnpricedModel:  # the gateway refuses its calls with the remedy; here only its window is unknown
            return None


def configure_packet(settings: Settings, *, keys: bool = True) -> dict[str, Any]:
    """The gateway's configuration; with `keys` read from the environment or files, which happens here and nowhere else."""
    models = {
        alias: {
            "upstream": model.upstream,
            "key": _key(model.key_env, model.key_file, settings.base_dir) if keys else "",
            "kind": model.kind,
            "model": model.model,
            "tools": model.tools,
            "context_window": model.context_window,
            "max_output": model.max_output,
            "free": model.free,
            "headers": dict(model.headers),
            "timeout_s": model.timeout_s,
        }
        for alias, model in settings.models.items()
    }
    egress = settings.egress
    return {
        "store_url": settings.store_url,
        "max_parked": settings.worker.max_parked,
        "models": models,
        "prices": {name: price.model_dump() for name, price in settings.prices.items() if name not in ("web", "tools")},
        "web_prices": dict(settings.prices.get("web", {})),
        "tool_prices": dict(settings.prices.get("tools", {})),
        "egress": {
            "allow": egress.allow,
            "deny": egress.deny,
            "allow_private": egress.allow_private,
            "ports": egress.ports,
            "timeout_s": egress.timeout_s,
            "max_bytes": egress.max_mb * 1024 * 1024,
        },
    }


def _key(variable: str, file: str, base: Path) -> str:
    if file:
        try:
            return (base / Path(file).expanduser()).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ValidationError("models.key_file", f"{file!r} cannot be read ({error.strerror})", "check the path") from None
    return os.environ.get(variable, "") if variable else ""


def gateway_packet(settings: Settings, attempt: LiveAttempt) -> dict[str, Any]:
    """What the gateway is told of an attempt (the listeners go with it)."""
    claim = attempt.claim
    alias, _name = model_of(settings, attempt)
    return {
        "key": attempt.key,
        "task_id": claim.task_id,
        "attempt": claim.attempt,
        "lease_token": claim.lease_token,
        "token": attempt.token,
        "model_default": alias,
        "prohibited": list(claim.task.prohibited),
        "infer": attempt.agent.kind != "builtin",
        "policy": {
            "on_budget_exceeded": claim.task.on_budget_exceeded,
            "can_checkpoint": not attempt.may_wait,
            "records": not attempt.can_checkpoint and attempt.agent.replay != "off",
            "replays": attempt.replays,
        },
    }


def host_listeners() -> dict[str, socket.socket]:
    """Listeners on the host's loopback, for attempts without a network of their own; the token tells whose a call is."""
    made: dict[str, socket.socket] = {}
    for name in ("gateway", "proxy"):
        listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        listener.setblocking(False)
        made[name] = listener
    return made


def _parked_s(attempt: LiveAttempt) -> float:
    """Seconds the attempt may be parked in all, in which its clocks stand still and the kernel's timer does not."""
    return attempt.agent.park_s * MOST_PARKINGS if attempt.may_wait else 0.0
