"""Envoy's status.v3 to questions, and configurations to its answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from protos import csds_pb2 as pb
from xds.client_status.configs import ClientConfig, Failure, ResourceConfig
from xds.client_status.contents import showable
from xds.client_status.matching import Kind, Pattern, Predicate, Unanswerable, matching

SERVICE: Final = pb.DESCRIPTOR.services_by_name["ClientStatusDiscoveryService"].full_name

# Each node is compared with all of a question.
MAX_QUESTION_BYTES: Final = 64 * 1024
# What a resource or a node takes beside its name, what was refused and the content.
_OVERHEAD: Final = 256


@dataclass(frozen=True, slots=True)
class Question:
    """Which proxies, as `matching.matching` takes it, and whether the answer shall hold the resources themselves."""

    patterns: tuple[Pattern | None, ...]
    contents: bool


def understand(raw: bytes) -> tuple[Predicate, bool] | Unanswerable:
    """Which node ids a ClientStatusRequest is about, and whether the answer shall hold the resources themselves."""
    if len(raw) > MAX_QUESTION_BYTES:
        return Unanswerable(f"a question has at most {MAX_QUESTION_BYTES >> 10} KiB")
    try:
        question = read_question(raw)
    except DecodeError:
        return Unanswerable("that is no request for a client status")
    if isinstance(question, Unanswerable):
        return question
    asked = matching(question.patterns)
    return asked if isinstance(asked, Unanswerable) else (asked, question.contents)


def read_question(raw: bytes) -> Question | Unanswerable:
    """A ClientStatusRequest. Raises google.protobuf.message.DecodeError where it is none."""
    request = pb.ClientStatusRequest.FromString(raw)
    patterns: list[Pattern | None] = []
    for number, matcher in enumerate(request.node_matchers):
        if matcher.node_metadatas:
            reason = f"node_matchers[{number}].node_metadatas: the metadata of nodes are not kept; match by node_id"
            return Unanswerable(reason)
        pattern = _read_pattern(matcher.node_id) if matcher.HasField("node_id") else None
        if isinstance(pattern, Unanswerable):
            return Unanswerable(f"node_matchers[{number}].node_id: {pattern.reason}")
        patterns.append(pattern)
    return Question(tuple(patterns), not request.exclude_resource_contents)


def _read_pattern(matcher: pb.StringMatcher) -> Pattern | Unanswerable:
    kind = matcher.WhichOneof("match_pattern")
    if kind is None:
        return Unanswerable(f"nothing to match by that is known here; expected one of {', '.join(Kind)}")
    text = matcher.safe_regex.regex if kind == Kind.REGEX else getattr(matcher, kind)
    return Pattern(Kind(kind), text, matcher.ignore_case)


def write_config(answer: pb.ClientStatusResponse, config: ClientConfig, *, contents: bool) -> None:
    """Add one proxy to an answer, with `contents` as far as they may be shown."""
    written = answer.config.add()
    node = config.node
    written.node.id, written.node.cluster = node.id, node.cluster
    written.node.user_agent_name, written.node.user_agent_version = node.user_agent, node.user_agent_version
    place = written.node.locality
    place.region, place.zone, place.sub_zone = node.region, node.zone, node.sub_zone
    for resource in config.resources:
        _write_resource(written, resource, contents)


def _write_resource(config: pb.ClientConfig, resource: ResourceConfig, contents: bool) -> None:
    written = config.generic_xds_configs.add(
        type_url=resource.type_url,
        name=resource.name,
        version_info=resource.version,
        config_status=resource.status.value,
        client_status=resource.client.value,
    )
    if resource.updated is not None:
        written.last_updated.FromMilliseconds(round(resource.updated * 1000))
    if contents and resource.body is not None and showable(resource.type_url, resource.body):
        written.xds_config.type_url, written.xds_config.value = resource.type_url, resource.body
    if resource.failure is not None:
        _write_failure(written.error_state, resource.type_url, resource.failure, contents)


def _write_failure(written: pb.UpdateFailureState, type_url: str, failure: Failure, contents: bool) -> None:
    written.version_info, written.details = failure.version, failure.details
    if contents and failure.body is not None and showable(type_url, failure.body):
        written.failed_configuration.type_url, written.failed_configuration.value = type_url, failure.body


def size(config: ClientConfig, *, contents: bool) -> int:
    """About how many bytes it has in an answer, with `contents` or without."""
    return _OVERHEAD + sum(_size_of(each, contents) for each in config.resources)


def _size_of(resource: ResourceConfig, contents: bool) -> int:
    failure = resource.failure
    size = _OVERHEAD + len(resource.name) + (len(failure.details) if failure else 0)
    bodies = (resource.body, failure.body if failure else None) if contents else ()
    return size + sum(len(body) for body in bodies if body)
