"""deploy/kubernetes as `kubectl apply -k` would send it: rendered by kubectl itself, which needs no cluster for it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.compose import PROJECT

FOLDER: Final = PROJECT / "deploy" / "kubernetes"
OVERLAYS: Final = tuple(sorted(path.name for path in (FOLDER / "overlays").iterdir()))
GATEWAYS: Final = ("central", "platform", "marketing", "education", "sales", "agents")
KUBECTL: Final = Path(sys.executable).with_name("kubectl")

Resource = Mapping[str, Any]


class ConfigMapVolume:
    """A folder as kubelet writes a ConfigMap into it (AtomicWriter): NAME -> ..data/NAME, ..data -> ..N, the files."""

    def __init__(self, folder: Path) -> None:
        self.data: Final = folder / "..data"
        self._folder = folder
        self._number = 0
        folder.mkdir()

    def put(self, **files: str) -> None:
        """All files anew, `NAME.yaml` each, at one moment; the ones before are gone afterwards."""
        old = self.data.resolve() if self._number else None
        self._number += 1
        written = self._folder / f"..{self._number}"
        written.mkdir()
        for name, text in files.items():
            (written / f"{name}.yaml").write_text(text, "utf-8")
        partial = self._folder / "..data_tmp"
        partial.symlink_to(written.name)
        partial.rename(self.data)
        for name in files:
            if not os.path.lexists(link := self._folder / f"{name}.yaml"):
                link.symlink_to(Path("..data") / link.name)
        if old is not None:
            shutil.rmtree(old)


def render(folder: Path) -> Sequence[Resource]:
    """What a folder with a kustomization stands for."""
    run = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False, timeout=60)
    # It warns of what is deprecated, and goes on.
    assert (run.returncode, run.stderr) == (0, "")
    return [one for one in yaml.safe_load_all(run.stdout) if one]


@cache
def overlay(name: str) -> Sequence[Resource]:
    return render(FOLDER / "overlays" / name)


def of_kind(name: str, *kinds: str) -> dict[str, Resource]:
    """Resources of an overlay, by their names."""
    return {one["metadata"]["name"]: one for one in overlay(name) if one["kind"] in kinds}


def pods(name: str) -> dict[str, Resource]:
    """The templates of an overlay's pods, by the name of what makes them."""
    return {one: each["spec"]["template"] for one, each in of_kind(name, "Deployment", "StatefulSet").items()}


def containers(pod: Resource) -> Iterator[Resource]:
    """All of a pod, sidecars first."""
    yield from pod["spec"].get("initContainers", [])
    yield from pod["spec"]["containers"]


def selects(selector: Resource, labels: Mapping[str, str]) -> bool:
    """Whether a selector means these labels (matchLabels, and matchExpressions with In)."""
    assert set(selector) <= {"matchLabels", "matchExpressions"}, selector
    for one in selector.get("matchExpressions", []):
        assert one["operator"] == "In", one
        if labels.get(one["key"]) not in one["values"]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def selected(name: str, selector: Resource) -> set[str]:
    """Which of an overlay's pods a selector means."""
    return {one for one, pod in pods(name).items() if selects(selector, pod["metadata"]["labels"])}


def command(container: Resource, settings: Mapping[str, str]) -> list[str]:
    """The container's arguments with $(NAME) filled in as kubelet does; `settings`: what envFrom brings."""
    known = {**settings, **{one["name"]: one["value"] for one in container.get("env", []) if "value" in one}}
    words = [str(word) for word in [*container.get("command", []), *container.get("args", [])]]
    for key, value in known.items():
        words = [word.replace(f"$({key})", value) for word in words]
    return words


def settings(name: str, container: Resource) -> dict[str, str]:
    """What the ConfigMaps of `envFrom` say."""
    maps = of_kind(name, "ConfigMap")
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= maps[source["configMapRef"]["name"]]["data"]
    return found
