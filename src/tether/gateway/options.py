"""What the gateway is told once by the supervisor: models with their keys, prices, egress rules. Keys live nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar, cast

from tether.errors import ConfigurationError

__all__ = ["EgressOptions", "GatewayOptions", "ModelOptions", "PriceOptions", "RetryOptions"]

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """One model behind an OpenAI- or Anthropic-compatible server.

    alias: its name in the configuration. upstream: base URL up to the version, such as "https://api.openai.com/v1".
    model: the server's name; "" passes on whatever the caller asks for. key: sent as the server wants it, "" for none.
    kind: "openai" | "anthropic" | "auto" (by the host). tools: "native" | "schema". context_window, max_output: tokens.
    free: costs nothing. headers: sent with every call. timeout_s: one call, start to end.
    """

    alias: str
    upstream: str
    key: str = field(default="", repr=False)
    kind: str = "auto"
    model: str = ""
    tools: str = "native"
    context_window: int | None = None
    max_output: int | None = None
    free: bool = False
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        if self.kind == "auto":
            host = self.upstream.split("://")[-1].split("/")[0]
            object.__setattr__(self, "kind", "anthropic" if "anthropic" in host else "openai")


@dataclass(frozen=True, kw_only=True)
class PriceOptions:
    """What a model costs, in dollars per million tokens; cached input costs as much as input unless said otherwise.

    media_tokens: the most tokens one image, sound or file in a request counts; None refuses them.
    context_window, max_output: tokens.
    """

    input_usd_per_mtok: float
    output_usd_per_mtok: float
    cached_input_usd_per_mtok: float | None = None
    media_tokens: int | None = None
    context_window: int | None = None
    max_output: int | None = None


@dataclass(frozen=True, kw_only=True)
class EgressOptions:
    """What web requests may reach: hosts with their subdomains, ports, private "host:port"s; bounds of one request."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    allow_private: tuple[str, ...] = ()
    ports: tuple[int, ...] = (80, 443)
    timeout_s: float = 60.0
    max_bytes: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        for name in ("allow", "deny", "allow_private", "ports"):
            object.__setattr__(self, name, tuple(getattr(self, name)))


@dataclass(frozen=True, kw_only=True)
class RetryOptions:
    """Retries of one call inside the gateway: tries at most; first wait, longest wait, longest Retry-After obeyed, in seconds."""

    tries: int = 4
    first_s: float = 0.5
    longest_s: float = 8.0
    retry_after_s: float = 30.0


@dataclass(frozen=True, kw_only=True)
class GatewayOptions:
    """Everything of the configure packet.

    web_prices: host → nano-dollars per request. tool_prices: a provider's hosted tool → nano-dollars per use.
    min_output: the floor of a clamp, tokens. connect_s: to reach a server. store_wait_s: a call waits for a store that is away.
    max_body_bytes: of one request.
    drain_s, drain_bytes: what may be spent to learn the usage of a call whose client left.
    max_parked: attempts whose calls are held at a time. rejoin_s: a retry of a held call may come that late, seconds.
    """

    store_url: str
    models: Mapping[str, ModelOptions]
    prices: Mapping[str, PriceOptions] = field(default_factory=dict[str, PriceOptions])
    web_prices: Mapping[str, int] = field(default_factory=dict[str, int])
    tool_prices: Mapping[str, int] = field(default_factory=dict[str, int])
    egress: EgressOptions = field(default_factory=EgressOptions)
    retry: RetryOptions = field(default_factory=RetryOptions)
    min_output: int = 256
    connect_s: float = 10.0
    store_wait_s: float = 30.0
    max_body_bytes: int = 32 * 1024 * 1024
    drain_s: float = 60.0
    drain_bytes: int = 16 * 1024 * 1024
    max_parked: int = 50
    rejoin_s: float = 10.0

    @classmethod
    def of(cls, packet: Mapping[str, Any]) -> GatewayOptions:
        """The options of a configure packet; raises ConfigurationError naming the key."""
        given = {key: value for key, value in packet.items() if key not in ("op", "limits", "data_dir")}
        models = {
            alias: _made(ModelOptions, {"alias": alias, **m}, f"models.{alias}") for alias, m in given.pop("models", {}).items()
        }
        prices = {name: _made(PriceOptions, p, f"prices.{name}") for name, p in given.pop("prices", {}).items()}
        egress = _made(EgressOptions, given.pop("egress", {}), "egress")
        retry = _made(RetryOptions, given.pop("retry", {}), "retry")
        return _made(cls, {**given, "models": models, "prices": prices, "egress": egress, "retry": retry}, "gateway")


def _made(kind: type[_T], given: Mapping[str, Any], name: str) -> _T:
    known = {f.name: f for f in fields(cast("Any", kind))}
    for key in given:
        if key not in known:
            raise ConfigurationError(f"{name}.{key}", "is not a known key", f"known are {', '.join(known)}")
    for key, f in known.items():
        if key not in given and f.default is MISSING and f.default_factory is MISSING:
            raise ConfigurationError(f"{name}.{key}", "is missing", "add it")
    return kind(**given)
