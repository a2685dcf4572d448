"""The folder of gateway files and its overlays: read whole, one bad file at a time, and watched for changes."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from apibank.policy_source import read_source, shown
from apibank.watching import bursts
from policy.lint import Finding, Severity, diagnostic_of, lint, lint_errors
from policy.load import Loaded, load_gateway, load_gateways
from policy.model import Gateway
from policy.problem import Diagnostic, PolicyError, Position, Source

_LOOK_SECONDS: Final = 1.0
CANDIDATES: Final = ".candidate"
APPLIED: Final = ".applied"
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
    """Gateway files, `NAME.yaml` each, under overlays. A broken file takes nothing from the others.

    What the linter calls an error refuses a file as its schema does, so that nobody who goes by it runs it.
    """

    def __init__(
        self,
        folder: Path,
        profiles: Sequence[str],
        only: Sequence[str] | None = None,
        *,
        written: Path | None = None,
        linted: bool = True,
    ) -> None:
        """`profiles` are names or paths, applied in order; `only` are the gateways wanted, all where None.

        `written`: where people write, if that is another folder than the one that is in force (`applied_folder`).
        `linted`: False for those who lint what they read themselves, or only look at it.
        Raises UnknownProfileError, or FileNotFoundError where the folder is not there.
        """
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder of policies at {folder}")
        self.folder = folder
        self.written = written or folder
        self.overlays = tuple(_overlay_path(profile) for profile in profiles)
        self._only = None if only is None else frozenset(only)
        self._linted = linted
        self._read: dict[str, tuple[tuple[Source, ...], Loaded[Gateway]]] = {}

    def names(self) -> tuple[str, ...]:
        """The gateways that have a file, central first: the edge of the federation."""
        return self._names(self.folder)

    def written_names(self) -> tuple[str, ...]:
        """The gateways that have a file where people write."""
        return self._names(self.written)

    def _names(self, folder: Path) -> tuple[str, ...]:
        found = {path.stem for path in folder.glob("*.yaml") if not path.name.startswith(".")}
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
            except OSError as error:
                # A link that leads nowhere, or a file that has gone since the folder was read.
                place = Position(shown(self.folder / f"{name}.yaml"), 1, 1)
                errors[name] = PolicyError([Diagnostic(place, (), f"it cannot be read: {error.strerror}")])
        return PolicySet(gateways, errors)

    def load_one(self, name: str) -> Loaded[Gateway]:
        """One gateway. Raises PolicyError with everything that is wrong, FileNotFoundError where there is no file."""
        file, *overlays = sources = tuple(read_source(path) for path in (self.folder / f"{name}.yaml", *self.overlays))
        known = self._read.get(name)
        # A change of one team's file costs the others nothing.
        if known is not None and known[0] == sources:
            return known[1]
        loaded = load_gateway(Gateway, file, overlays)
        if self._linted:
            admit(loaded)
        self._read[name] = (sources, loaded)
        return loaded

    def is_as_read(self, name: str) -> bool:
        """Whether nobody has written the gateway's file since `load_one` read it; the overlays are not looked at."""
        known = self._read.get(name)
        try:
            return known is not None and read_source(self.folder / f"{name}.yaml") == known[0][0]
        except (OSError, PolicyError):
            return False

    def gateways(self) -> Sequence[Gateway]:
        """The gateways as `load_one` read them last; reads nothing."""
        return [loaded.gateway for _, loaded in self._read.values()]

    def warnings(self, name: str) -> Sequence[Finding]:
        """What the linter warns of in the gateway's file, as `load_one` read it last; it looks when it is asked."""
        _, loaded = self._read[name]
        found = lint(loaded.gateway, loaded.positions)
        return [one for one in found if one.severity is Severity.WARNING]

    def wants(self, name: str) -> bool:
        """Whether this gateway is one of those that were asked for, with a file or without."""
        return self._only is None or name in self._only

    def forget(self, name: str) -> None:
        """The gateway's file is gone for good."""
        self._read.pop(name, None)

    def text(self, name: str) -> str:
        """The gateway's file without overlays, as `load_one` read it last."""
        (file, *_), _ = self._read[name]
        return file.text

    def last_text(self, name: str) -> str | None:
        """The same, None where no good one was read yet."""
        return self.text(name) if name in self._read else None

    def load_text(self, name: str, text: str, shown: str) -> Loaded[Gateway]:
        """A text that may become the gateway's file, under the overlays; not linted. Raises PolicyError, OSError."""
        source = Source(shown, text)
        loaded = load_gateway(Gateway, source, [read_source(path) for path in self.overlays])
        if loaded.gateway.gateway != name:
            expected, found = f"gateway: {name}", loaded.gateway.gateway
            raise PolicyError(
                [loaded.positions.diagnostic(("gateway",), "another gateway's policy", found=found, expected=expected)]
            )
        return loaded

    def saved_at(self, name: str, also: Sequence[str] = ()) -> float:
        """When the newest of the gateway's file, the overlays and the files in `also` was written, as `time.time`."""
        paths = (self.folder / f"{name}.yaml", *self.overlays, *map(Path, also))
        return max((path.stat().st_mtime for path in paths if path.exists()), default=0.0)

    @property
    def candidates(self) -> Path:
        """Where candidates lie while they are tried: `NAME.yaml` each, beside the folder's own files."""
        return self.folder / CANDIDATES

    def load_candidate(self, name: str) -> Loaded[Gateway] | None:
        """The gateway's candidate, None where there is none. Raises PolicyError, OSError."""
        try:
            source = read_source(self.candidates / f"{name}.yaml")
        except FileNotFoundError:
            return None
        loaded = self.load_text(name, source.text, source.name)
        if self._linted:
            admit(loaded)
        return loaded

    def load_strictly(self) -> Mapping[str, Loaded[Gateway]]:
        """All gateways together, as `policy validate` wants them: not linted.

        Raises PolicyError with everything that is wrong.
        """
        sources = [read_source(self.folder / f"{name}.yaml") for name in self.names()]
        return load_gateways(Gateway, sources, [read_source(path) for path in self.overlays])

    async def changes(
        self, stop: asyncio.Event, also: Sequence[Path] = (), *, candidates: bool = False
    ) -> AsyncGenerator[None, None]:
        """Yields at once, and after each burst of changes to the files, the overlays, or the folders in `also`.

        With `candidates`, to those too; their folder is made for it where it can be. Where another folder takes the
        place of this one or of an overlay's, as when a link is turned to a new release, that one is followed.
        """
        while not stop.is_set():
            ended = asyncio.Event()
            looking = asyncio.create_task(self._replaced(stop, ended))
            try:
                async for _ in self._bursts(ended, also, candidates):
                    yield
            finally:
                looking.cancel()

    async def _replaced(self, stop: asyncio.Event, ended: asyncio.Event) -> None:
        """Sets `ended` when this is stopped, or there is another folder; the watch stays with the one that it has."""
        here = self._identity()
        while not stop.is_set():
            there = self._identity()
            if there is None:
                # Whatever comes in its place is another, also with the same number.
                here = None
            elif there != here:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_SECONDS)
        ended.set()

    def _identity(self) -> Sequence[tuple[Path, int, int]] | None:
        """Which folders there are: where links lead, too, as the number of one that is gone is soon another's."""
        folders = (self.folder, *(path.parent for path in self.overlays))
        try:
            return [(one.resolve(), (found := one.stat()).st_dev, found.st_ino) for one in folders]
        except OSError:
            return None

    def _bursts(self, stop: asyncio.Event, also: Sequence[Path], candidates: bool) -> AsyncIterator[None]:
        # Folders, not files: editors and deployments put a new file in the old one's place.
        folder = self.folder.resolve()
        overlays = {path.resolve() for path in self.overlays}
        whole = {path.resolve() for path in also if path.is_dir()}
        policies = {folder}
        if candidates:
            with contextlib.suppress(OSError):
                self.candidates.mkdir(exist_ok=True)
            policies |= {self.candidates.resolve()} if self.candidates.is_dir() else set()

        def concerns_us(path: Path) -> bool:
            # What is written under a name with a dot is on its way to another name.
            gateway_file = (
                path.parent in policies
                and path.suffix == ".yaml"
                and not path.name.startswith(".")
                and self.wants(path.stem)
            )
            return gateway_file or path in overlays or path.parent in whole

        return bursts(*policies, *{path.parent for path in overlays}, *whole, stop=stop, concerns=concerns_us)


def admit(loaded: Loaded[Gateway]) -> None:
    """Raises PolicyError with everything that the linter calls an error."""
    if errors := lint_errors(loaded.gateway, loaded.positions):
        raise PolicyError(diagnostic_of(one, loaded.positions) for one in errors)


def applied_folder(folder: Path, only: Sequence[str] | None = None) -> Path:
    """The folder that is in force where saved files are not followed: what was applied last.

    A gateway that was never applied begins with its file. Raises OSError where the folder cannot be written.
    """
    applied = folder / APPLIED
    applied.mkdir(exist_ok=True)
    for path in folder.glob("*.yaml"):
        if (only is None or path.stem in only) and not path.name.startswith("."):
            # What is no readable file cannot have been applied; whoever applies it is told. Exclusively: of several
            # processes that start at once, one writes.
            with contextlib.suppress(FileExistsError, FileNotFoundError, PolicyError):
                text = read_source(path).text
                with (applied / path.name).open("x", encoding="utf-8", newline="") as file:
                    file.write(text)
    return applied


def _overlay_path(profile: str) -> Path:
    for candidate in (Path(profile), shipped("profiles", f"{profile}.yaml")):
        if candidate.is_file():
            return candidate
    known = sorted(path.stem for path in shipped("profiles").glob("*.yaml"))
    raise UnknownProfileError(f"there is no profile {profile!r}: give a file, or one of {', '.join(known)}")
