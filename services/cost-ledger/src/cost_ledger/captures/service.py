"""The RPCs of `CaptureService`: edges store sealed texts, and operators are given them."""

from __future__ import annotations

from cost_ledger.answering import CallContext, Calls
from cost_ledger.captures.captures import Captures, Page, Recorded
from cost_ledger.captures.message import message_of, row_of
from cost_ledger.errors import FieldInvalid
from cost_ledger.metrics import Metrics
from spillway.captures.v1 import captures_pb2 as capturespb
from spillway.captures.v1 import captures_pb2_grpc

_MAX_CAPTURES = 100


class CaptureService(captures_pb2_grpc.CaptureServiceServicer):
    """Answers from Postgres, or UNAVAILABLE while it is away."""

    def __init__(self, captures: Captures, metrics: Metrics) -> None:
        self._captures = captures
        self._metrics = metrics
        self._calls = Calls(metrics)

    async def ListCapturingTenants(  # noqa: N802
        self, request: capturespb.ListCapturingTenantsRequest, context: CallContext
    ) -> capturespb.ListCapturingTenantsResponse:
        """Tell an edge whose texts to capture."""
        tenants, has_more = await self._calls.answer(context, self._captures.tenants(request.after))
        return capturespb.ListCapturingTenantsResponse(tenants=tenants, has_more=has_more)

    async def Record(  # noqa: N802
        self, request: capturespb.RecordRequest, context: CallContext
    ) -> capturespb.RecordResponse:
        """Store captures."""
        done = await self._calls.answer(context, self._record(request))
        for outcome, count in done._asdict().items():
            self._metrics.captures.labels(outcome).inc(count)
        return capturespb.RecordResponse(**done._asdict())

    async def _record(self, request: capturespb.RecordRequest) -> Recorded:
        if len(request.captures) > _MAX_CAPTURES:
            raise FieldInvalid(f"at most {_MAX_CAPTURES} captures at a time")
        return await self._captures.record([row_of(each) for each in request.captures])

    async def GetCapture(  # noqa: N802
        self, request: capturespb.GetCaptureRequest, context: CallContext
    ) -> capturespb.GetCaptureResponse:
        """Give one to somebody, who is then on record."""
        work = self._captures.get(request.actor, request.tenant, request.request_id)
        return capturespb.GetCaptureResponse(capture=message_of(await self._calls.answer(context, work)))

    async def ListCaptures(  # noqa: N802
        self, request: capturespb.ListCapturesRequest, context: CallContext
    ) -> capturespb.ListCapturesResponse:
        """Return a page to somebody, who is then on record."""
        page: Page = await self._calls.answer(
            context,
            self._captures.list(request.actor, request.tenant, request.user, request.page_size, request.page_token),
        )
        return capturespb.ListCapturesResponse(captures=map(message_of, page.rows), next_page_token=page.next_token)
