"""What `make fuzz` searches holds for its seeds, and for what Hypothesis makes of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import body, path, signature, token

CORPUS = Path(body.__file__).parent / "corpus"
TARGETS: dict[str, Callable[[bytes], None]] = {
    "token": token.judge,
    "signature": signature.judge,
    "body": body.judge,
    "path": path.judge,
}
SEEDS = [(name, file.read_bytes()) for name in TARGETS for file in sorted((CORPUS / name).iterdir())]


@st.composite
def altered(draw: st.DrawFn) -> tuple[str, bytes]:
    """A seed in which some octets were exchanged for others, or for a piece of another seed of the target."""
    name, octets = draw(st.sampled_from(SEEDS))
    others = [seed for other, seed in SEEDS if other == name]
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(octets)))
        end = draw(st.integers(start, min(len(octets), start + 12)))
        piece = draw(st.binary(max_size=6) | st.sampled_from(others))[start if draw(st.booleans()) else 0 :][:20]
        octets = octets[:start] + piece + octets[end:]
    return name, octets


def test_every_target_has_seeds() -> None:
    assert {name for name, _ in SEEDS} == TARGETS.keys() == {folder.name for folder in CORPUS.iterdir()}


@pytest.mark.parametrize(("name", "octets"), SEEDS)
def test_a_seed_is_judged_as_promised(name: str, octets: bytes) -> None:
    TARGETS[name](octets)


@given(altered())
def test_what_is_made_of_a_seed_is_judged_as_promised(case: tuple[str, bytes]) -> None:
    name, octets = case
    TARGETS[name](octets)


@given(st.sampled_from(sorted(TARGETS)), st.binary(max_size=200))
def test_whatever_octets_are_judged_as_promised(name: str, octets: bytes) -> None:
    TARGETS[name](octets)
