"""Programs that call the API, complete and ready to run: in Python, JavaScript and for cURL (R118).

The key is never in them: it comes from the environment, so that no program has it in its text.
"""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from pydantic import JsonValue

from policy.model import Access, Gateway
from portal.developer.browser import Doorkeeper
from portal.developer.examples import example
from portal.developer.pages import page
from portal.developer.person import Person

SAMPLES: Final = "/portal/samples"
VARIABLE: Final = "WAOOAW_API_KEY"
_BODIES: Final = ("POST", "PUT", "PATCH")
_LOCAL: Final = {"127.0.0.1", "localhost"}


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the API. `body`: of a JSON body, None where there is none."""

    method: str
    path: str
    description: str
    body: JsonValue = None

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


def calls(gateways: Mapping[str, Gateway], person: Person) -> tuple[Call, ...]:
    """What this person's keys may call, the requests with a body first."""
    found: list[Call] = []
    for gateway in gateways.values():
        for route in gateway.routes.values():
            space = gateway.scopes_of(route)
            if space is None or route.access is Access.PUBLIC or not gateway.callers_of(route).partners:
                continue
            for method, action in gateway.methods_of(route).items():
                schema = route.body.get(method)
                body = None if schema is None else example(gateway.schemas[schema])
                if not person.may(space, action.value) or method not in {"GET", *_BODIES}:
                    continue
                if method == "GET" or body is not None:
                    found.append(Call(str(method), route.path, route.description or "", body))
    return tuple(sorted(found, key=lambda one: one.method == "GET"))


def curl(origin: str, call: Call) -> str:
    """For a POSIX shell."""
    lines = [f"curl --request {call.method} {shlex.quote(origin + call.path)}", f'--header "x-api-key: ${VARIABLE}"']
    if call.body is not None:
        lines += ["--header 'content-type: application/json'", f"--data {shlex.quote(_json(call.body))}"]
    return " \\\n  ".join(lines)


def python(origin: str, call: Call) -> str:
    """With the standard library alone."""
    headers = [f'"x-api-key": os.environ["{VARIABLE}"]']
    data = ""
    body = ""
    if call.body is not None:
        headers.append('"content-type": "application/json"')
        body = f"body = {_literal(call.body)}\n"
        data = "\n    data=json.dumps(body).encode(),"
    return f"""\
import {"json" if call.body is not None else "os"}
{"import os" + chr(10) if call.body is not None else ""}import sys
import urllib.error
import urllib.request

{body}request = urllib.request.Request(
    {json.dumps(origin + call.path)},
    method="{call.method}",
    headers={{{", ".join(headers)}}},{data}
)
try:
    with urllib.request.urlopen(request, timeout=30) as answer:
        print(answer.status, answer.headers["x-request-id"])
        print(answer.read().decode())
except urllib.error.HTTPError as refusal:
    # What went wrong is JSON too: its "code" has a page in the error catalogue.
    print(refusal.code, refusal.headers["x-request-id"])
    sys.exit(refusal.read().decode())
"""


def javascript(origin: str, call: Call) -> str:
    """For Node.js 18 and later, as a module."""
    headers = [f'"x-api-key": process.env.{VARIABLE}']
    body = ""
    if call.body is not None:
        headers.append('"content-type": "application/json"')
        body = f"\n  body: JSON.stringify({_indented(_json(call.body))}),"
    return f"""\
const answer = await fetch({json.dumps(origin + call.path)}, {{
  method: "{call.method}",
  headers: {{ {", ".join(headers)} }},{body}
}});
console.log(answer.status, answer.headers.get("x-request-id"));
console.log(await answer.text());
// What went wrong is JSON too: its "code" has a page in the error catalogue.
if (!answer.ok) process.exitCode = 1;
"""


def _json(body: JsonValue) -> str:
    return json.dumps(body, indent=2, ensure_ascii=False)


def _literal(value: JsonValue, margin: str = "") -> str:
    """As Python writes it."""
    inner = margin + "    "
    match value:
        case dict() if value:
            items = "".join(f"{inner}{_json(name)}: {_literal(one, inner)},\n" for name, one in value.items())
            return f"{{\n{items}{margin}}}"
        case list() if value:
            return "[" + ", ".join(_literal(one, margin) for one in value) + "]"
        case str():
            # What JSON escapes, Python does in the same way.
            return json.dumps(value, ensure_ascii=False)
    return repr(value)


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


def sample_routes(door: Doorkeeper, policies: Callable[[], Mapping[str, Gateway]]) -> APIRouter:
    """`/portal/samples`."""
    router = APIRouter(include_in_schema=False)

    @router.get(SAMPLES)
    async def samples(request: Request, call: str = "") -> Response:
        visit = await door.visit(request)
        origin = door.origin(request)
        found = calls(policies(), visit.person)
        chosen = next((one for one in found if one.name == call), next(iter(found), None))
        texts = [] if chosen is None else [
            ("curl", "cURL", curl(origin, chosen)),
            ("python", "Python", python(origin, chosen)),
            ("javascript", "JavaScript", javascript(origin, chosen)),
        ]  # fmt: skip
        return page(
            "samples.html",
            visit,
            here=SAMPLES,
            calls=found,
            chosen=chosen,
            samples=texts,
            variable=VARIABLE,
            is_local=urlsplit(origin).hostname in _LOCAL,
        )

    return router
