"""The trimmed protos against Envoy's full types: same numbers, same types, nothing lost on the way through either."""

import datetime
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import betterproto2
import pytest
from envoy_data_plane.envoy.service.accesslog import v3 as accesslog
from envoy_data_plane.envoy.service.auth import v3 as auth
from envoy_data_plane.envoy.service.discovery import v3 as discovery
from envoy_data_plane.envoy.service.load_stats import v3 as load_stats
from envoy_data_plane.envoy.service.ratelimit import v3 as ratelimit
from envoy_data_plane.envoy.service.status import v3 as status
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protos import als_pb2, csds_pb2, discovery_pb2, ext_authz_pb2, lrs_pb2, otlp_pb2, rls_pb2
from tests.contract import envoy_api
from tests.property.xds_compiler.envoy_messages import messages as full_messages

ROOT = Path(__file__).parents[2]
PROTOS = sorted((ROOT / "protos").glob("*.proto"))

# The messages that travel, with the full types that they stand for; all others hang below these.
PAIRS: list[tuple[type[Message], type[betterproto2.Message]]] = [
    (discovery_pb2.DiscoveryRequest, discovery.DiscoveryRequest),
    (discovery_pb2.DiscoveryResponse, discovery.DiscoveryResponse),
    (discovery_pb2.DeltaDiscoveryRequest, discovery.DeltaDiscoveryRequest),
    (discovery_pb2.DeltaDiscoveryResponse, discovery.DeltaDiscoveryResponse),
    (ext_authz_pb2.CheckRequest, auth.CheckRequest),
    (ext_authz_pb2.CheckResponse, auth.CheckResponse),
    (rls_pb2.RateLimitRequest, ratelimit.RateLimitRequest),
    (rls_pb2.RateLimitResponse, ratelimit.RateLimitResponse),
    (csds_pb2.ClientStatusRequest, status.ClientStatusRequest),
    (csds_pb2.ClientStatusResponse, status.ClientStatusResponse),
    (lrs_pb2.LoadStatsRequest, load_stats.LoadStatsRequest),
    (lrs_pb2.LoadStatsResponse, load_stats.LoadStatsResponse),
    (als_pb2.StreamAccessLogsMessage, accesslog.StreamAccessLogsMessage),
    (als_pb2.StreamAccessLogsResponse, accesslog.StreamAccessLogsResponse),
]
# Messages that the binary lacks, since Envoy has no part in the service.
FOREIGN = {"envoy.service.status.v3.ClientStatusRequest", "envoy.service.status.v3.ClientStatusResponse"}
# Fields that the binary has and envoy-data-plane lacks.
NEWER = {
    "envoy.service.ratelimit.v3.RateLimitDescriptor.RateLimitOverride.unit_multiplier",
    "envoy.service.ratelimit.v3.RateLimitResponse.RateLimit.unit_multiplier",
}
EVERY = pytest.mark.parametrize(("trimmed", "full"), PAIRS, ids=lambda kind: kind.__name__)
DRAWN = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])

_SCALARS = {
    FieldDescriptor.TYPE_STRING: betterproto2.TYPE_STRING,
    FieldDescriptor.TYPE_BYTES: betterproto2.TYPE_BYTES,
    FieldDescriptor.TYPE_BOOL: betterproto2.TYPE_BOOL,
    FieldDescriptor.TYPE_INT32: betterproto2.TYPE_INT32,
    FieldDescriptor.TYPE_INT64: betterproto2.TYPE_INT64,
    FieldDescriptor.TYPE_UINT32: betterproto2.TYPE_UINT32,
    FieldDescriptor.TYPE_UINT64: betterproto2.TYPE_UINT64,
    FieldDescriptor.TYPE_ENUM: betterproto2.TYPE_ENUM,
    FieldDescriptor.TYPE_MESSAGE: betterproto2.TYPE_MESSAGE,
}


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def reachable(
    trimmed: Descriptor, full: type[betterproto2.Message], seen: set[str]
) -> Iterator[tuple[Descriptor, type[betterproto2.Message]]]:
    """Each message below these two, with its full type; Google's own messages are the same on both sides."""
    if trimmed.full_name in seen or trimmed.full_name.startswith("google."):
        return
    seen.add(trimmed.full_name)
    yield trimmed, full
    for field in trimmed.fields:
        name = full._betterproto.field_name_by_number.get(field.number)
        if field.message_type is None or name is None:
            continue
        if is_map(field):
            value = field.message_type.fields_by_name["value"].message_type
            if value is not None:
                yield from reachable(value, full._betterproto.cls_by_field[f"{name}.value"], seen)
        else:
            yield from reachable(field.message_type, full._betterproto.cls_by_field[name], seen)


@EVERY
def test_every_field_has_the_number_the_type_and_the_oneof_of_the_full_one(
    trimmed: type[Message], full: type[betterproto2.Message]
) -> None:
    for message, counterpart in reachable(trimmed.DESCRIPTOR, full, set()):
        for field in message.fields:
            where = f"{message.full_name}.{field.name}"
            if field.full_name in NEWER:
                continue
            name = counterpart._betterproto.field_name_by_number.get(field.number)
            assert name == field.name, where
            known = counterpart._betterproto.meta_by_field_name[name]
            if is_map(field):
                key, value = (field.message_type.fields_by_name[part] for part in ("key", "value"))
                assert (_SCALARS[key.type], _SCALARS[value.type]) == tuple(
                    part.proto_type for part in known.map_meta
                ), where
                continue
            # An open enum is an int32 on the wire, so either may stand for the other.
            wire = {betterproto2.TYPE_ENUM: betterproto2.TYPE_INT32}.get
            assert wire(_SCALARS[field.type], _SCALARS[field.type]) == wire(known.proto_type, known.proto_type), where
            assert field.is_repeated == known.repeated, where
            assert (field.containing_oneof.name if field.containing_oneof else None) == known.group, where
            if field.enum_type is not None and known.proto_type == betterproto2.TYPE_ENUM:
                there = {member.name: member.value for member in counterpart._betterproto.cls_by_field[name]}
                here = {value.name: value.number for value in field.enum_type.values}
                assert set(here.values()) >= set(there.values()), where


@EVERY
def test_every_field_is_that_of_the_envoy_binary(trimmed: type[Message], full: type[betterproto2.Message]) -> None:
    api = envoy_api.messages()
    seen: set[tuple[str, str]] = set()

    def compare(message: Descriptor, name: str) -> None:
        if (message.full_name, name) in seen or name.startswith("google."):
            return
        seen.add((message.full_name, name))
        there = {field.number: field for field in api[name].field}
        for field in message.fields:
            counterpart = there[field.number]
            assert counterpart.name == field.name
            wire = {FieldDescriptor.TYPE_ENUM: FieldDescriptor.TYPE_INT32}.get
            assert wire(counterpart.type, counterpart.type) == wire(field.type, field.type), field.full_name
            assert field.is_repeated == (counterpart.label == counterpart.LABEL_REPEATED)
            if field.message_type is not None:
                compare(field.message_type, counterpart.type_name.removeprefix("."))

    if trimmed.DESCRIPTOR.full_name in FOREIGN:
        assert trimmed.DESCRIPTOR.full_name not in api
    else:
        compare(trimmed.DESCRIPTOR, trimmed.DESCRIPTOR.full_name)


@pytest.mark.parametrize(
    "module", [csds_pb2, discovery_pb2, ext_authz_pb2, lrs_pb2, rls_pb2], ids=lambda module: module.__name__
)
def test_no_message_is_left_that_nothing_refers_to(module: Any) -> None:
    seen: set[str] = set()
    for trimmed, full in PAIRS:
        for _ in reachable(trimmed.DESCRIPTOR, full, seen):
            pass

    def all_of(messages: Any) -> Iterator[str]:
        for message in messages:
            if not message.GetOptions().map_entry:
                yield message.full_name
                yield from all_of(message.nested_types)

    assert set(all_of(module.DESCRIPTOR.message_types_by_name.values())) <= seen


@pytest.mark.parametrize(
    ("module", "service", "methods"),
    [
        (
            discovery_pb2,
            "envoy.service.discovery.v3.AggregatedDiscoveryService",
            ["StreamAggregatedResources", "DeltaAggregatedResources"],
        ),
        (ext_authz_pb2, "envoy.service.auth.v3.Authorization", ["Check"]),
        (rls_pb2, "envoy.service.ratelimit.v3.RateLimitService", ["ShouldRateLimit"]),
        (
            csds_pb2,
            "envoy.service.status.v3.ClientStatusDiscoveryService",
            ["StreamClientStatus", "FetchClientStatus"],
        ),
        (lrs_pb2, "envoy.service.load_stats.v3.LoadReportingService", ["StreamLoadStats"]),
        (otlp_pb2, "opentelemetry.proto.collector.trace.v1.TraceService", ["Export"]),
    ],
)
def test_the_services_have_envoys_names(module: Any, service: str, methods: list[str]) -> None:
    (found,) = module.DESCRIPTOR.services_by_name.values()
    assert found.full_name == service
    assert [method.name for method in found.methods] == methods


def test_the_generated_modules_are_those_of_the_protos(tmp_path: Path) -> None:
    (tmp_path / "protos").mkdir()
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            "-I",
            str(ROOT),
            f"--python_out={tmp_path}",
            f"--pyi_out={tmp_path}",
            f"--grpc_python_out={tmp_path}",
            *(str(path.relative_to(ROOT)) for path in PROTOS),
        ],
        cwd=ROOT,
        check=True,
        timeout=60,
    )
    generated = {path.name: path.read_bytes() for path in (tmp_path / "protos").iterdir()}
    committed = {path.name: path.read_bytes() for path in (ROOT / "protos").glob("*_pb2*.py*")}
    assert generated.keys() == committed.keys()
    assert [name for name in generated if generated[name] != committed[name]] == [], "run: make protos"


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def drawn(kind: type[Message]) -> st.SearchStrategy[Message]:
    return st.composite(lambda draw: fill(draw, kind(), 0))()


def fill(draw: Callable[..., Any], message: Any, depth: int) -> Any:
    """Set some fields of the message to drawn values."""
    for field in message.DESCRIPTOR.fields:
        if depth > 4 or not draw(st.booleans()):
            continue
        if is_map(field):
            value = field.message_type.fields_by_name["value"]
            for key in draw(st.sets(_TEXT, max_size=2)):
                if value.message_type is None:
                    getattr(message, field.name)[key] = draw(_TEXT)
                else:
                    fill_message(draw, getattr(message, field.name)[key], depth + 1)
        elif field.is_repeated:
            for _ in range(draw(st.integers(1, 2))):
                if field.message_type is None:
                    getattr(message, field.name).append(scalar(draw, field))
                else:
                    fill_message(draw, getattr(message, field.name).add(), depth + 1)
        elif field.message_type is None:
            setattr(message, field.name, scalar(draw, field))
        else:
            getattr(message, field.name).SetInParent()
            fill_message(draw, getattr(message, field.name), depth + 1)
    return message


def fill_message(draw: Callable[..., Any], message: Any, depth: int) -> None:
    kind = message.DESCRIPTOR.full_name
    if kind == "google.protobuf.Struct":
        message.update({key: draw(_TEXT) for key in draw(st.sets(_TEXT, max_size=2))})
    elif kind == "google.protobuf.Duration":
        message.FromTimedelta(datetime.timedelta(milliseconds=draw(st.integers(0, 10**9))))
    elif kind == "google.protobuf.Timestamp":
        message.FromMilliseconds(draw(st.integers(0, 10**12)))
    else:
        fill(draw, message, depth)


def scalar(draw: Callable[..., Any], field: FieldDescriptor) -> Any:
    if field.enum_type is not None:
        return draw(st.sampled_from([value.number for value in field.enum_type.values]))
    if field.full_name == "envoy.service.auth.v3.HttpStatus.code":
        return draw(st.sampled_from([200, 302, 401, 403, 429, 503]))
    kinds = {
        FieldDescriptor.TYPE_STRING: _TEXT,
        FieldDescriptor.TYPE_BYTES: st.binary(max_size=8),
        FieldDescriptor.TYPE_BOOL: st.booleans(),
        FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
        FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
        FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
        FieldDescriptor.TYPE_UINT64: st.integers(0, 2**64 - 1),
    }
    return draw(kinds[field.type])


@EVERY
@DRAWN
@given(data=st.data())
def test_a_trimmed_message_passes_through_the_full_type_unchanged(
    data: st.DataObject, trimmed: type[Message], full: type[betterproto2.Message]
) -> None:
    message = data.draw(drawn(trimmed))
    assert trimmed.FromString(bytes(full.parse(message.SerializeToString()))) == message


@EVERY
@DRAWN
@given(data=st.data())
def test_a_full_message_passes_through_the_trimmed_type_unchanged_with_what_that_does_not_know(
    data: st.DataObject, trimmed: type[Message], full: type[betterproto2.Message]
) -> None:
    message = data.draw(full_messages(full))
    through = trimmed.FromString(bytes(message)).SerializeToString()
    assert full.parse(through) == full.parse(bytes(message))


def test_what_an_envoy_says_of_its_extensions_survives_although_nobody_here_reads_it() -> None:
    core = importlib.import_module("envoy_data_plane.envoy.config.core.v3")
    node = core.Node(id="edge-1", cluster="edge", extensions=[core.Extension(name="envoy.filters.http.router")])
    request = discovery.DiscoveryRequest(node=node, type_url="t")
    trimmed = discovery_pb2.DiscoveryRequest.FromString(bytes(request))
    assert (trimmed.node.id, trimmed.node.cluster) == ("edge-1", "edge")
    assert discovery.DiscoveryRequest.parse(trimmed.SerializeToString()) == request
