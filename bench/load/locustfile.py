"""Users who post to /api/marketing/content (R101), for Locust's own command and its page:

    apibank up
    locust -f bench/load/locustfile.py --users 50 --spawn-rate 10

Each sends 20 requests a minute, so 50 are the 1,000 a minute of R98, as long as each is answered within three seconds.
Users wait for their answers: for rates that do not, see `python -m bench.load`.
"""

import os
import ssl
from pathlib import Path

import gevent
from locust import FastHttpUser, constant_throughput, task

from apibank.ready import read_ready
from bench.load.callers import Callers

_STATE = Path(os.environ.get("APIBANK_STATE_DIR", ".apibank"))
_READY = read_ready(_STATE)
_CALLERS = Callers(_READY)


class Customer(FastHttpUser):
    """Somebody with a token of the business tier, another one for each request in turn."""

    host = _READY.central.https
    wait_time = constant_throughput(1 / 3)
    insecure = False

    @staticmethod
    def ssl_context_factory() -> ssl.SSLContext:
        context: ssl.SSLContext = gevent.ssl.create_default_context(cafile=_READY.ca_file)
        return context

    @task
    def content(self) -> None:
        sent = _CALLERS.content()
        self.client.post(sent.url, name=sent.name, data=sent.body, headers=sent.headers)
