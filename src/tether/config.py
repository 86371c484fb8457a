"""The configuration: `tether.toml` and `TETHER_SECTION__KEY` variables, read once by `load`; importing reads nothing.

The variables win over the file. Relative paths are relative to the file. docs/reference/configuration.md is generated from here.
"""

from __future__ import annotations

import contextlib
import os
import tomllib
from collections.abc import Generator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pydantic
from pydantic import Field, PrivateAttr, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from tether.errors import ConfigurationError, ValidationError
from tether.sections import (
    AgentSettings,
    ApiSettings,
    EgressSettings,
    FilesSettings,
    JournalSettings,
    LimitsSettings,
    ModelSettings,
    PriceSettings,
    QueueSettings,
    SecretsSettings,
    StoreSettings,
    StuckSettings,
    TaskTypeSettings,
    ToolSettings,
    WebhookSettings,
    WorkerSettings,
)
from tether.task import Budget, Timeouts, nano_from_usd

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
    "Settings",
    "StoreSettings",
    "StuckSettings",
    "TaskTypeSettings",
    "ToolSettings",
    "WebhookSettings",
    "WorkerSettings",
    "load",
]

FILE_NAME = "tether.toml"

_PRICES = 'prices by model; [prices.web] "host" = dollars per request; [prices.tools] "hosted tool" = dollars per use'
#: The file `load` is reading; pydantic-settings makes its sources itself and has no other way to tell them.
_reading: ContextVar[Path | None] = ContextVar("reading", default=None)


class Settings(BaseSettings):
    """The whole configuration; data_dir holds store, workspaces and spools of the embedded default."""

    model_config = SettingsConfigDict(env_prefix="TETHER_", env_nested_delimiter="__", extra="forbid", frozen=True)

    data_dir: str = Field("", description="folder of the embedded default; empty: .tether beside tether.toml, else ~/.tether")
    store: StoreSettings = StoreSettings()  # pyright: ignore[reportCallIssue]
    queue: QueueSettings = QueueSettings()  # pyright: ignore[reportCallIssue]
    api: ApiSettings = ApiSettings()  # pyright: ignore[reportCallIssue]
    webhooks: WebhookSettings = WebhookSettings()  # pyright: ignore[reportCallIssue]
    secrets: SecretsSettings = SecretsSettings()  # pyright: ignore[reportCallIssue]
    worker: WorkerSettings = WorkerSettings()  # pyright: ignore[reportCallIssue]
    files: FilesSettings = FilesSettings()  # pyright: ignore[reportCallIssue]
    journal: JournalSettings = JournalSettings()  # pyright: ignore[reportCallIssue]
    egress: EgressSettings = EgressSettings()  # pyright: ignore[reportCallIssue]
    stuck: StuckSettings = StuckSettings()  # pyright: ignore[reportCallIssue]
    limits: LimitsSettings = LimitsSettings()  # pyright: ignore[reportCallIssue]
    models: dict[str, ModelSettings] = Field({}, description="models by name")
    agents: dict[str, AgentSettings] = Field({}, description="agents by name")
    tools: dict[str, ToolSettings] = Field({}, description="tools by name")
    task_types: dict[str, TaskTypeSettings] = Field({}, description="kinds of task by name")
    prices: dict[str, Any] = Field({}, description=_PRICES)
    _path: Path | None = PrivateAttr(None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Variables win over the file."""
        return (init_settings, env_settings, _TomlFile(settings_cls))

    @field_validator("prices")
    @classmethod
    def _prices(cls, value: dict[str, Any]) -> dict[str, Any]:
        checked: dict[str, Any] = {}
        for name, price in value.items():
            if name in ("web", "tools"):
                checked[name] = {what: nano_from_usd(usd, f"prices.{name}.{what}") for what, usd in price.items()}
            else:
                checked[name] = PriceSettings.model_validate(price)
        return checked

    @property
    def file(self) -> Path | None:
        """The `tether.toml` these settings come from, if there is one."""
        return self._path

    @property
    def base_dir(self) -> Path:
        """The folder relative paths start from."""
        return self._path.parent if self._path else Path.cwd()

    @property
    def home(self) -> Path:
        """The data folder, absolute; not created here."""
        if self.data_dir:
            return (self.base_dir / Path(self.data_dir).expanduser()).resolve()
        return self.base_dir / ".tether" if self._path else Path.home() / ".tether"

    @property
    def store_url(self) -> str:
        """The store's URL, with the embedded default filled in and a relative SQLite path made absolute."""
        url = self.store.url or f"sqlite:///{self.home / 'tether.db'}"
        if url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
            return f"sqlite:///{(self.base_dir / url.removeprefix('sqlite:///')).resolve()}"
        return url

    @property
    def workspaces(self) -> Path:
        """The folder of the tasks' workspaces."""
        return self.home / "workspaces"

    def agent(self, name: str) -> AgentSettings:
        """The agent of that name; the built-in `autogpt` needs no entry. Raises ConfigurationError listing the known ones."""
        found = self.agents.get(name)
        if found is None and name == "autogpt":
            found = AgentSettings(kind="builtin")  # pyright: ignore[reportCallIssue]
        if found is None:
            known = ", ".join(self.agent_names())
            raise ConfigurationError("agent", f"{name!r} is not configured", f"known are {known}; add [agents.{name}]")
        return found

    def agent_names(self) -> list[str]:
        """All agents, the built-in one first."""
        return ["autogpt", *sorted(set(self.agents) - {"autogpt"})]

    def tool_names(self) -> list[str]:
        """The tools of all agents, and those with a section of their own."""
        return sorted({tool for name in self.agent_names() for tool in self.agent(name).tools} | set(self.tools))

    def budget_for(self, task_type: str, given: Budget | Mapping[str, Any] | None) -> Budget:
        """The budget of a task: what it gives, else its type's, else the defaults; raises ValidationError over a ceiling."""
        kind = self.task_types.get(task_type)
        budget = Budget.of(given, Budget.of(kind.budget if kind else None))
        _check_ceiling("budget", budget.document(), self.limits.budget)
        return budget

    def timeouts_for(self, task_type: str, given: Timeouts | Mapping[str, Any] | None) -> Timeouts:
        """The timeouts of a task: what it gives, else its type's, else the defaults; raises ValidationError over a ceiling."""
        kind = self.task_types.get(task_type)
        timeouts = Timeouts.of(given, Timeouts.of(kind.timeouts if kind else None))
        _check_ceiling("timeouts", timeouts.document(), self.limits.timeouts)
        return timeouts


class _TomlFile(PydanticBaseSettingsSource):
    """The `tether.toml` that `load` chose."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - pydantic's signature
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        file = _reading.get()
        if file is None:
            return {}
        try:
            return tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigurationError(str(file), f"cannot be read ({error.strerror})", "check the path and its rights") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(str(file), f"is not valid TOML: {error}", "mend that line") from None


def _find_file(path: str | Path | None) -> Path | None:
    """The `tether.toml` in force: the one named, else TETHER_CONFIG, else the one in the current folder."""
    named = path or os.environ.get("TETHER_CONFIG")
    found = Path(named).expanduser() if named else Path(FILE_NAME)
    return found.resolve() if named or found.is_file() else None


def load(path: str | Path | None = None) -> Settings:
    """Read the configuration; raises ConfigurationError naming the key and the remedy."""
    file = _find_file(path)
    told = _reading.set(file)
    try:
        with _clear_errors():
            settings = Settings()  # pyright: ignore[reportCallIssue]
    finally:
        _reading.reset(told)
    settings._path = file  # pyright: ignore[reportPrivateUsage]
    _check(settings)
    return settings


@contextlib.contextmanager
def _clear_errors() -> Generator[None]:
    try:
        yield
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        known = "see docs/reference/configuration.md for the keys" if first["type"] == "extra_forbidden" else "correct it"
        raise ConfigurationError(place or "configuration", first["msg"], known) from None
    except SettingsError as error:
        raise ConfigurationError("configuration", str(error), "correct it") from None
    except ConfigurationError:
        raise
    except ValidationError as error:
        raise ConfigurationError(error.field, error.problem, error.remedy) from None


def _check(settings: Settings) -> None:
    if settings.worker.heartbeat_s * 2 > settings.worker.lease_s:
        raise ConfigurationError("worker.heartbeat_s", "is more than half of lease_s", "use a third of lease_s or less")
    for name, agent in settings.agents.items():
        if agent.kind == "python" and ":" not in agent.entry:
            raise ConfigurationError(
                f"agents.{name}.entry", f"{agent.entry!r} is not an entry", 'write "package.module:function"'
            )
        if agent.kind == "command" and not agent.command:
            raise ConfigurationError(f"agents.{name}.command", "is missing", 'write ["program", "{goal}"]')
        if agent.in_place and agent.kind != "command":
            raise ConfigurationError(f"agents.{name}.in_place", f"is not for kind {agent.kind}", "leave it out")
        if agent.model not in settings.models and agent.model != "default":
            raise ConfigurationError(f"agents.{name}.model", f"{agent.model!r} is not configured", f"add [models.{agent.model}]")
    _check_amounts("limits", settings.limits)
    for name, kind in settings.task_types.items():
        _check_amounts(f"task_types.{name}", kind)
        if kind.agent:
            try:
                settings.agent(kind.agent)
            except ConfigurationError as error:
                raise ConfigurationError(f"task_types.{name}.agent", error.problem, error.remedy) from None


def _check_amounts(place: str, section: LimitsSettings | TaskTypeSettings) -> None:
    try:
        Budget.of(section.budget)
        Timeouts.of(section.timeouts)
    except ValidationError as error:
        raise ConfigurationError(f"{place}.{error.field}", error.problem, error.remedy) from None


def _check_ceiling(name: str, asked: Mapping[str, Any], ceilings: Mapping[str, float]) -> None:
    for key, most in ceilings.items():
        if asked[key] > most:
            raise ValidationError(
                f"{name}.{key}", f"{asked[key]:g} is over the ceiling of {most:g}", "ask for less, or raise [limits]"
            )
