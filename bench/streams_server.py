"""The control plane of bench.streams: `python -m bench.streams_server PORT REVISION`, one command a line.

It begins with the content of that revision, as a replica that has seen so many changes would. `change` publishes
another 25 kB and answers its version and the time; `live` answers how many proxies run it; `rss` the memory in bytes.
"""

import asyncio
import gc
import random
import sys
import time
from typing import Final

import psutil

from xds import server
from xds.publisher import Publisher
from xds.snapshot import CLUSTER, LISTENER, ROUTE, Resource, Snapshot

GROUP: Final = "bench"
ROUTES: Final = "routes"
BYTES: Final = 25_000


def snapshot(revision: int) -> Snapshot:
    """The N-th content: the server never looks into a resource, so random octets will do."""
    body = random.Random(revision).randbytes(BYTES)
    return Snapshot.of(
        [
            (CLUSTER, Resource.of("service", b"c" * 500)),
            (LISTENER, Resource.of("door", b"l" * 4_000, needs=[(ROUTE, ROUTES)])),
            (ROUTE, Resource.of(ROUTES, body, needs=[(CLUSTER, "service")])),
        ]
    )


async def main() -> None:
    publisher = Publisher()
    revision = int(sys.argv[2])
    publisher.set_snapshot(GROUP, snapshot(revision))
    running = await server.serve(publisher, f"127.0.0.1:{sys.argv[1]}", identifier="bench")
    gc.freeze()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = line.strip()
        answer = "ok"
        match command:
            case "change":
                revision += 1
                new = snapshot(revision)
                published = time.monotonic()
                publisher.set_snapshot(GROUP, new)
                answer = f"{new.of_type(ROUTE).resources[ROUTES].version} {published}"
            case "live":
                current = publisher.snapshot(GROUP)
                assert current is not None
                answer = str(len(publisher.live(GROUP, current.version).acked))
            case "rss":
                gc.collect()
                answer = str(psutil.Process().memory_info().rss)
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()
    await running.stop(0)


if __name__ == "__main__":
    asyncio.run(main())
