#!/usr/bin/env python3
"""Ends with 0 if every address that it is given is well: `http://…` answers 200, `grpc:TARGET` says SERVING.

For the health checks of compose.yaml, in an image that has neither curl nor a shell worth using. Usage:

    healthcheck http://127.0.0.1:9100/metrics grpc:unix:/run/apibank/authz.sock
"""

import sys
import urllib.request

TIMEOUT_SECONDS = 2.5


def ill(address: str) -> str | None:
    """What is wrong with an address; None if nothing is."""
    if address.startswith("grpc:"):
        return _ill_grpc(address.removeprefix("grpc:"))
    if not address.startswith("http://"):
        return "neither http:// nor grpc:"
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310  (http:// only, above)
            return None if answer.status == 200 else f"status {answer.status}"
    except OSError as error:
        return str(error)


def _ill_grpc(target: str) -> str | None:
    # Imported here: a quarter of a second that checks over HTTP need not spend.
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(target) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            return str(error.code().name)
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return None if status == "SERVING" else status


def main(addresses: list[str]) -> int:
    """0 if all are well; 1 with a line for each that is not, or if none is given."""
    if not addresses:
        sys.stderr.write("healthcheck: name at least one address\n")
        return 1
    complaints = {address: complaint for address in addresses if (complaint := ill(address)) is not None}
    for address, complaint in complaints.items():
        sys.stderr.write(f"{address}: {complaint}\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
