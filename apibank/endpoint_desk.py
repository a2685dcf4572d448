"""Endpoints of upstreams while running, for the control API."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Final

from pydantic import TypeAdapter, ValidationError

from apibank.control_plane import ControlPlane
from apibank.rollouts import BusyError, Rollouts, busy
from policy.kinds import Endpoint, is_host_name
from policy.lint.edge import what_is_there
from policy.model import Gateway
from portal.policies_api import Record
from portal.problems import Refused
from records.errors import LOST_DATABASE

_ENDPOINT: Final[TypeAdapter[str]] = TypeAdapter(Endpoint)


class EndpointDesk:
    """Shows, sets and resets where an upstream's hosts are."""

    def __init__(self, control: ControlPlane, rollouts: Rollouts) -> None:
        self._control = control
        self._rollouts = rollouts

    async def endpoints(self, gateway: str, upstream: str) -> Record:
        return self._record(self._policy(gateway, upstream), upstream)

    async def set_endpoints(self, gateway: str, upstream: str, endpoints: Sequence[str], author: str) -> Record:
        checked = _checked(endpoints)
        async with self._control.changing(gateway):
            policy = await self._changeable(gateway, upstream)
            try:
                await self._control.endpoints.put(policy, upstream, checked, author)
            except LOST_DATABASE:
                raise _away() from None
            await self._control.republish_endpoints_held(gateway)
            return self._record(policy, upstream)

    async def reset_endpoints(self, gateway: str, upstream: str) -> Record:
        async with self._control.changing(gateway):
            policy = await self._changeable(gateway, upstream)
            try:
                await self._control.endpoints.remove(policy, upstream)
            except LOST_DATABASE:
                raise _away() from None
            await self._control.republish_endpoints_held(gateway)
            return self._record(policy, upstream)

    def _policy(self, gateway: str, upstream: str) -> Gateway:
        policy = self._control.policy_of(gateway)
        if policy is None:
            known = ", ".join(sorted(self._control.states)) or "none yet"
            raise Refused(404, "gateway_not_found", f"nothing is live of a gateway {gateway!r}; there are: {known}")
        if upstream not in policy.upstreams:
            known = ", ".join(sorted(policy.upstreams))
            raise Refused(404, "upstream_not_found", f"{gateway} has no upstream {upstream!r}; it has: {known}")
        return policy

    async def _changeable(self, gateway: str, upstream: str) -> Gateway:
        policy = self._policy(gateway, upstream)
        if policy.upstreams[upstream].named_hosts:
            detail = f"the hosts of {upstream!r} are names, which Envoy resolves itself: change the names' addresses"
            raise Refused(409, "endpoints_by_dns", detail)
        try:
            await self._rollouts.check_none(gateway)
        except BusyError as error:
            raise busy(error) from None
        except LOST_DATABASE:
            raise _away() from None
        return policy

    def _record(self, policy: Gateway, upstream: str) -> Mapping[str, object]:
        return {"gateway": policy.gateway, **asdict(self._control.endpoints.hosts(policy, upstream))}


def _checked(endpoints: Sequence[str]) -> tuple[str, ...]:
    """Addresses as a policy writes them. Raises Refused with everything that is wrong."""
    wrong: list[Mapping[str, object]] = []
    for index, endpoint in enumerate(endpoints):
        pointer = f"/endpoints/{index}"
        try:
            _ENDPOINT.validate_python(endpoint)
        except ValidationError as error:
            rule = error.errors()[0]["msg"].removeprefix("Value error, ")
            wrong.append({"pointer": pointer, "found": endpoint, "rule": rule})
            continue
        if is_host_name(endpoint):
            wrong.append({"pointer": pointer, "found": endpoint, "rule": "an IP address: names are not resolved here"})
        elif what := what_is_there(endpoint):
            wrong.append({"pointer": pointer, "found": endpoint, "rule": f"the address of a service: {what}"})
    if wrong:
        detail = "; ".join(f"{one['pointer']}: {one['rule']} (found {one['found']!r})" for one in wrong)
        raise Refused(422, "endpoint_invalid", detail, wrong)
    return tuple(dict.fromkeys(endpoints))


def _away() -> Refused:
    return Refused(503, "database_away", "the database does not answer, and endpoints that do not last are not set")
