"""Offers requests at their moments, by Locust's client, each in a greenlet of its own."""

import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import gevent
from gevent.pool import Pool
from locust import FastHttpUser, task
from locust.env import Environment

from bench.load.callers import Sent
from bench.load.figures import Samples

# Nobody waits longer for an answer; it is a failure then.
ANSWER_SECONDS = 15.0
# More under way than this is a federation that has stopped: what is due then is a failure at once.
_MOST_UNDER_WAY = 2_000


def offer(kinds: Iterator[Callable[[], Sent]], moments: Iterable[float], ca_file: str, host: str) -> Samples:
    """Send one request at each moment, counted in seconds from now; returns when all are answered or given up."""
    samples = Samples()
    environment = Environment(user_classes=[_user(kinds, moments, ca_file, samples)], host=host)
    runner = environment.create_local_runner()
    runner.start(1, spawn_rate=1)
    runner.greenlet.join()
    return samples


def _user(
    kinds: Iterator[Callable[[], Sent]], moments: Iterable[float], ca_file: str, samples: Samples
) -> type[FastHttpUser]:
    class Everybody(FastHttpUser):
        """All callers together: their requests share connections, as behind a proxy."""

        concurrency = _MOST_UNDER_WAY
        network_timeout = connection_timeout = ANSWER_SECONDS
        insecure = False
        max_retries = 0

        @staticmethod
        def ssl_context_factory() -> ssl.SSLContext:
            context: ssl.SSLContext = gevent.ssl.create_default_context(cafile=ca_file)
            return context

        @task
        def all_of_them(self) -> None:
            start, under_way = time.perf_counter(), Pool(_MOST_UNDER_WAY)
            for moment in moments:
                due = start + moment
                gevent.sleep(max(due - time.perf_counter(), 0))
                samples.offered += 1
                if under_way.full():
                    samples.add((time.perf_counter() - due) * 1e3, 0.0, 0, "not sent: too many under way")
                else:
                    under_way.spawn(self.one, next(kinds), due)
            under_way.join(ANSWER_SECONDS * 2)
            self.environment.runner.quit()

        def one(self, make: Callable[[], Sent], due: float) -> None:
            sent = make()
            left = time.perf_counter()
            answer: Any = self.client.request(
                "POST", sent.url, name=sent.name, data=sent.body, headers=sent.headers, catch_response=False
            )
            status = answer.status_code or 0
            why = "" if 200 <= status < 400 else f"{status} {answer.error if not status else _code(answer)}"
            samples.add((time.perf_counter() - due) * 1e3, (left - due) * 1e3, status, why)

    return Everybody


def _code(answer: Any) -> str:
    try:
        return str(answer.json().get("code"))
    except (ValueError, AttributeError):
        return "without a problem document"
