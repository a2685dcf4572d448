"""A gateway's whole pool of Envoys, with their services, is exchanged for another while requests come (R113)."""

import contextlib
import threading
from collections.abc import Iterator

import httpx2
import pytest

from tests.e2e.multi_host.federation import DOMAINS, HOSTS_OF, PLAN, Federation
from tests.support.tokens import Fresh

PATH = "/api/education/homework"
BLUE, GREEN = HOSTS_OF["education"]


class Asked:
    """Who asks without a pause, over a new connection each time; by which host each was answered, or how it failed."""

    def __init__(self, federation: Federation, token: str) -> None:
        self.federation, self.token = federation, token
        self.answers: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        hosts = {PLAN[host]["services"]: host for host in HOSTS_OF["education"]}
        headers = {"authorization": f"Bearer {self.token}"}
        while not self.over.is_set():
            try:
                answer = self.federation.call("client", "GET", PATH, headers=headers)
            except httpx2.HTTPError as error:
                self.answers.append(repr(error))
                continue
            self.answers.append(
                hosts[answer.json()["from"]]
                if answer.status_code == 200
                else f"{answer.status_code} {answer.text[:200]}"
            )

    def since(self, count: int) -> list[str]:
        return self.answers[count:]


@contextlib.contextmanager
def asking(federation: Federation, fresh: Fresh) -> Iterator[Asked]:
    asked = Asked(federation, federation.tokens.of("education", fresh))
    thread = threading.Thread(target=asked.run)
    thread.start()
    try:
        yield asked
    finally:
        asked.over.set()
        thread.join()


def send_to(federation: Federation, *hosts: str) -> None:
    """What `apibank endpoints set central education-gateway HOST:PORT...` does, on the control host."""
    places = [f"{PLAN[host]['mesh']}:{DOMAINS['education']}" for host in hosts]
    answer = federation.call(
        "control", "PUT", "/v1/gateways/central/upstreams/education-gateway/endpoints", to="http://127.0.0.1:18001",
        headers={"authorization": f"Bearer {federation.control_token}"}, json={"endpoints": places},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text


def answered_by(asked: Asked, federation: Federation, wanted: set[str]) -> None:
    """Wait until the latest twenty answers are of these hosts."""
    federation.until(
        lambda: len(asked.answers) >= 20 and {*asked.answers[-20:]} == wanted, f"answers of {sorted(wanted)} alone"
    )


@pytest.mark.requirement("R113")
def test_a_pool_is_exchanged_and_the_old_one_ended_and_no_request_fails(federation: Federation, fresh: Fresh) -> None:
    try:
        with asking(federation, fresh) as asked:
            send_to(federation, BLUE)
            answered_by(asked, federation, {BLUE})
            # Green comes with a share first, as one host of two.
            send_to(federation, BLUE, GREEN)
            federation.until(lambda: GREEN in asked.answers[-20:], "answers of the new pool")
            send_to(federation, GREEN)
            answered_by(asked, federation, {GREEN})
            # Blue's Envoy is told to end what it has, and is ended: nobody is there to notice.
            federation.call(BLUE, "POST", "/drain_listeners?graceful", to="http://127.0.0.1:9901")
            federation.stop(f"envoy-{BLUE}-1")
            count = len(asked.answers)
            federation.until(lambda: len(asked.answers) > count + 50, "requests without it")
            # And back, to a pool that was started anew.
            federation.envoy("education", host=BLUE)
            federation.until(
                lambda: federation.states()["education"]["live"] == len(HOSTS_OF["education"]), "both live"
            )
            send_to(federation, BLUE)
            answered_by(asked, federation, {BLUE})
        assert {*asked.answers} == {BLUE, GREEN}
    finally:
        federation.call(
            "control", "DELETE", "/v1/gateways/central/upstreams/education-gateway/endpoints",
            to="http://127.0.0.1:18001", headers={"authorization": f"Bearer {federation.control_token}"},
        )  # fmt: skip
