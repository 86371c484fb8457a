"""The sections of `tether.toml`, each a class; docs/reference/configuration.md is generated from their fields."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = [
    "AgentSettings",
    "ApiSettings",
    "EgressSettings",
    "FilesSettings",
    "JournalSettings",
    "LimitsSettings",
    "ModelSettings",
    "PriceSettings",
    "QueueSettings",
    "SecretsSettings",
    "StoreSettings",
    "StuckSettings",
    "TaskTypeSettings",
    "ToolSettings",
    "WebhookSettings",
    "WorkerSettings",
]

Seconds = Annotated[float, Field(gt=0, le=10 * 365 * 86400, allow_inf_nan=False)]
Megabytes = Annotated[int, Field(ge=16, le=1_000_000)]
Isolation = Literal["auto", "enforced", "cooperative"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreSettings(_Section):
    """`[store]`: where the truth is."""

    url: str = Field("", description="sqlite:///path or postgresql://…; empty: a SQLite file in the data folder")


class QueueSettings(_Section):
    """`[queue]`: what wakes workers."""

    url: str = Field("", description="redis(s)://…, amqp(s)://… or sqs://; empty: workers poll the store")
    name: str = Field("tether", min_length=1, max_length=40, description="what the queues' names start with")
    route: list[Literal["agent", "tenant", "priority"]] = Field(
        ["agent"], description="what else is in a queue's name; tenant only for workers with worker.tenants"
    )
    poll_s: Seconds = Field(2, description="seconds between looks for queued tasks while the broker is well")
    region: str = Field("", description="SQS: region; empty: as the AWS SDK finds it")
    endpoint: str = Field("", description="SQS: http(s)://host:port of another server than Amazon's")
    fifo: bool = Field(False, description="SQS: FIFO queues")
    options: dict[str, Any] = Field({}, description="further transport options of Kombu")


class ApiSettings(_Section):
    """`[api]`: where the REST server listens."""

    host: str = Field("127.0.0.1", description="address; beyond loopback only with keys")
    port: int = Field(8787, ge=0, le=65535, description="TCP port; 0: any free one")
    public_url: str = Field("", description="how others reach it, for links; empty: http://host:port")
    threads: int = Field(16, ge=1, le=256, description="threads that talk to the store")
    max_connections: int = Field(2500, ge=1, le=100_000, description="open connections; more are refused")
    max_body_kb: int = Field(3072, ge=1, le=102_400, description="largest JSON body, kilobytes")
    max_upload_mb: int = Field(64, ge=1, le=102_400, description="largest uploaded file, megabytes")
    uploads_mb: int = Field(2048, ge=1, le=10_000_000, description="all uploaded files of one tenant, megabytes")
    header_s: Seconds = Field(10, description="seconds a client has to send its headers")
    body_s: Seconds = Field(30, description="seconds a client has to send a body; per 8 MB of an upload")
    rate_per_s: int = Field(1000, ge=1, le=1_000_000, description="requests a second of one key; twice as many in a burst")
    login_hours: int = Field(12, ge=1, le=720, description="hours a login on the page holds")

    @field_validator("public_url")
    @classmethod
    def _url(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError('must start with http:// or https://, for example "https://tether.example.com"')
        return value.rstrip("/")


class WebhookSettings(_Section):
    """`[webhooks]`: telling other servers of changes."""

    allow_private: list[str] = Field([], description='"host:port" on private addresses that may be called all the same')
    timeout_s: Seconds = Field(15, description="seconds one delivery may take")
    retry_hours: int = Field(24, ge=1, le=720, description="hours a delivery is tried again before it is given up")
    per_tenant: int = Field(50, ge=1, le=10_000, description="endpoints of one tenant")


class SecretsSettings(_Section):
    """`[secrets]`: the key that seals what is stored encrypted and signs links; the same on all hosts of a fleet."""

    key_env: str = Field("", description="environment variable that holds the key")
    key_file: str = Field("", description="file that holds the key; empty: secrets.key in the data folder, made when missing")


class WorkerSettings(_Section):
    """`[worker]`: one worker process."""

    slots: int = Field(8, ge=1, le=10_000, description="attempts at the same time")
    agents: list[str] = Field([], description="agents it serves; empty: all that are configured")
    tenants: list[str] = Field([], description="tenants it serves; empty: all")
    drain_s: Seconds = Field(30, description="seconds attempts get to reach a checkpoint on SIGTERM")
    lease_s: Seconds = Field(6, description="seconds until a silent worker's tasks are taken over")
    heartbeat_s: Seconds = Field(2, description="seconds between signs of life; at most a third of lease_s")
    poll_s: Seconds = Field(0.25, description="seconds between looks for queued tasks when nothing wakes the worker")
    isolation: Isolation = Field(
        "auto", description="auto: the strongest walls the kernel allows; enforced: refuse to start without"
    )
    memory_mb: Megabytes = Field(2048, description="memory of one process of an attempt")
    open_files: int = Field(1024, ge=64, le=1_000_000, description="open files of one process of an attempt")
    processes: int = Field(256, ge=8, le=100_000, description="processes of one attempt, where the kernel can count them")
    file_mb: Megabytes = Field(1024, description="largest file an attempt may write")
    output_kb: int = Field(1024, ge=1, le=1_000_000, description="output kept of one attempt, kilobytes; the rest is counted")
    max_parked: int = Field(50, ge=0, le=10_000, description="attempts that may wait for a decision on their budget at a time")
    retry_backoff_s: Seconds = Field(
        2, description="first wait before a failed attempt is tried again; doubles, at most 5 minutes"
    )


class FilesSettings(_Section):
    """`[files]`: where artifacts, and the workspace as of each checkpoint, are kept for other hosts."""

    url: str = Field("", description="file:///path or s3://bucket/prefix (also gs://, az://); empty: only on the worker's host")
    endpoint: str = Field("", description="S3: http(s)://host:port of another server than Amazon's")
    region: str = Field("", description="S3: region; empty: as the environment says")
    max_mb: Megabytes = Field(256, description="largest workspace that is kept, megabytes")
    max_files: int = Field(10_000, ge=1, le=1_000_000, description="most files of a workspace that is kept")


class JournalSettings(_Section):
    """`[journal]`: how long events are kept."""

    retain_days: int = Field(90, ge=1, le=36500, description="days")


class EgressSettings(_Section):
    """`[egress]`: what web requests may reach."""

    deny: list[str] = Field([], description="hosts that are refused, also their subdomains")
    allow: list[str] = Field([], description="when not empty, only these hosts and their subdomains")
    allow_private: list[str] = Field([], description='"host:port" on private addresses that may be reached all the same')
    ports: list[int] = Field([80, 443], description="ports that may be reached")
    timeout_s: Seconds = Field(60, description="one request or tunnel")
    max_mb: Megabytes = Field(64, description="bytes one request or tunnel may receive")


class StuckSettings(_Section):
    """`[stuck]`: when an agent goes round in circles; it is told once, then paused."""

    same_call: int = Field(4, ge=2, le=10_000, description="the same tool call with the same result, in a row")
    same_error: int = Field(3, ge=2, le=10_000, description="the same error of the same tool, in a row")
    ping_pong: int = Field(6, ge=4, le=10_000, description="calls of two tools in turn, with the same results")


class LimitsSettings(_Section):
    """`[limits]`: ceilings no task may pass."""

    budget: dict[str, float] = Field({}, description="largest budget values, same keys as budget")
    timeouts: dict[str, float] = Field({}, description="largest timeouts, same keys as timeouts")
    concurrency: dict[str, int] = Field(
        {}, description='attempts at the same time over all workers: "agent:NAME", "tenant:NAME", "tenant:*" for each other one'
    )

    @field_validator("concurrency")
    @classmethod
    def _concurrency(cls, value: dict[str, int]) -> dict[str, int]:
        for key, most in value.items():
            kind, _, name = key.partition(":")
            if kind not in ("agent", "tenant") or not name or most < 0:
                raise ValueError(f'{key!r} is not a limit; write "agent:NAME" or "tenant:NAME" = 0 or more')
        return value


class ModelSettings(_Section):
    """`[models.NAME]`: one model behind an OpenAI- or Anthropic-compatible server."""

    upstream: str = Field(description='base URL, for example "https://api.openai.com/v1"')
    model: str = Field("", description="the server's name of the model; empty: whatever the caller asks for")
    key_env: str = Field("", description="environment variable of the worker that holds the key")
    key_file: str = Field("", description="file that holds the key")
    kind: Literal["auto", "openai", "anthropic"] = Field("auto", description="the server's API; auto: by its address")
    tools: Literal["native", "schema"] = Field(
        "native", description="schema: tools as a JSON schema, for servers without tool calling"
    )
    free: bool = Field(False, description="true: calls cost nothing (a local model)")
    context_window: int | None = Field(None, ge=256, description="tokens; known models need none")
    max_output: int | None = Field(None, ge=1, description="largest answer in tokens; known models need none")
    headers: dict[str, str] = Field({}, description="sent with every call to the server")
    timeout_s: Seconds = Field(600, description="one call to the server")

    @field_validator("upstream")
    @classmethod
    def _url(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError('must start with http:// or https://, for example "https://api.openai.com/v1"')
        return value.rstrip("/")


class AgentSettings(_Section):
    """`[agents.NAME]`: one agent."""

    kind: Literal["builtin", "python", "command"] = Field("python", description="what runs it")
    entry: str = Field("", description='kind python: "package.module:function"')
    command: list[str] = Field([], description='kind command: program and arguments, "{goal}" is replaced')
    code_dir: str = Field(".", description="folder of its code, readable by it")
    python: str = Field("", description="another interpreter; empty: the worker's own")
    model: str = Field("default", description="a name of [models.…]")
    tools: list[str] = Field(
        ["web_fetch", "web_search", "run_python", "run_shell", "read_file", "write_file", "list_files", "ask_human"],
        description="tools it may use",
    )
    env: dict[str, str] = Field({}, description="variables of its environment, which is otherwise scrubbed")
    pass_env: list[str] = Field([], description="variables of the worker it gets too")
    readable: list[str] = Field([], description="further folders it may read")
    writable: list[str] = Field([], description="further folders it may write")
    version: str = Field("", description="agent version; empty: a hash of entry and configuration")
    memory_mb: Megabytes | None = Field(None, description="memory of one process; empty: [worker] memory_mb")
    instructions: str = Field("", description="kind builtin: added to its instructions")
    replay: Literal["ask", "allow", "off"] = Field(
        "ask",
        description="agents without checkpoints, started again: ask when tool calls would be repeated, allow, or off: never",
    )
    park_s: float = Field(
        300,
        ge=0,
        le=86400,
        allow_inf_nan=False,
        description="agents without checkpoints: seconds a call over budget or stopped is held for a decision; 0: not at all",
    )
    in_place: bool = Field(
        False, description="kind command: it works in code_dir itself, not in a workspace of its own; {goal} is not replaced"
    )


class ToolSettings(BaseModel):
    """`[tools.NAME]`: limits of a built-in tool, or a tool of one's own; other keys reach the tool as its options."""

    model_config = ConfigDict(extra="allow", frozen=True)
    timeout_s: Seconds | None = Field(None, description="instead of tool_s")
    entry: str = Field("", description='a tool of one\'s own: "module:function"')
    description: str = Field("", description="what the model is told it does")
    parameters: dict[str, Any] = Field({}, description="JSON Schema of its arguments")
    idempotent: bool | None = Field(None, description="true: may be rerun when a crash hid its outcome")

    @property
    def options(self) -> dict[str, Any]:
        """The keys that are the tool's own."""
        return dict(self.model_extra or {})


class TaskTypeSettings(_Section):
    """`[task_types.NAME]`: defaults of a kind of task."""

    agent: str = Field("", description="agent of tasks that name none")
    budget: dict[str, float] = Field({}, description="instead of the default budget")
    timeouts: dict[str, float] = Field({}, description="instead of the default timeouts")


class PriceSettings(_Section):
    """`[prices."MODEL"]`: what a model costs, for models nobody else prices."""

    input_usd_per_mtok: float = Field(ge=0, allow_inf_nan=False, description="dollars for a million input tokens")
    output_usd_per_mtok: float = Field(ge=0, allow_inf_nan=False, description="dollars for a million output tokens")
    cached_input_usd_per_mtok: float | None = Field(None, ge=0, allow_inf_nan=False, description="empty: as input")
    media_tokens: int | None = Field(
        None, ge=0, description="most tokens one image, sound or file counts; empty: media are refused"
    )
    context_window: int | None = Field(None, ge=256, description="tokens")
    max_output: int | None = Field(None, ge=1, description="tokens")
