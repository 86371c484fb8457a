"""The models' part of `tether doctor`: is there one, does its server answer, is its key there, is its price known."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tether.cli.check import Check
from tether.cli.models import NoModel, choose
from tether.errors import TetherError, UnpricedModel

if TYPE_CHECKING:
    from tether.config import ModelSettings, Settings

__all__ = ["model_checks"]

_ANSWER_S = 4.0


def model_checks(settings: Settings) -> Iterator[Check]:
    """A check per configured model, or of the one that would be found without."""
    models = dict(settings.models)
    try:
        found = choose(settings)
    except NoModel as error:
        yield Check(name="models", status="note" if models else "broken", found=error.problem, remedy="; ".join(error.lines))
        found = None
    if found is not None:
        from tether.config import ModelSettings

        models["default"] = ModelSettings.model_validate(found.sections["default"])
    with ThreadPoolExecutor(8) as pool:
        for name, (status, text, remedy) in zip(models, pool.map(_server, models.values()), strict=True):
            yield Check(name=f"model {name}", status=status, found=text, remedy=remedy)
    for name, model in models.items():
        yield _price(settings, name, model)


def _server(model: ModelSettings) -> tuple[str, str, str]:
    what = f"{model.model or 'any model'} at {model.upstream}"
    key, problem = _key(model)
    if problem:
        return "broken", f"{what}: {problem}", "set it where the worker runs"
    request = urllib.request.Request(f"{model.upstream}/models", headers=_headers(model, key))
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_S):
            return "ok", f"{what} answers", ""
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            return "broken", f"{what} refuses the key ({error.code})", f"check {model.key_env or model.key_file or 'key_env'}"
        return "ok", f"{what} answers (without a list of models)", ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return "broken", f"{what} does not answer ({reason})", "start it, or correct upstream"


def _headers(model: ModelSettings, key: str) -> dict[str, str]:
    if not key:
        return dict(model.headers)
    if model.kind == "anthropic" or "anthropic" in model.upstream:
        return {"x-api-key": key, "anthropic-version": "2023-06-01", **model.headers}
    return {"Authorization": f"Bearer {key}", **model.headers}


def _key(model: ModelSettings) -> tuple[str, str]:
    if model.key_env:
        value = os.environ.get(model.key_env, "")
        return (value, "") if value else ("", f"{model.key_env} is not set")
    if model.key_file:
        try:
            return Path(model.key_file).expanduser().read_text(encoding="utf-8").strip(), ""
        except (OSError, UnicodeDecodeError):
            return "", f"{model.key_file} cannot be read"
    return "", ""


def _price(settings: Settings, name: str, model: ModelSettings) -> Check:
    from tether.gateway.options import ModelOptions, PriceOptions
    from tether.gateway.prices import PriceList

    if model.free:
        return Check(name=f"price {name}", status="ok", found="free")
    if not model.model:
        return Check(name=f"price {name}", status="ok", found="looked up for each model that is asked for")
    own = {key: price for key, price in settings.prices.items() if key != "web"}
    options = {
        key: PriceOptions(input_usd_per_mtok=p.input_usd_per_mtok, output_usd_per_mtok=p.output_usd_per_mtok)
        for key, p in own.items()
    }
    try:
        PriceList(options).sheet(ModelOptions(alias=name, upstream=model.upstream, kind=model.kind), model.model)
    except UnpricedModel as error:
        return Check(name=f"price {name}", status="broken", found=f"the price of {model.model} is unknown", remedy=str(error))
    except TetherError as error:
        return Check(name=f"price {name}", status="broken", found=str(error), remedy="correct [prices]")
    return Check(name=f"price {name}", status="ok", found=f"of {model.model} is known")
