"""The deployment files agree with the code and with one another; none of them can be run here."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tether.config import Settings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SECRETS = {"TETHER_STORE__URL", "TETHER_QUEUE__URL"}


def _documents(name: str) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all((DEPLOY / name).read_text()) if found]


def _pods() -> dict[str, dict[str, Any]]:
    found = [d for name in ("upgrade", "api", "worker") for d in _documents(f"kubernetes/{name}.yaml")]
    return {d["metadata"]["name"]: d["spec"]["template"]["spec"] for d in found if d["kind"] in ("Deployment", "Job")}


@pytest.mark.parametrize("name", ["tether.toml", "kubernetes/tether.toml"])
def test_the_configuration_is_one_of_ours(name: str) -> None:
    """Every key is known; both copies are the same."""
    given = tomllib.loads((DEPLOY / name).read_text())
    settings = Settings.model_validate(given)
    assert settings.worker.heartbeat_s * 2 <= settings.worker.lease_s
    assert given == tomllib.loads((DEPLOY / "tether.toml").read_text())


def test_a_stop_leaves_time_to_drain() -> None:
    """Every service manager waits longer than drain_s before it kills."""
    drain_s = tomllib.loads((DEPLOY / "tether.toml").read_text())["worker"]["drain_s"]
    compose = _documents("compose.yaml")[0]["services"]["worker"]["stop_grace_period"]
    unit = re.search(r"^TimeoutStopSec=(\d+)", (DEPLOY / "systemd/tether-worker@.service").read_text(), re.MULTILINE)
    assert unit
    for waits_s in (_pods()["tether-worker"]["terminationGracePeriodSeconds"], int(compose.removesuffix("s")), int(unit[1])):
        assert waits_s > drain_s


def test_kubernetes_resources_name_what_exists() -> None:
    """All files are in the kustomization, volumes are mounted, no container is root, the scaler names the deployment."""
    kustomization = _documents("kubernetes/kustomization.yaml")[0]
    there = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == there
    for pod in _pods().values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert _documents("kubernetes/scaling.yaml")[0]["spec"]["scaleTargetRef"]["name"] in _pods()


def test_probes_look_where_workers_write() -> None:
    """The files that probes look for are those of tether.worker.signs, below the data folder of the image."""
    image = (DEPLOY / "Dockerfile").read_text()
    data = re.search(r"TETHER_DATA_DIR=(\S+)", image)
    assert data
    probes = [(DEPLOY / name).read_text() for name in ("compose.yaml", "kubernetes/worker.yaml")]
    for text in probes:
        for folder, kind in re.findall(r"find (\S+) -name '\*\.(\w+)'", text):
            assert folder == f"{data[1]}/workers"
            assert kind in ("alive", "ready")


def test_secrets_come_from_the_environment() -> None:
    """No URL with a password stands in a file; the variables are those the configuration reads."""
    compose = _documents("compose.yaml")[0]["x-tether"]["environment"]
    assert set(compose) >= SECRETS
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            assert not re.search(r"://[^:@/\s$]+:[^@/\s$]+@", path.read_text()), path
