"""Every use of a break-glass credential is told: a warning with who and why, and a figure to alert on."""

from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter

from authz.audit import AuditEvent, AuditSink
from authz.principal import Kind

_LOG: Final = structlog.get_logger(__name__)


class BreakGlassAlarm:
    """An audit sink that raises the alarm and passes everything on."""

    def __init__(self, sink: AuditSink, registry: CollectorRegistry, gateway: str) -> None:
        self._sink = sink
        uses = Counter(
            "apibank_authz_break_glass_total",
            "Requests with a good break-glass credential, by outcome.",
            ("gateway", "outcome"),
            registry=registry,
        )
        # There from the start, so that the first use is an increase.
        self._uses = {outcome: uses.labels(gateway, outcome) for outcome in ("allowed", "denied", "shadowed")}

    def offer(self, event: AuditEvent) -> bool:
        """Pass the event on; whether there was room for it."""
        if event.kind == Kind.BREAK_GLASS:
            self._uses[event.outcome].inc()
            _LOG.warning(
                "break_glass_used",
                gateway=event.gateway,
                subject=event.subject,
                why=event.cause,
                credential_id=event.credential_id,
                outcome=event.outcome,
                reason=event.reason,
                method=event.method,
                path=event.path,
                address=event.address,
                request_id=event.request_id,
            )
        return self._sink.offer(event)
