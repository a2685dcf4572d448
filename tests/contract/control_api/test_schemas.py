"""The control API says of itself what it does: drawn requests, good and bad, against a real control plane.

schemathesis draws them from the document that the process serves, and looks whether each answer is one that the
document knows: no error of the server, no status, type or body beyond it, nothing accepted that the document forbids.
"""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from tests.contract.ratelimit.process import free_port, get, until

GATEWAYS = Path(__file__).resolve().parents[3] / "envoy" / "gateways"
SECRET = "a-secret-of-the-control-plane"
# What only waits, or changes what other draws need: shown by the tests of changes.
DRAWS = 12


@dataclass(frozen=True)
class Api:
    url: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {SECRET}"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A control plane with the shipped policies, without Envoys."""
    place = tmp_path_factory.mktemp("control")
    shutil.copytree(GATEWAYS, place / "gateways")
    (place / "token").write_text(SECRET)
    control, xds = free_port(), free_port()
    command = [sys.executable, "-m", "apibank", "serve", "control-plane", "--policies", str(place / "gateways")]
    command += ["--listen", f"127.0.0.1:{xds}", "--control-listen", f"127.0.0.1:{control}", "--state-dir", str(place)]
    command += ["--database", f"sqlite:///{place / 'records.db'}"]
    environment = {"APIBANK_CONTROL_TOKEN_FILE": str(place / "token")}
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**_environment(), **environment})
    api = Api(f"http://127.0.0.1:{control}")
    try:
        until(lambda: process.poll() is not None or _answers(api))
        assert process.poll() is None, (place / "log").read_text()
        yield api
        assert "Traceback" not in (place / "log").read_text()
    finally:
        process.terminate()
        process.wait(20)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("APIBANK_")}


def _answers(api: Api) -> bool:
    try:
        return get(api.url + "/ready")[0] == 200
    except OSError:
        return False


def test_nobody_reads_the_document_without_the_secret(api: Api) -> None:
    assert get(api.url + "/v1/openapi.json")[0] == 401


def test_every_operation_says_what_it_does_and_asks_for_the_secret(api: Api) -> None:
    asked = urllib.request.Request(api.url + "/v1/openapi.json", headers=api.headers)
    with urllib.request.urlopen(asked, timeout=10) as answer:
        document = json.load(answer)
    operations = [one for path in document["paths"].values() for one in path.values()]
    assert len(operations) > 20
    assert all(one["description"] and one["security"] == [{"HTTPBearer": []}] for one in operations)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["good", "bad"])
def test_drawn_requests_are_answered_as_the_document_says(api: Api, mode: GenerationMode) -> None:
    config = schemathesis.Config()
    # The secret is sent in any case; what happens without it is another test.
    config.projects.default.generation.with_security_parameters = False
    schema = schemathesis.openapi.from_url(api.url + "/v1/openapi.json", headers=api.headers, config=config)
    failures, takes_nothing = [], []
    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.settings(
            max_examples=DRAWS,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def draw(case: schemathesis.Case) -> None:
            case.call_and_validate(
                headers=api.headers,
                timeout=40,
                checks=[
                    not_a_server_error,
                    status_code_conformance,
                    content_type_conformance,
                    response_schema_conformance,
                    negative_data_rejection,
                ],
            )

        try:
            draw()
        except hypothesis.errors.Unsatisfiable:
            # What takes nothing can be asked nothing bad.
            takes_nothing.append(operation.label)
        except Exception as error:
            failures.append(f"{operation.label}: {error}")
    assert failures == []
    assert len(takes_nothing) <= 10, takes_nothing
