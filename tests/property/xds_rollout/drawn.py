"""Drawn snapshots of resources that refer to one another."""

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
    pairs: list[tuple[str, Resource]] = []
    secrets = draw(st.dictionaries(NAMES, texts))
    pairs += [(SECRET, Resource.of(name, text.encode())) for name, text in secrets.items()]
    clusters = draw(st.dictionaries(NAMES, texts))
    for name, text in clusters.items():
        keys = draw(st.sets(st.sampled_from(sorted(secrets)), max_size=1)) if secrets else set()
        needs = [(ENDPOINT, name), *((SECRET, key) for key in keys)]
        pairs.append((CLUSTER, Resource.of(name, f"{text} {keys}".encode(), needs=needs)))
        pairs.append((ENDPOINT, Resource.of(name, draw(texts).encode())))
    routes: dict[str, list[str]] = {}
    for name in draw(st.sets(NAMES)):
        to = draw(st.sets(st.sampled_from(sorted(clusters)))) if clusters else set()
        routes[name] = sorted(to)
        body = f"{draw(texts)} {routes[name]}".encode()
        pairs.append((ROUTE, Resource.of(name, body, needs=[(CLUSTER, each) for each in routes[name]])))
    for name, used in draw(st.dictionaries(NAMES, st.sets(st.sampled_from(sorted(routes))))).items() if routes else ():
        body = f"{draw(texts)} {sorted(used)}".encode()
        pairs.append((LISTENER, Resource.of(f"l{name}", body, needs=[(ROUTE, each) for each in sorted(used)])))
    wanted = {need for _, resource in pairs for need in resource.needs}
    return Snapshot.of(
        (type_url, each) for type_url, each in pairs if type_url != ROUTE or (type_url, each.name) in wanted
    )
