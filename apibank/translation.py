"""Policies to Envoy's resources for people to read, on a machine that need not have the certificates."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from policy.load import Loaded
from policy.model import Gateway
from xds.compiler import Material, compile_, material_files, names
from xds.compiler.shown import Shown, shown
from xds.snapshot import PUSH_ORDER, SECRET, SHORT_NAMES, Resource

_WIDTH = 120


@dataclass(frozen=True, slots=True)
class Translated:
    """One resource of a gateway, as it is shown. `missing`: the files of it that cannot be read on this machine."""

    gateway: str
    type: str
    resource: Resource
    content: Shown
    missing: tuple[str, ...]

    @property
    def place(self) -> str:
        origin = self.resource.origin
        return "" if origin is None else f"{origin.file}:{origin.line}"

    def as_record(self) -> dict[str, object]:
        """The same for programs. The version is None where it would be that of a placeholder."""
        origin = self.resource.origin
        return {
            "gateway": self.gateway,
            "type": self.type,
            "name": self.resource.name,
            "version": None if self.missing else self.resource.version,
            "file": None if origin is None else origin.file,
            "line": None if origin is None else origin.line,
            "missing_files": list(self.missing),
            "resource": self.content,
        }


def translated(loaded: Loaded[Gateway], types: Collection[str], wanted: Callable[[str], bool]) -> Iterator[Translated]:
    """The resources of these types (CDS, EDS ...) whose names are wanted, in the order in which Envoys get them."""
    gateway = loaded.gateway
    material, missing = _material(gateway)
    snapshot = compile_(loaded, material)
    for type_url in PUSH_ORDER:
        short = SHORT_NAMES[type_url]
        for resource in snapshot.of_type(type_url).resources.values() if short in types else ():
            if wanted(resource.name):
                files = _files(gateway, resource.name) if type_url == SECRET else ()
                lost = tuple(file for file in files if file in missing)
                yield Translated(gateway.gateway, short, resource, shown(type_url, resource.body), lost)


def written(one: Translated) -> str:
    """A resource as an item of a YAML list, with what is known of it in comments above."""
    version = "a placeholder stands for " + ", ".join(one.missing) if one.missing else f"version {one.resource.version}"
    head = f"# {one.gateway} {one.type} {one.resource.name}: {version}\n# {one.place}\n"
    return head + yaml.dump([one.content], Dumper=_Plain, sort_keys=False, allow_unicode=True, width=_WIDTH)


class _Plain(yaml.SafeDumper):
    """Without anchors: every value stands where it belongs."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _material(gateway: Gateway) -> tuple[Mapping[str, Material], frozenset[str]]:
    """Every file that the policy names, and which of them are placeholders."""
    material, missing = {}, set()
    for file in material_files(gateway):
        try:
            material[file] = Material(Path(file).read_bytes())
        except OSError:
            material[file] = Material(f"placeholder of {file}\n".encode())
            missing.add(file)
    return material, frozenset(missing)


def _files(gateway: Gateway, secret: str) -> tuple[str, ...]:
    for name, certificate in gateway.certificates.items():
        if secret == names.certificate(name):
            return certificate.chain_file, certificate.key_file
    return tuple(one.ca_file for name, one in gateway.authorities.items() if secret == names.authority(name))
