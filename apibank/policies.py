"""The folder of gateway files and its overlays: read whole, one bad file at a time, and watched for changes."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from apibank.watching import bursts
from policy.load import Loaded, load_gateway, load_gateways
from policy.model import Gateway
from policy.problem import Diagnostic, PolicyError, Position, Source

_REPOSITORY = Path(__file__).resolve().parents[1] / "envoy"


def shipped(*parts: str) -> Path:
    """A file of `envoy/`: of the repository, or of the installed package."""
    if _REPOSITORY.joinpath("gateways").is_dir():
        return _REPOSITORY.joinpath(*parts)
    return Path(str(files("apibank").joinpath("_assets", "envoy", *parts)))


class UnknownProfileError(Exception):
    """An overlay that is neither a file nor the name of one that comes with apibank."""


@dataclass(frozen=True, slots=True)
class PolicySet:
    """What the folder says now: the gateways that are good, and what is wrong with the others, by gateway."""

    gateways: Mapping[str, Loaded[Gateway]]
    errors: Mapping[str, PolicyError]


class PolicyFolder:
    """Gateway files, `NAME.yaml` each, under overlays. A broken file takes nothing from the others."""

    def __init__(self, folder: Path, profiles: Sequence[str], only: Sequence[str] | None = None) -> None:
        """`profiles` are names or paths, applied in order; `only` are the gateways wanted, all where None.

        Raises UnknownProfileError, or FileNotFoundError where the folder is not there.
        """
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder of policies at {folder}")
        self.folder = folder
        self.overlays = tuple(_overlay_path(profile) for profile in profiles)
        self._only = None if only is None else frozenset(only)
        self._read: dict[str, tuple[tuple[Source, ...], Loaded[Gateway]]] = {}

    def names(self) -> tuple[str, ...]:
        """The gateways that have a file, central first: the edge of the federation."""
        found = {path.stem for path in self.folder.glob("*.yaml") if not path.name.startswith(".")}
        wanted = found if self._only is None else found & self._only
        return tuple(sorted(wanted, key=lambda name: (name != "central", name)))

    def load(self) -> PolicySet:
        """Every gateway on its own, so that one team's mistake holds up nobody else."""
        gateways: dict[str, Loaded[Gateway]] = {}
        errors: dict[str, PolicyError] = {}
        for name in self.names():
            try:
                gateways[name] = self.load_one(name)
            except PolicyError as error:
                errors[name] = error
        return PolicySet(gateways, errors)

    def load_one(self, name: str) -> Loaded[Gateway]:
        """One gateway. Raises PolicyError with everything that is wrong, OSError where the file cannot be read."""
        file, *overlays = sources = tuple(read_source(path) for path in (self.folder / f"{name}.yaml", *self.overlays))
        known = self._read.get(name)
        # A change of one team's file costs the others nothing.
        if known is not None and known[0] == sources:
            return known[1]
        loaded = load_gateway(Gateway, file, overlays)
        self._read[name] = (sources, loaded)
        return loaded

    def load_strictly(self) -> Mapping[str, Loaded[Gateway]]:
        """All gateways together, as `policy validate` wants them. Raises PolicyError with everything that is wrong."""
        sources = [read_source(self.folder / f"{name}.yaml") for name in self.names()]
        return load_gateways(Gateway, sources, [read_source(path) for path in self.overlays])

    def changes(self, stop: asyncio.Event, also: Sequence[Path] = ()) -> AsyncIterator[None]:
        """Yields at once, and after each burst of changes to the files, the overlays, or the folders in `also`."""
        # Folders, not files: editors and deployments put a new file in the old one's place.
        folder = self.folder.resolve()
        overlays = {path.resolve() for path in self.overlays}
        whole = {path.resolve() for path in also if path.is_dir()}

        def concerns_us(path: Path) -> bool:
            gateway_file = path.parent == folder and path.suffix == ".yaml"
            return gateway_file or path in overlays or path.parent in whole

        return bursts(folder, *{path.parent for path in overlays}, *whole, stop=stop, concerns=concerns_us)


def read_source(path: Path) -> Source:
    """A file as the loader takes it. Raises PolicyError where it is no text, OSError where it cannot be read."""
    content = path.read_bytes()
    try:
        return Source(_shown(path), content.decode())
    except UnicodeDecodeError as error:
        place = Position(_shown(path), content.count(b"\n", 0, error.start) + 1, 1)
        raise PolicyError([Diagnostic(place, (), "bytes that are not UTF-8", expected="UTF-8 text")]) from None


def _shown(path: Path) -> str:
    # As a person would name it from where they stand.
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _overlay_path(profile: str) -> Path:
    for candidate in (Path(profile), shipped("profiles", f"{profile}.yaml")):
        if candidate.is_file():
            return candidate
    known = sorted(path.stem for path in shipped("profiles").glob("*.yaml"))
    raise UnknownProfileError(f"there is no profile {profile!r}: give a file, or one of {', '.join(known)}")
