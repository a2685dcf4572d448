"""What stands behind and beside the Envoys of these tests: authz, ratelimit and a service that each do as told."""

import json
import threading
import time
from collections.abc import Callable
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc

from protos import ext_authz_pb2, ext_authz_pb2_grpc, rls_pb2, rls_pb2_grpc

Check = ext_authz_pb2.CheckRequest
Answer = ext_authz_pb2.CheckResponse


def allowed(**metadata: str) -> Answer:
    answer = Answer(ok_response=ext_authz_pb2.OkHttpResponse())
    answer.status.code = 0
    answer.dynamic_metadata.update(metadata)
    return answer


def denied(status: int, body: str, **headers: str) -> Answer:
    answer = Answer()
    answer.status.code = 7
    answer.denied_response.status.code = status
    answer.denied_response.body = body
    for name, value in headers.items():
        answer.denied_response.headers.add().header.CopyFrom(
            ext_authz_pb2.HeaderValue(key=name.replace("_", "-"), value=value)
        )
    return answer


class Authz(ext_authz_pb2_grpc.AuthorizationServicer):
    """Remembers what it was asked; answers what `decide` says."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.decide: Callable[[Any], Answer] = lambda request: allowed()

    def Check(self, request: Any, context: Any) -> Answer:
        self.asked.append(request)
        return self.decide(request)


class RateLimit(rls_pb2_grpc.RateLimitServiceServicer):
    """Remembers the descriptors; answers what `answer` holds, and fails where that is None."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answer: Any = rls_pb2.RateLimitResponse(overall_code=rls_pb2.RateLimitResponse.OK)

    def ShouldRateLimit(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        return self.answer


class Service:
    """An HTTP service that answers with what it was sent, and counts."""

    def __init__(self) -> None:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                service.hits += 1
                if self.path.endswith("/slow"):
                    time.sleep(1)
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length)
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = {"method": self.command, "path": self.path, "headers": headers, "length": len(body)}
                content = json.dumps(seen).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_OPTIONS = handle_any  # noqa: N815

            def log_message(self, *arguments: object) -> None:
                pass

        self.hits = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def serve(authz: Authz, ratelimit: RateLimit) -> tuple[grpc.Server, int]:
    """Both on one port of the loopback address."""
    server = grpc.server(futures.ThreadPoolExecutor(8))
    ext_authz_pb2_grpc.add_AuthorizationServicer_to_server(authz, server)
    rls_pb2_grpc.add_RateLimitServiceServicer_to_server(ratelimit, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port
