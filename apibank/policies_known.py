"""Which policy versions a gateway's authorization decides by, asked over HTTP by a control plane on another host."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from authz.authorizer import Authorizer


def policies_known(authorizer: Authorizer) -> Route:
    """`/policies/VERSION`: 200 where requests are decided by it, else 404. It tells nothing else of a policy."""

    async def known(request: Request) -> PlainTextResponse:
        if request.path_params["version"] in authorizer.versions:
            return PlainTextResponse("known\n")
        return PlainTextResponse("not known\n", 404)

    return Route("/policies/{version}", known)
