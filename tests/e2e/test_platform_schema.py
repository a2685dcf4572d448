"""The platform's API says of itself what it does, and does it: drawn requests, good and bad, through both gateways.

schemathesis draws them from the document that the service shows to administrators, and looks whether each answer is one
that the document knows: no error of the server, no status, type or body beyond it, nothing taken that it forbids.
"""

from collections.abc import Iterator

import hypothesis
import pytest
import requests
import schemathesis
from requests.adapters import HTTPAdapter
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from tests.e2e.conftest import INTERNAL_ADDRESS
from tests.support.client import Client
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens

DOCUMENT = "/api/platform/admin/openapi.json"
DRAWS = 10
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    negative_data_rejection,
]  # fmt: skip


class From(HTTPAdapter):
    """Calls from one address."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__()

    def init_poolmanager(self, *arguments: object, **options: object) -> None:
        super().init_poolmanager(*arguments, **options, source_address=(self.address, 0))  # type: ignore[no-untyped-call]


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as one:
        one.mount("https://", From(INTERNAL_ADDRESS))
        yield one


def test_every_operation_says_what_it_does(internal: Client, tokens: Tokens, fresh: Fresh) -> None:
    document = internal.call("GET", DOCUMENT, token=tokens.admin(fresh)).json()
    operations = {f"{method} {path}": one for path, each in document["paths"].items() for method, one in each.items()}
    assert len(operations) == 5
    assert all(one["summary"] and one["description"] for one in operations.values())
    assert internal.call("GET", DOCUMENT, token=tokens.of("marketing", fresh)).status_code == 403


@pytest.mark.requirement("R28", "R32")
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["good", "bad"])
def test_drawn_requests_are_answered_as_the_document_says(
    mode: GenerationMode, internal: Client, stack: Stack, session: requests.Session, tokens: Tokens, fresh: Fresh
) -> None:
    document = internal.call("GET", DOCUMENT, token=tokens.admin(fresh)).json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=stack.ready.central.https)
    failures = []
    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.settings(
            max_examples=DRAWS, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )  # fmt: skip
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def draw(case: schemathesis.Case) -> None:
            # A new administrator each time has limits of its own.
            headers = {"authorization": f"Bearer {tokens.admin(fresh)}"}
            case.call_and_validate(session=session, headers=headers, verify=stack.ca_file, timeout=30, checks=CHECKS)

        try:
            draw()
        except hypothesis.errors.Unsatisfiable:
            # What takes nothing can be asked nothing bad.
            assert mode is GenerationMode.NEGATIVE
        except Exception as error:
            failures.append(f"{operation.label}: {error}")
    assert failures == []
