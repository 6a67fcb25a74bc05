"""One request from its admission to its settlement: the order of the steps. Knows no contract and no HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from edge.answer import Answer
from edge.assembly import MalformedChunk
from edge.cache.cache import Hit, LookUp, ResponseCache
from edge.capture.captures import Captures
from edge.conversation import Content, Conversation
from edge.events.redis import Command
from edge.events.reservation import Reservation
from edge.exchange.capturing import Capturing
from edge.exchange.completion import Completion, Reader
from edge.exchange.embedding import Embedding
from edge.exchange.output_stage import Both, OutputStage
from edge.exchange.settlement import Ending, Receipt, Settlement
from edge.facts import RequestFacts
from edge.guardrails.answers.format_guard import FitsElsewhere, FormatGuard
from edge.guardrails.answers.output import Checked, OutputGuard
from edge.guardrails.format import fits
from edge.guardrails.input import Inspected
from edge.guardrails.redaction import Restorer
from edge.metrics import Metrics
from edge.problems import Problem
from edge.router.client import RouterClient
from spillway.router.v1 import router_pb2 as routerpb

log = structlog.get_logger()


async def _fits_here(texts: Sequence[str], schema: bytes) -> bool | None:
    return fits(texts, schema)


@dataclass(frozen=True, slots=True)
class ExchangeDependencies:
    """What every exchange uses."""

    router: RouterClient
    settlement: Settlement
    metrics: Metrics
    open_output_stage: Callable[[Conversation], OutputStage]
    """Makes the output stage of the answer to a conversation."""
    fits_elsewhere: FitsElsewhere = _fits_here
    """Looks whether texts fit a schema of anybody's, beside the event loop."""
    captures: Captures | None = None
    """Keeps the texts of tenants that want it; None: nobody's."""


class Exchange:
    """Made for one request that was admitted; `run` it once, and it is settled whatever happens."""

    def __init__(
        self,
        dependencies: ExchangeDependencies,
        facts: RequestFacts,
        inspected: Inspected,
        look_up: LookUp,
        cache: ResponseCache,
        has_begun: Callable[[], None],
        reservations: Sequence[Reservation] = (),
        keep: Callable[[Exchange, Ending], Sequence[Command]] | None = None,
    ) -> None:
        """`inspected` is what the guardrails let go on.

        `look_up` is what the `cache` had; a whole new answer is stored there. `reservations` are settled with it.
        `has_begun` is called when a router has begun with it, or nothing has to be begun. `keep` returns the commands
        that keep a whole answer for later requests; None: no contract of these wants it.
        """
        self._dependencies = dependencies
        self._cache = cache
        self._has_begun = has_begun
        self.checked = Checked() if inspected.output or inspected.has_format else None
        """What was looked for in the answer so far; None: nothing is."""
        self._work = _work(dependencies, facts, inspected, self.checked, has_begun)
        self._originals = inspected.originals
        self._capturing = _capturing(dependencies.captures, facts, inspected.content)
        self._has_json = inspected.wanted is not None
        self._reservations = reservations
        self._keep = keep
        self.facts = facts
        self.inspected = inspected
        self.content = inspected.content
        self.look_up = look_up
        self.is_client_gone = False
        self.cut_off: Receipt | None = None
        """What was settled when `run` was cancelled."""

    @property
    def answer(self) -> Answer:
        """What there is of the answer."""
        return self._work.answer

    @property
    def has_open_attempt(self) -> bool:
        """Whether something is being spent."""
        return self._work.log.has_open

    def client_gone(self) -> None:
        """Stop what may be stopped: the client reads no further."""
        self.is_client_gone = True
        self._work.abandon()

    async def run(self, reader: Reader) -> Receipt:
        """Steps 4 to 7: answer, giving the content to `reader` as it comes, and settle. Fails in no other way."""
        problem: Problem | None = None
        if self._originals:
            reader = _RestoringReader(reader, self._restorer())
        passed_on = reader if self._capturing is None else self._capturing.reading(reader)
        self._dependencies.metrics.open_streams.inc()
        try:
            if isinstance(self.look_up, Hit):
                self._has_begun()
                await self._work.replay(self.look_up.answer, passed_on)
            else:
                await self._work.fetch(passed_on)
            if isinstance(reader, _RestoringReader) and not self.is_client_gone:
                await reader.end()
        except Problem as failure:
            problem = failure
        except MalformedChunk as error:
            log.warning("answer_malformed", cause=f"{error} ({type(error.__cause__).__name__})")
            problem = Problem("stream_interrupted", "the answer broke off: a provider's chunk made no sense")
        except asyncio.CancelledError:
            problem = Problem("stream_interrupted", "the gateway stopped before the answer was complete")
            self.cut_off = await self._settle(problem)
            raise
        except Exception:
            log.exception("exchange_crashed")
            problem = Problem("internal_error", "the gateway failed while it answered; it is our fault, not yours")
        finally:
            self._has_begun()
            self._dependencies.metrics.open_streams.dec()
        return await self._settle(problem)

    async def _settle(self, problem: Problem | None) -> Receipt:
        work = self._work
        if problem is not None:
            outcome = problem.kind.outcome
        else:
            outcome = routerpb.OUTCOME_OK if work.is_whole else routerpb.OUTCOME_CLIENT_CANCELLED
        attempts = work.log.close(routerpb.OUTCOME_CLIENT_CANCELLED if work.is_filtered else outcome)
        ending = Ending(
            outcome, problem, work.answer, attempts, work.continuations, work.first_content, work.is_filtered
        )
        self._tell_findings()
        may_keep = self._keep is not None and outcome == routerpb.OUTCOME_OK and not work.is_filtered
        kept = self._keep(self, ending) if self._keep is not None and may_keep else ()
        try:
            receipt = await self._dependencies.settlement.settle(
                self.facts, self.look_up, ending, self._cache, self._reservations, kept
            )
        finally:
            if self._capturing is not None:
                self._capturing.end(ending)
        if not self._originals:
            return receipt
        # Cache, log and ledger have seen the redacted text; the client's own values are put back for the client alone.
        restored = await asyncio.to_thread(self._restorer().answer, work.answer)
        return replace(receipt, ending=replace(ending, answer=restored))

    def _restorer(self) -> Restorer:
        return Restorer(self._originals, is_json=self._has_json)

    def _tell_findings(self) -> None:
        """Count and log what was found in the answer."""
        if self.checked is None or not self.checked.findings:
            return
        for finding in self.checked.findings.values():
            self._dependencies.metrics.guardrail_findings.labels(finding.rule, finding.action, "output").inc()
        if told := self.checked.told:
            rules = [f"{finding.rule}:{finding.action}" for finding in told]
            log.info("guardrails_found_in_answer", rules=rules, policy=self.inspected.policy)


def _capturing(captures: Captures | None, facts: RequestFacts, content: Content) -> Capturing | None:
    wants = captures is not None and captures.wants(facts.identity.tenant)
    return Capturing(captures, facts, content) if captures is not None and wants else None


class _RestoringReader:
    """Puts back what was redacted, before anything is written for the client."""

    def __init__(self, reader: Reader, restorer: Restorer) -> None:
        self._reader = reader
        self._restorer = restorer

    async def content(self, chunks: list[str | bytes]) -> None:
        restored = self._restorer.take(chunks)
        if restored:
            await self._reader.content(restored)

    async def continued(self, continued: routerpb.Continued) -> None:
        await self._reader.continued(continued)

    async def end(self) -> None:
        """Write what may have been the beginning of a placeholder, and was none."""
        rest = self._restorer.end()
        if rest:
            await self._reader.content(rest)


def _work(
    dependencies: ExchangeDependencies,
    facts: RequestFacts,
    inspected: Inspected,
    checked: Checked | None,
    has_begun: Callable[[], None],
) -> Completion | Embedding:
    content = inspected.content
    if isinstance(content, Conversation):
        stage = dependencies.open_output_stage(content)
        format_guard = None
        if checked is not None and inspected.output:
            stage = Both(OutputGuard(inspected.output, checked, is_json=inspected.wanted is not None), stage)
        if checked is not None and inspected.has_format and inspected.wanted is not None:
            fits_elsewhere, metrics = dependencies.fits_elsewhere, dependencies.metrics
            format_guard = FormatGuard(inspected.wanted, inspected.format, checked, fits_elsewhere, metrics)
        return Completion(dependencies.router, facts, content, stage, dependencies.metrics, has_begun, format_guard)
    return Embedding(dependencies.router, facts, content, has_begun)
