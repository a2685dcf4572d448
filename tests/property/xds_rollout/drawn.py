"""Drawn snapshots of resources that refer to one another."""

from collections.abc import Iterable

from hypothesis import strategies as st

from tests.property.xds.clients import BAD
from xds.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Resource, Snapshot

NAMES = st.sampled_from(["a", "b", "c"])
TEXTS = st.sampled_from(["1", "2"])


@st.composite
def snapshots(draw: st.DrawFn, *, bad: bool = False) -> Snapshot:
    """Consistent ones: clusters with endpoints and secrets, listeners with routes, each route used.

    With `bad` some have bodies that start with `BAD`.
    """
    texts = TEXTS | st.just(BAD.decode()) if bad else TEXTS
    least = draw(st.sampled_from([1, 1, 1, 0]))
    secrets = draw(st.dictionaries(NAMES, texts))
    pairs = [(SECRET, Resource.of(name, text.encode())) for name, text in secrets.items()]
    clusters = draw(st.dictionaries(NAMES, texts, min_size=least))
    for name, text in clusters.items():
        keys = sorted(draw(some(secrets, most=1)))
        needs = [(ENDPOINT, name), *((SECRET, key) for key in keys)]
        pairs.append((CLUSTER, Resource.of(name, f"{text} {keys}".encode(), needs=needs)))
        pairs.append((ENDPOINT, Resource.of(name, draw(texts).encode())))
    routes = draw(st.sets(NAMES, min_size=least))
    wanted: set[str] = set()
    for name in sorted(draw(st.sets(NAMES, min_size=least))):
        used = sorted(draw(some(routes, least=least)))
        wanted.update(used)
        needs = [(ROUTE, each) for each in used]
        pairs.append((LISTENER, Resource.of(f"l{name}", f"{draw(texts)} {used}".encode(), needs=needs)))
    for name in sorted(wanted):
        to = sorted(draw(some(clusters, least=least)))
        needs = [(CLUSTER, each) for each in to]
        pairs.append((ROUTE, Resource.of(name, f"{draw(texts)} {to}".encode(), needs=needs)))
    return Snapshot.of(pairs)


def some(names: Iterable[str], *, least: int = 0, most: int | None = None) -> st.SearchStrategy[set[str]]:
    """Some of these, if there are any."""
    names = sorted(names)
    return st.sets(st.sampled_from(names), min_size=least, max_size=most) if names else st.just(set())
