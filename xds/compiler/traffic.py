"""A route with traffic policies: the plain route, changed by what its policies say."""

from collections.abc import Iterator, Mapping
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import HeaderValueOption
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    Route,
    RouteAction,
    RouteActionUpgradeConfig,
    RouteMatch,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Any as PackedMessage

from policy.traffic import IDEMPOTENT, Deprecation, Maintenance, Retries, Traffic, Upgrade
from xds.compiler import rewriting
from xds.compiler.encode import draft, pack
from xds.compiler.filters import buffer, cors, ext_authz, fault, header_mutation, local_limit
from xds.compiler.filters.header_mutation import append, literal, overwrite
from xds.compiler.forwarding import mirrors, retry_policy, time_outs, weighted
from xds.compiler.local_replies import Problem, answer_of_route
from xds.compiler.units import RouteUnit

_REMOVED: Final = "This is no longer served"


def routes(unit: RouteUnit, match: RouteMatch, own: Mapping[str, PackedMessage], traffic: Traffic) -> Iterator[Route]:
    """The routes of Envoy's that serve a unit, the narrowest first. `own`: what its filters are told in any case."""
    told = {**own, **_told(traffic)}
    added, removed = _request_headers(traffic)

    def route(match: RouteMatch, action: RouteAction, told: Mapping[str, PackedMessage] = told) -> Route:
        return draft(
            Route,
            name=unit.name,
            match=match,
            route=action,
            typed_per_filter_config=dict(told),
            request_headers_to_add=added,
            request_headers_to_remove=removed,
        )

    if (answer := _answer(traffic)) is not None:
        # The one place where nobody is asked: it leads nowhere.
        told[ext_authz.NAME] = pack(ext_authz.for_nobody())
        yield draft(Route, name=unit.name, match=match, direct_response=answer, typed_per_filter_config=told)
    elif traffic.redirect is not None:
        redirect = rewriting.redirect(unit, traffic.redirect)
        yield draft(Route, name=unit.name, match=match, redirect=redirect, typed_per_filter_config=told)
    else:
        for upgrade in traffic.upgrades:
            action = _action(unit, traffic)
            action.upgrade_configs = [RouteActionUpgradeConfig(upgrade_type=upgrade.value)]
            unbuffered = {**told, buffer.NAME: pack(buffer.for_upgrade())}
            yield route(_narrowed(match, _method("GET"), _upgrade(upgrade)), action, unbuffered)
        if (retries := traffic.retries) is not None and not retries.safe:
            # What a service may have acted on is tried again for some methods; for the others the host's policy holds.
            methods = _method("|".join(sorted(retries.methods or IDEMPOTENT)))
            yield route(_narrowed(match, methods), _action(unit, traffic, retries))
            retries = None
        yield route(match, _action(unit, traffic, retries))


def _told(traffic: Traffic) -> dict[str, PackedMessage]:
    """What the filters are told of the route."""
    told = {}
    if (changes := header_mutation.for_route(traffic)) is not None:
        told[header_mutation.NAME] = pack(changes)
    if traffic.answered:
        return told
    if traffic.cors is not None:
        told[cors.NAME] = pack(cors.policy_of(traffic.cors))
    if traffic.fault is not None:
        told[fault.NAME] = pack(fault.for_route(traffic.fault))
    if traffic.local_limit is not None:
        told[local_limit.NAME] = pack(local_limit.for_route(traffic.local_limit))
    return told


def _request_headers(traffic: Traffic) -> tuple[list[HeaderValueOption], list[str]]:
    # The router changes them, behind authz: nobody judges a header that the client did not send.
    changes = None if traffic.headers is None else traffic.headers.request
    if changes is None:
        return [], []
    replaced = [overwrite(name, literal(value)) for name, value in changes.set.items()]
    return [*replaced, *(append(name, literal(value)) for name, value in changes.add.items())], list(changes.remove)


def _answer(traffic: Traffic) -> DirectResponseAction | None:
    if (deprecation := traffic.deprecation) is not None and deprecation.removed:
        return _direct(_gone(deprecation))
    return None if traffic.maintenance is None else _direct(_maintained(traffic.maintenance))


def _direct(problem: Problem) -> DirectResponseAction:
    return DirectResponseAction(status=problem.status, body_format=answer_of_route(problem))


def _gone(deprecation: Deprecation) -> Problem:
    where = f"; see {deprecation.link}" if deprecation.link is not None else ""
    return Problem(410, "gone", "Gone", _REMOVED + where)


def _maintained(maintenance: Maintenance) -> Problem:
    return Problem(503, "maintenance", "Service Unavailable", maintenance.message)


def _method(either: str) -> HeaderMatcher:
    return HeaderMatcher(name=":method", string_match=StringMatcher(safe_regex=RegexMatcher(regex=either)))


def _upgrade(to: Upgrade) -> HeaderMatcher:
    # Envoy has taken this header out of every request that is no upgrade before it looks for a route.
    return HeaderMatcher(name="upgrade", string_match=StringMatcher(exact=to.value, ignore_case=True))


def _narrowed(match: RouteMatch, *headers: HeaderMatcher) -> RouteMatch:
    """The same paths, of requests with these headers alone."""
    return draft(
        RouteMatch,
        path=match.path,
        prefix=match.prefix,
        path_separated_prefix=match.path_separated_prefix,
        headers=list(headers),
    )


def _action(unit: RouteUnit, traffic: Traffic, retries: Retries | None = None) -> RouteAction:
    prefix, regex = rewriting.path(unit, traffic.rewrite)
    times = time_outs(unit.timeout_ms, traffic)
    return draft(
        RouteAction,
        cluster=None if traffic.split is not None else unit.upstream,
        weighted_clusters=None if traffic.split is None else weighted(traffic.split),
        prefix_rewrite=prefix,
        regex_rewrite=regex,
        host_rewrite_literal=None if traffic.rewrite is None else traffic.rewrite.host,
        timeout=times.whole,
        idle_timeout=times.idle,
        max_stream_duration=times.longest,
        retry_policy=None if retries is None else retry_policy(retries),
        request_mirror_policies=mirrors(traffic.mirror),
    )
