"""Canaries: who gets the candidate, and what ends its trial."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from tests.unit.xds.proxies import Joined, snapshot
from xds.canary import CanaryOutcome, Thresholds, Traffic, Verdict, run_canary
from xds.protocol.messages import Node
from xds.publisher import Publisher
from xds.rollout import chosen

BASE = snapshot(CDS={"a": "1"}, LDS={"l": "1"})
CANDIDATE = snapshot(CDS={"a": "2"}, LDS={"l": "1"})
NEWER = snapshot(CDS={"a": "3"}, LDS={"l": "1"})
SOAK, WITHIN = 10.0, 5.0
Act = Callable[[], None]


class Scene:
    """A group of proxies that run `BASE`, a clock that only `sleep` moves, and what happens at which second."""

    def __init__(self, nodes: int) -> None:
        self.publisher = Publisher()
        self.publisher.set_snapshot("edge", BASE)
        self.joined: dict[str, Joined] = {}
        for number in range(nodes):
            self.join(f"edge-{number}")
        self.figures: dict[str, Traffic] = {}
        self.watched: list[float] = []
        self.watching = False
        self.now = 0.0
        self.events: list[tuple[float, Act]] = []
        self.obedient = True

    def join(self, node_id: str) -> None:
        self.joined[node_id] = Joined(self.publisher, Node(node_id, "edge"))
        self.joined[node_id].follow()

    def at(self, second: float, act: Act) -> None:
        self.events.append((second, act))

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        due = [act for second, act in self.events if second <= self.now]
        self.events = [(second, act) for second, act in self.events if second > self.now]
        for act in due:
            act()
        if self.obedient:
            for each in self.joined.values():
                each.follow()

    @contextmanager
    def watch(self, group: str, interval: float) -> Iterator[None]:
        self.watched.append(interval)
        self.watching = True
        try:
            yield
        finally:
            self.watching = False

    def totals(self, group: str) -> Mapping[str, Traffic]:
        return self.figures

    def serve(self, requests: int, errors: int, *node_ids: str) -> None:
        for node_id in node_ids:
            self.figures[node_id] = self.figures.get(node_id, Traffic()) + Traffic(requests, errors)

    @property
    def canaries(self) -> tuple[str, ...]:
        canary = self.publisher.canary("edge")
        assert canary is not None
        return canary.nodes

    @property
    def others(self) -> tuple[str, ...]:
        return tuple(node_id for node_id in self.joined if node_id not in self.canaries)

    async def run(self, percent: int = 50) -> CanaryOutcome:
        return await run_canary(
            self.publisher,
            "edge",
            CANDIDATE,
            percent,
            soak=SOAK,
            within=WITHIN,
            traffic=self,
            clock=lambda: self.now,
            sleep=self.sleep,
        )

    def runs(self) -> dict[str, str]:
        names = {BASE.version: "base", CANDIDATE.version: "candidate", NEWER.version: "newer"}
        for each in self.joined.values():
            each.follow()
        live = self.publisher.nodes.live("edge")
        return {node_id: names[version] for node_id, version in live.items() if version is not None}


def everywhere(scene: Scene, what: str) -> bool:
    return set(scene.runs().values()) == {what} and scene.publisher.canary("edge") is None


@pytest.mark.parametrize(
    ("nodes", "percent", "count"), [(1, 10, 1), (2, 100, 1), (3, 50, 1), (10, 1, 1), (10, 25, 2), (10, 100, 9)]
)
def test_at_least_one_is_chosen_and_never_all_of_several(nodes: int, percent: int, count: int) -> None:
    ids = [f"edge-{number}" for number in range(nodes)]
    assert len(chosen("v", ids, percent)) == count
    assert chosen("v", reversed(ids), percent) == chosen("v", ids, percent)


def test_another_version_is_tried_on_others() -> None:
    ids = [f"edge-{number}" for number in range(10)]
    assert len({chosen(f"v{number}", ids, 10) for number in range(30)}) > 3


def test_the_chosen_run_the_candidate_also_after_a_reconnection_and_those_who_come_later_do_not() -> None:
    scene = Scene(4)
    scene.publisher.set_canary("edge", CANDIDATE, 25)
    (canary,) = scene.canaries
    scene.join("edge-9")
    scene.joined[canary].leave()
    scene.join(canary)
    assert scene.runs() == {node_id: "candidate" if node_id == canary else "base" for node_id in scene.joined}
    assert scene.publisher.snapshot("edge") is BASE
    liveness = scene.publisher.live("edge", CANDIDATE.version)
    assert (liveness.current, liveness.acked, len(liveness.behind)) == (True, (canary,), 4)


def test_a_candidate_does_not_bring_back_what_was_rolled_back() -> None:
    scene = Scene(2)
    bad = snapshot(CDS={"a": "1", "b": "bad"}, LDS={"l": "1"})
    scene.publisher.set_snapshot("edge", bad)
    for each in scene.joined.values():
        each.fetch()
        each.nack("CDS")
    scene.publisher.set_canary("edge", snapshot(CDS={"a": "2", "b": "bad"}, LDS={"l": "1"}), 50)
    candidate = scene.publisher.candidate("edge")
    assert candidate is not None
    assert candidate.version == CANDIDATE.version


def test_a_canary_of_nothing_or_of_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing is published"):
        Publisher().set_canary("edge", CANDIDATE, 10)
    for percent in (0, 101):
        with pytest.raises(ValueError, match="1 to 100 percent"):
            Scene(1).publisher.set_canary("edge", CANDIDATE, percent)


async def test_a_candidate_that_does_no_harm_goes_to_all() -> None:
    scene = Scene(4)
    good = []
    scene.publisher.on_good(lambda _, each: good.append(each.version))
    scene.at(4, lambda: scene.serve(1000, 4, *scene.joined))
    outcome = await scene.run()
    assert (outcome.verdict, len(outcome.nodes), scene.watched, scene.watching) == (Verdict.PASSED, 2, [1.0], False)
    assert scene.now >= SOAK
    assert everywhere(scene, "candidate")
    assert scene.publisher.intended("edge") is CANDIDATE
    assert good == [CANDIDATE.version]
    assert (outcome.figures.canary, outcome.figures.others) == (Traffic(2000, 8), Traffic(2000, 8))


async def test_a_refusal_halts_it_and_rolls_nothing_back_elsewhere() -> None:
    scene = Scene(4)
    scene.obedient = False

    def refuse() -> None:
        canary = scene.joined[scene.canaries[0]]
        canary.fetch()
        canary.nack("CDS", "no such host")
        # It loses its connection at once, and with it what its stream knew.
        canary.leave()
        scene.join(canary.connection.node.id)

    scene.at(2, refuse)
    outcome = await scene.run()
    assert outcome.verdict is Verdict.REFUSED
    assert "refused 'a' (edge.yaml:1): no such host" in outcome.detail
    assert everywhere(scene, "base")
    assert scene.publisher.rolled_back("edge") == ()


async def test_a_rise_of_errors_halts_it() -> None:
    scene = Scene(4)
    scene.at(4, lambda: scene.serve(100, 1, *scene.others))
    scene.at(5, lambda: scene.serve(100, 3, *scene.canaries))
    outcome = await scene.run()
    assert outcome.verdict is Verdict.ERRORS_ROSE
    assert "6 of 200 requests failed, beside 2 of 200 of the other nodes" in outcome.detail
    assert scene.now < SOAK
    assert everywhere(scene, "base")


async def test_without_others_it_is_compared_with_what_the_node_did_before() -> None:
    scene = Scene(1)
    scene.serve(1000, 50, "edge-0")
    scene.at(4, lambda: scene.serve(100, 9, "edge-0"))
    outcome = await scene.run()
    assert outcome.verdict is Verdict.PASSED
    assert "it is the only node of the group" in outcome.detail
    assert "beside 50 of 1000 of the same nodes before" in outcome.detail

    scene = Scene(1)
    scene.serve(1000, 50, "edge-0")
    scene.at(4, lambda: scene.serve(100, 11, "edge-0"))
    assert (await scene.run()).verdict is Verdict.ERRORS_ROSE
    assert everywhere(scene, "base")


async def test_a_node_that_counts_anew_has_not_fewer_errors_than_none() -> None:
    scene = Scene(1)
    scene.serve(1000, 0, "edge-0")
    scene.at(4, lambda: scene.figures.update({"edge-0": Traffic(20, 5)}))
    outcome = await scene.run()
    assert (outcome.verdict, outcome.figures.canary) == (Verdict.ERRORS_ROSE, Traffic(20, 5))


@pytest.mark.parametrize(
    ("canary", "baseline", "exceeded"),
    [
        (Traffic(100, 4), Traffic(100, 0), False),
        (Traffic(100, 5), Traffic(100, 0), True),
        (Traffic(1000, 9), Traffic(1000, 0), False),
        (Traffic(100, 10), Traffic(100, 5), False),
        (Traffic(100, 11), Traffic(100, 5), True),
        (Traffic(0, 0), Traffic(0, 0), False),
        (Traffic(5, 5), Traffic(0, 0), True),
    ],
)
def test_errors_have_risen_when_they_are_several_and_twice_and_a_point_more(
    canary: Traffic, baseline: Traffic, exceeded: bool
) -> None:
    assert Thresholds().exceeded(canary, baseline) is exceeded


async def test_nodes_without_load_reports_are_named() -> None:
    outcome = await Scene(1).run()
    assert outcome.verdict is Verdict.PASSED
    assert "errors could not be watched on edge-0" in outcome.detail


async def test_one_that_does_not_answer_in_time_halts_it() -> None:
    scene = Scene(3)
    scene.obedient = False
    outcome = await scene.run()
    assert outcome.verdict is Verdict.TIMED_OUT
    assert outcome.nodes[0] in outcome.detail
    assert everywhere(scene, "base")


async def test_one_that_is_gone_for_a_moment_does_no_harm() -> None:
    scene = Scene(4)
    scene.at(4, lambda: scene.joined[scene.canaries[0]].leave())
    scene.at(6, lambda: scene.join(scene.canaries[0]))
    assert (await scene.run()).verdict is Verdict.PASSED


async def test_without_any_node_left_it_is_abandoned() -> None:
    scene = Scene(2)
    scene.at(4, lambda: scene.joined[scene.canaries[0]].leave())
    outcome = await scene.run()
    assert outcome.verdict is Verdict.ABANDONED
    assert scene.publisher.intended("edge") is BASE
    assert (await Scene(0).run()).verdict is Verdict.ABANDONED


async def test_a_newer_configuration_ends_it() -> None:
    scene = Scene(4)
    scene.at(4, lambda: scene.publisher.set_snapshot("edge", NEWER))
    outcome = await scene.run()
    assert outcome.verdict is Verdict.ABANDONED
    assert "another configuration" in outcome.detail
    assert everywhere(scene, "newer")


async def test_one_that_is_cancelled_gives_everything_back() -> None:
    scene = Scene(2)
    started = asyncio.Event()

    async def never(_: float) -> None:
        if scene.publisher.canary("edge") is not None:
            started.set()
            await asyncio.Event().wait()

    scene.sleep = never  # type: ignore[method-assign]
    task = asyncio.create_task(scene.run())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert everywhere(scene, "base")


@pytest.mark.parametrize("promote", [True, False])
async def test_when_it_ends_those_who_run_what_all_shall_run_need_not_say_so_again(promote: bool) -> None:
    scene = Scene(3)
    good = []
    scene.publisher.on_good(lambda _, snapshot: good.append(snapshot.version))
    scene.publisher.set_canary("edge", CANDIDATE, 50)
    canaries = scene.canaries
    for each in scene.joined.values():
        each.follow()
    scene.publisher.end_canary("edge", promote=promote)
    version = CANDIDATE.version if promote else BASE.version
    waiting = asyncio.create_task(scene.publisher.wait_live("edge", version, within=30))
    await asyncio.sleep(0)
    for node_id, each in scene.joined.items():
        if (node_id in canaries) is not promote:
            each.follow()
    assert (await asyncio.wait_for(waiting, 5)).complete
    assert good == ([CANDIDATE.version] if promote else [])
