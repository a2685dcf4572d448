"""What a Prometheus on this machine scrapes of the running stack: a file that it can be started with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import yaml

from apibank.ports import CENTRAL
from apibank.ready import Ready

FILE_NAME: Final = "prometheus.yml"
RULES: Final = Path(__file__).resolve().parents[1] / "telemetry" / "alerts"
_SECONDS: Final = 10


def prometheus_config(ready: Ready, rules: Path = RULES, seconds: float = _SECONDS) -> Mapping[str, object]:
    """The whole configuration: every process of the stack under the jobs that rules and dashboards know.

    `seconds`: between two looks, at processes and at rules.
    """
    interval = f"{round(seconds * 1000)}ms"
    envoys = {CENTRAL: ready.central.envoy_admins, **{name: one.envoy_admins for name, one in ready.gateways.items()}}
    services = {CENTRAL: ready.central.metrics, **{name: one.metrics for name, one in ready.gateways.items()}}
    control = f"{ready.control_api}/metrics"
    rest = [_target(url) for url in ready.metrics if url not in {control, *services.values()}]
    # The platform and the orchestration engine tell at the address at which they serve.
    told = [_target(url) for name, url in ready.upstreams.items() if name in {"platform", "agents"}]
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [str(rules / "*.yaml")],
        "scrape_configs": [
            _job("control-plane", [_group([_target(control)])]),
            _job("gateway", [_group([_target(url)], name) for name, url in services.items()]),
            _job("services", [_group([*rest, *told])]),
            {
                **_job("envoy", [_group([_target(url) for url in urls], name) for name, urls in envoys.items()]),
                "metrics_path": "/stats/prometheus",
                # Figures that have never moved are left out: the rest is a tenth.
                "params": {"usedonly": [""]},
            },
        ],
    }


def write_prometheus(ready: Ready, path: Path) -> None:
    """Write it whole or not at all."""
    partial = path.with_name(f".{path.name}")
    partial.write_text(yaml.safe_dump(dict(prometheus_config(ready)), sort_keys=False), encoding="utf-8")
    partial.replace(path)


def _job(name: str, groups: list[Mapping[str, object]]) -> dict[str, object]:
    # A process's own word for its gateway stands: it is the same, and without this it would be `exported_gateway`.
    return {"job_name": name, "honor_labels": True, "static_configs": groups}


def _group(targets: list[str], gateway: str | None = None) -> Mapping[str, object]:
    return {"targets": targets} | ({} if gateway is None else {"labels": {"gateway": gateway}})


def _target(url: str) -> str:
    return urlsplit(url).netloc
