"""An explained request in words, for whoever reads it: in the terminal and in the console."""

from collections.abc import Iterator
from typing import Any

Pair = tuple[str, str]


def end_of(told: dict[str, Any]) -> str:
    """How it ends, and by whom."""
    status = "" if told["status"] is None else f"{told['status']}: "
    by = told.get("by", told["hops"][-1]["gateway"])
    if not told.get("certain", True):
        return f"that cannot be said: what {by} needs to decide could not be looked up; see the notes"
    return f"{'refused' if told['refused'] else 'routed'} by {by}: {status}{told['detail']}"


def pairs_of(hop: dict[str, Any]) -> Iterator[Pair]:
    """What one gateway does with it: names with texts, in the order in which it is done."""
    if hop["path"] != hop["asked"].partition("?")[0]:
        yield "path", f"{hop['path']}, after normalisation"
    if "route" not in hop:
        for near in hop["nearest"]:
            yield "not", f"{near['route']} ({near['path']}): {near['why_not']}  {place_of(near)}"
        return
    yield from _route(hop)
    yield from _rules(hop)
    yield from _traffic(hop["traffic"])
    for one in hop["upstreams"]:
        yield "leads to", _upstream(one, hop)
    if "checks" in hop:
        yield from _checks(hop)


def _checks(hop: dict[str, Any]) -> Iterator[Pair]:
    for one in hop["checks"]:
        yield f"? {one['check']}", _verdict(one)
    for one in hop["shadowed_rules"]:
        yield "shadowed", f"{one['rule']} would refuse it: {one['reason']}"
    if hop["caller"] is not None:
        caller = hop["caller"]
        named = ", ".join(f"{name} {caller[name]}" for name in ("issuer", "role", "tier") if caller[name])
        yield "caller", f"{caller['caller']}{f' ({named})' if named else ''}"
    yield "outcome", hop["outcome"]
    if hop["sent_upstream"] is not None:
        counted = hop["counted_as"]
        yield "limited as", f"{counted['caller']}{', tier ' + counted['tier'] if counted['tier'] else ''}"
        told = ", ".join(f"{name}: {value}" for name, value in hop["sent_upstream"].items())
        yield "is told", told or "nothing about the caller"
    if hop["removed"]:
        yield "removed", ", ".join(hop["removed"])
    if hop["nonce"] is not None:
        yield "nonce", hop["nonce"]
    for note in hop["notes"]:
        yield "note", note


def _verdict(one: dict[str, Any]) -> str:
    if one["said"] != "refused":
        why = f": {one['why']}" if "why" in one else ""
        return f"{one['said'].replace('_', ' ')}{why}"
    said = f"refused, {one['status']} {one['reason']}: {one['detail']}"
    if one["scope"]:
        said += f" Scope: {one['scope']}."
    if one["cause"]:
        said += f" ({one['cause']})"
    errors = [f" [{each['pointer'] or 'the whole body'}: {each['rule']}]" for each in one["errors"]]
    return "".join([said, *errors])


def _route(hop: dict[str, Any]) -> Iterator[Pair]:
    route, method = hop["route"], hop["method"]
    yield "route", f"{route['name']}: {route['match']} {route['path']}  {place_of(route)}"
    yield "why", route["why"]
    admitted = ", ".join(method["allowed"])
    yield "method", f"admitted, {method['action']}" if method["admitted"] else f"not admitted; these are: {admitted}"


def _rules(hop: dict[str, Any]) -> Iterator[Pair]:
    yield "access", "public: nobody is asked who they are" if hop["access"] == "public" else "known callers"
    if hop["tiers"]:
        yield "tiers", ", ".join(hop["tiers"])
    if hop["scope"] is not None:
        yield "scope", hop["scope"]
    for of, lists in hop["networks"].items():
        if lists:
            said = "; ".join(f"{name}: {', '.join(ranges) or 'nobody'}" for name, ranges in lists.items())
            yield "network", f"{said} (by the {of})"
    if hop["mode"] != "enforce":
        yield "mode", hop["mode"]
    for rule in hop["rules"]:
        how = "" if rule["mode"] == "enforce" else f", {rule['mode']}"
        yield "rule", f"{rule['name']}: {rule['type']}{how}  {place_of(rule)}"
    for limit in hop["limits"]:
        yield "limit", f"{limit['name']}: {_figures(limit)}  {place_of(limit)}"
    schema = hop["body"]["schema"]
    most = f"at most {hop['body']['max_bytes']} bytes"
    yield "body", most if schema is None else f"meets the schema {schema}, {most}"
    yield "time-outs", ", ".join(f"{name.removesuffix('_ms')} {_time(ms)}" for name, ms in hop["timeouts"].items())


def _figures(limit: dict[str, Any]) -> str:
    if limit["tiers"] is None:
        figures = str(limit["requests"])
    else:
        figures = ", ".join(f"{tier} {figure}" for tier, figure in limit["tiers"].items())
    said = [f"{figures} per {limit['unit']} and {limit['per']}"]
    if limit["burst"] is not None:
        said.append(f"{limit['burst']['rate']} times that for {limit['burst']['seconds']} s")
    if limit["tenants"]:
        said.append(f"other figures for {limit['tenants']} tenant(s)")
    return "; ".join([*said, *(["only counted, nobody is refused"] if limit["shadow"] else [])])


def _traffic(traffic: dict[str, Any]) -> Iterator[Pair]:
    for name, policy in traffic.items():
        yield name.replace("_", " "), _said(policy)


def _upstream(one: dict[str, Any], hop: dict[str, Any]) -> str:
    share = f", weight {one['weight']}" if "weight" in one else ""
    endpoints = ", ".join(one["endpoints"]) or "no endpoint, which is answered 503"
    behind = f", the gateway {hop['next']}" if hop.get("next") and one["name"] == hop["follows"] else ""
    return f"{one['name']}{share}: {endpoints}{behind}  {place_of(one)}"


def _said(policy: Any) -> str:
    """A policy of the file in one line."""
    if isinstance(policy, dict):
        return ", ".join(f"{name} {_said(value)}" for name, value in policy.items() if value is not None)
    if isinstance(policy, list):
        return "; ".join(map(_said, policy))
    if isinstance(policy, bool):
        return "yes" if policy else "no"
    return str(policy)


def _time(milliseconds: int) -> str:
    return f"{milliseconds / 1000:g} s" if milliseconds >= 1000 else f"{milliseconds} ms"


def place_of(one: dict[str, Any]) -> str:
    """Where it is written."""
    return f"{one['file']}:{one['line']}"
