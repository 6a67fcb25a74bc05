"""What is fixed about a request when it passes the guard: its ids, its owner, its model, its clock."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from edge.identity import Identity
from spillway.ledger.v1 import ledger_pb2 as ledgerpb


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """Who asked for what and when."""

    request_id: str
    identity: Identity
    endpoint: str
    requested_model: str
    """The public model, by the name of its route: also where the client has asked by an alias or a wildcard."""
    is_streaming: bool
    accepted: float
    """On the monotonic clock, for durations."""
    client_request_id: str = ""
    """The client's own id, as it may be logged; empty: it sent none."""
    asked_model: str = ""
    """The client's own word for the model, where that is not its name; for the log."""
    accepted_at_ns: int = field(default_factory=time.time_ns)
    """On the wall clock, for the record."""
    economy_model: str = ""
    """What is asked instead of the requested model because a budget is used up; empty: nothing."""
    budget: str = ""
    """The name of that budget."""

    @property
    def route(self) -> str:
        """The public model that the router is asked for."""
        return self.economy_model or self.requested_model

    def to_proto(self) -> ledgerpb.Request:
        """Write them as both cost events carry them."""
        message = ledgerpb.Request(
            request_id=self.request_id,
            client_request_id=self.client_request_id,
            tenant=self.identity.tenant,
            user=self.identity.user,
            key_id=self.identity.key_id,
            tier=self.identity.tier,
            endpoint=self.endpoint,
            requested_model=self.requested_model,
            is_streaming=self.is_streaming,
        )
        message.admitted_at.FromNanoseconds(self.accepted_at_ns)
        return message
