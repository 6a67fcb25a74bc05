"""`make soak` can fail: it finds each kind of dishonesty, of missing records and of growth, and nothing else."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import orjson
import pytest
import yaml

from fault_provider.answers import TOOL_ARGUMENTS, expected_text
from fault_provider.plan import BEHAVIOURS as ALL_BEHAVIOURS
from fault_provider.plan import parse_model
from kit.load.provider import Seen
from kit.load.questions import BEHAVIOURS, CHAT, COMPLETIONS, MESSAGES, PATHS, Question, make_question, routes_file
from kit.load.reading import End, Transcript, read
from kit.load.records import LedgerAttempt, LedgerRequest

from .growth import Sample, max_memory_growth, memory_growth
from .judge import ATTEMPT_BUDGET, budget_faults, faults_of
from .records import faults_of_records
from .run import KINDS, Findings, kinds_of

OK = Seen("ok?chunks=3&text=a&place=1", "openai", 200, "completed")
OTHER = Seen("ok?chunks=3&text=b&place=2", "anthropic", 200, "completed")
CUT = Seen("cut?chunks=3&after=2&text=a&place=1", "openai", 200, "cut")
LONGER = Seen("ok?chunks=4&text=a&place=2", "anthropic", 200, "completed")
CALL = Seen("tool-call?place=1", "openai", 200, "completed")
FILTERED = Seen("content-filter?chunks=3&after=2&text=a&place=1", "openai", 200, "completed")
REFUSED = Seen("status-500?place=1", "openai", 500, "refused")


def named(event: str, **data: Any) -> bytes:
    """Encode a named event."""
    return b"event: %b\ndata: %b\n\n" % (event.encode(), orjson.dumps(data))


def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
    """Encode a chunk of OpenAI's contract."""
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: %b\n\n" % orjson.dumps({"choices": [choice]})


def words(path: str, text: str) -> bytes:
    """Encode text in a contract."""
    if path == CHAT:
        return named("delta", text=text)
    if path == COMPLETIONS:
        return chunk({"content": text})
    return named("content_block_delta", delta={"type": "text_delta", "text": text})


def success(path: str, reason: str = "stop") -> bytes:
    """Encode the end of a complete answer."""
    if path == CHAT:
        return named("done", finish_reason=reason)
    if path == COMPLETIONS:
        return chunk({}, reason) + b"data: [DONE]\n\n"
    names = {"stop": "end_turn", "content_filter": "refusal", "tool_calls": "tool_use"}
    return named("message_delta", delta={"stop_reason": names[reason]}) + named("message_stop")


def failure(path: str) -> bytes:
    """Encode the end of a failed answer."""
    error = {"code": "stream_interrupted", "type": "api_error"}
    return b"data: %b\n\n" % orjson.dumps({"error": error}) if path == COMPLETIONS else named("error", error=error)


def stream(path: str, *frames: bytes, end: End = "complete", cache_status: str = "edge; fwd=miss") -> Transcript:
    """Make the transcript of a stream."""
    question = Question("t1", path, True, "two", "soak t1", {}, "", None)
    return Transcript(question, "id-1", 200, cache_status, b"".join(frames), end, 1.0)


def whole(path: str, body: Any, status: int = 200) -> Transcript:
    """Make the transcript of an answer that is not streamed."""
    question = Question("t1", path, False, "two", "soak t1", {}, "", None)
    return Transcript(question, "id-1", status, "", orjson.dumps(body), "complete", 1.0)


@pytest.mark.parametrize("path", PATHS)
def test_honest_streams_pass(path: str) -> None:
    """Complete answers, failed ones that say so, and those of a client that disconnected."""
    frames = words(path, "a0 "), words(path, "a1 a2 ")

    assert [] == faults_of(stream(path, b": keep-alive\n\n", *frames, success(path)), [REFUSED, OK])
    assert [] == faults_of(stream(path, words(path, "a0 a1 "), success(path, "content_filter")), [FILTERED])
    assert [] == faults_of(stream(path, words(path, "a0 "), failure(path)), [CUT])
    assert [] == faults_of(stream(path, failure(path)), [REFUSED])
    for length in range(200):
        content = b"".join(frames) + success(path)
        assert [] == faults_of(stream(path, content[:length], end="left"), [OK])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("neither end", lambda path: [words(path, "a0 a1 a2 ")]),
        ("both ends", lambda path: [words(path, "a0 a1 a2 "), success(path), failure(path)]),
        ("two ends", lambda path: [words(path, "a0 a1 a2 "), success(path), success(path)]),
        ("two failures", lambda path: [failure(path), failure(path)]),
        ("words behind the end", lambda path: [words(path, "a0 a1 "), success(path), words(path, "a2 ")]),
        ("words behind the failure", lambda path: [words(path, "a0 "), failure(path), words(path, "a1 ")]),
        ("a comment behind the end", lambda path: [words(path, "a0 a1 a2 "), success(path), b": keep-alive\n\n"]),
        ("a word is missing", lambda path: [words(path, "a0 a2 "), success(path)]),
        ("a word too much", lambda path: [words(path, "a0 a1 a2 a3 "), success(path)]),
        ("a word twice", lambda path: [words(path, "a0 a0 "), failure(path)]),
        ("half of it as the whole", lambda path: [words(path, "a0 a1 "), success(path)]),
        ("nothing as the whole", lambda path: [success(path)]),
        ("another reason", lambda path: [words(path, "a0 a1 a2 "), success(path, "content_filter")]),
        ("two answerers", lambda path: [words(path, "a0 "), words(path, "b1 b2 "), success(path)]),
        ("two answerers, broken", lambda path: [words(path, "a0 "), words(path, "b0 "), failure(path)]),
        ("no frame", lambda path: [words(path, "a0 "), b"nonsense\n\n", success(path)]),
        ("half a frame", lambda path: [words(path, "a0 a1 a2 "), success(path)[:-1]]),
    ],
)
def test_each_dishonesty_of_a_stream_is_found(path: str, name: str, frames: Any) -> None:
    """In each contract."""
    assert faults_of(stream(path, *frames(path)), [OK, OTHER]), name


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "behaviour",
    ["cut", "stall", "malformed", "error-frame", "missing-end", "unknown-finish", "silence", "role-only", "reset"],
)
def test_a_fault_of_the_provider_is_never_a_success(path: str, behaviour: str) -> None:
    """Whatever the provider had sent, and however it closed the connection."""
    model = f"{behaviour}?chunks=3&after=3&text=a"
    attempt = Seen(model, "openai", 200, "completed")

    assert faults_of(stream(path, words(path, expected_text(model)), success(path)), [attempt])


@pytest.mark.parametrize("path", PATHS)
def test_a_success_of_a_failed_attempt_is_found(path: str) -> None:
    """The record of the provider decides."""
    frames = stream(path, words(path, "a0 a1 a2 "), success(path))

    assert faults_of(frames, [replace(OK, finish="client_closed")])
    assert faults_of(frames, [replace(OK, status=503)])
    assert faults_of(frames, [])


@pytest.mark.parametrize("path", PATHS)
def test_a_continued_answer_has_its_splice_at_the_announced_place(path: str) -> None:
    """All words of the last target, once, with the splice in its place."""

    def continued(after: int) -> bytes:
        if path == CHAT:
            return named("continued", after_characters=after)
        return b": continued by two-2 after %d characters: stream_broken\n\n" % after

    def frames(after: int) -> Transcript:
        return stream(path, words(path, "a0 a1 "), continued(after), words(path, "a2 a3 "), success(path))

    assert [] == faults_of(frames(6), [CUT, LONGER])
    assert faults_of(frames(5), [CUT, LONGER])


@pytest.mark.parametrize("end", ["cut", "complete"])
@pytest.mark.parametrize("path", PATHS)
def test_a_broken_connection_is_found(path: str, end: End) -> None:
    """A stream needs a terminal frame."""
    assert faults_of(stream(path, words(path, "a0 "), end=end), [CUT])


WHOLE = {
    CHAT: {"text": "a0 a1 a2 ", "tool_calls": [], "continuations": [], "finish_reason": "stop"},
    COMPLETIONS: {"choices": [{"message": {"content": "a0 a1 a2 "}, "finish_reason": "stop"}]},
    MESSAGES: {"content": [{"type": "text", "text": "a0 a1 a2 "}], "stop_reason": "end_turn"},
}


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_that_is_not_streamed_is_judged_alike(path: str) -> None:
    """Complete, or an error with its status; an error of the gateway itself is found."""
    error = {"error": {"code": "all_targets_failed", "type": "api_error"}}

    assert [] == faults_of(whole(path, WHOLE[path]), [OK])
    assert faults_of(whole(path, WHOLE[path]), [CUT])
    assert faults_of(whole(path, WHOLE[path]), [LONGER])
    assert [] == faults_of(whole(path, error, 502), [REFUSED])
    assert faults_of(whole(path, error, 500), [REFUSED])
    assert faults_of(whole(path, {}, 502), [REFUSED])
    own = {"error": {"code": "router_unavailable", "type": "server_error"}}
    assert faults_of(whole(path, own, 503), [])


def test_a_tool_call_is_compared_word_for_word() -> None:
    """In fragments or as a whole."""
    good = [named("tool_call", arguments=TOOL_ARGUMENTS), named("done", finish_reason="tool_call")]
    bad = [named("tool_call", arguments=TOOL_ARGUMENTS[:-1]), named("done", finish_reason="tool_call")]

    assert [] == faults_of(stream(CHAT, *good), [CALL])
    assert faults_of(stream(CHAT, *bad), [CALL])
    assert faults_of(stream(CHAT, *good), [OK])
    assert faults_of(stream(CHAT, named("tool_call", arguments="{x"), failure(CHAT)), [CALL])


def test_a_cache_hit_is_the_first_answer() -> None:
    """What the provider delivered, and no failure."""
    hit = "edge; hit"

    assert [] == faults_of(stream(CHAT, words(CHAT, "a0 a1 a2 "), success(CHAT), cache_status=hit), [OK])
    assert faults_of(stream(CHAT, words(CHAT, "b0 "), success(CHAT), cache_status=hit), [OK])
    assert faults_of(stream(CHAT, failure(CHAT), cache_status=hit), [OK])


def test_attempts_beyond_the_budget_are_found() -> None:
    """A cache hit may make no attempt."""
    asked = stream(CHAT, failure(CHAT))
    hit = stream(CHAT, success(CHAT), cache_status="edge; hit")

    assert {} == budget_faults([asked], {"t1": [REFUSED] * ATTEMPT_BUDGET})
    assert ["t1"] == list(budget_faults([asked], {"t1": [REFUSED] * (ATTEMPT_BUDGET + 1)}))
    assert ["t1"] == list(budget_faults([hit], {"t1": [OK]}))


TRANSCRIPT = stream(CHAT, words(CHAT, "a0 a1 a2 "), success(CHAT))
RECORDED = LedgerAttempt("openai", "asked?place=1", "ok", "", 200)
UNSEEN = LedgerAttempt("anthropic", "asked?place=2", "client_cancelled", "", 0)
UNREACHABLE = LedgerAttempt("vllm", "asked?place=0", "provider_error", "target_unreachable", 0)
FAILED = LedgerAttempt("openai", "asked?place=1", "provider_error", "provider_unavailable", 500)


def settled(*attempts: LedgerAttempt, outcome: str = "ok") -> LedgerRequest:
    """Make an entry."""
    return LedgerRequest("settled", outcome, attempts)


@pytest.mark.parametrize(
    ("name", "entry", "seen"),
    [
        ("as it was", settled(RECORDED), [OK]),
        ("after a retry", settled(FAILED, RECORDED), [REFUSED, OK]),
        ("one never reached its target", settled(UNREACHABLE, RECORDED), [OK]),
        ("one was cancelled on its way", settled(RECORDED, UNSEEN), [OK]),
        ("one was cancelled after it arrived", settled(RECORDED, UNSEEN), [OK, OTHER]),
    ],
)
def test_complete_records_pass(name: str, entry: LedgerRequest, seen: list[Seen]) -> None:
    """Every attempt once, plus those that never reached a provider."""
    assert {} == faults_of_records([TRANSCRIPT], {"id-1": entry}, {"t1": seen}), name


@pytest.mark.parametrize(
    ("name", "ledger", "seen"),
    [
        ("the request is missing", {}, [OK]),
        ("the request has no end", {"id-1": LedgerRequest("admitted", "", [])}, []),
        ("the request was given up", {"id-1": LedgerRequest("unsettled", "", [RECORDED])}, [OK]),
        ("an attempt is missing", {"id-1": settled(RECORDED)}, [REFUSED, OK]),
        ("all attempts are missing", {"id-1": settled()}, [OK]),
        ("an attempt of another target is missing", {"id-1": settled(RECORDED)}, [OTHER, OK]),
        ("an attempt is there twice", {"id-1": settled(RECORDED, RECORDED)}, [OK]),
        ("an attempt was never made", {"id-1": settled(FAILED, RECORDED)}, [OK]),
        ("the outcome is another one", {"id-1": settled(RECORDED, outcome="client_cancelled")}, [OK]),
    ],
)
def test_each_gap_in_the_records_is_found(name: str, ledger: dict[str, LedgerRequest], seen: list[Seen]) -> None:
    """And every surplus record."""
    assert ["t1"] == list(faults_of_records([TRANSCRIPT], ledger, {"t1": seen})), name


def test_attempts_without_a_question_are_found() -> None:
    """The provider got a question that no client sent."""
    assert ["t2"] == list(faults_of_records([], {}, {"t2": [OK]}))


def test_a_request_that_never_arrived_may_be_missing() -> None:
    """Its client disconnected before the edge had read it."""
    assert {} == faults_of_records([replace(TRANSCRIPT, status=0, content=b"", end="left")], {}, {})


def test_what_a_busy_edge_refuses_may_be_missing() -> None:
    """Unless the provider was asked; and any other answer is missed."""
    refused = whole(COMPLETIONS, {"error": {"code": "overloaded", "type": "server_error"}}, 503)
    failed = whole(COMPLETIONS, {"error": {"code": "all_targets_failed", "type": "server_error"}}, 503)

    assert {} == faults_of_records([refused], {}, {})
    assert ["t1"] == list(faults_of_records([refused], {}, {"t1": [OK]}))
    assert ["t1"] == list(faults_of_records([failed], {}, {}))


def test_twice_the_clients_may_keep_twice_the_sockets() -> None:
    """And no more."""
    memory = samples(*[100.0] * 200)
    soak = Findings(streams=1, memory=memory, sockets=[50, 80])
    load = Findings("load", 100, streams=1, memory=memory, sockets=[50, 80])

    assert (False, True) == (soak.is_good, load.is_good)
    load.sockets.append(110)
    assert not load.is_good


@pytest.mark.parametrize(
    ("transcript", "kinds"),
    [
        (stream(CHAT, words(CHAT, "a"), success(CHAT), cache_status="edge; hit"), ["hits"]),
        (stream(COMPLETIONS, words(COMPLETIONS, "a"), success(COMPLETIONS)), ["misses"]),
        (stream(CHAT, failure(CHAT)), ["faults"]),
        (stream(MESSAGES, success(MESSAGES, "tool_calls")), ["misses", "tools"]),
        (stream(CHAT, words(CHAT, "a"), end="left"), ["cancels"]),
        (whole(CHAT, {"error": {"code": "all_targets_failed"}}, 502), ["faults"]),
        (whole(CHAT, {"error": {"code": "overloaded"}}, 503), []),
    ],
    ids=["hit", "miss", "fault", "tool", "cancel", "failure", "refusal"],
)
def test_a_load_without_one_of_its_kinds_is_no_load(transcript: Transcript, kinds: list[str]) -> None:
    """`make load` knows what each response is, and notices that the others are missing."""
    findings = Findings("load")
    findings.kinds.update(kinds_of(transcript, read(transcript)))

    assert kinds == sorted(findings.kinds, key=KINDS.index)
    assert not findings.has_every_kind
    findings.kinds.update(KINDS)
    assert findings.has_every_kind


def samples(*megabytes: float, every: float = 1.0) -> list[Sample]:
    """Make samples at equal intervals."""
    return [Sample(number * every, int(size * 2**20)) for number, size in enumerate(megabytes)]


def test_memory_that_keeps_growing_is_found() -> None:
    """Warming up in the first third does not count, nor do single samples that are odd."""
    warm = samples(*range(100, 170), *([170.0] * 130), every=5)
    leak = samples(*(200 + number / 4 for number in range(200)), every=5)
    high = samples(*([200.0] * 199), 400, every=5)
    low = samples(*([200.0] * 90), 100, *([200.0] * 109), every=5)

    assert memory_growth(warm) <= max_memory_growth(warm)
    assert memory_growth(leak) > max_memory_growth(leak)
    assert memory_growth(high) <= max_memory_growth(high)
    assert memory_growth(low) <= max_memory_growth(low)
    assert 0 == memory_growth([])


@pytest.mark.parametrize("seconds", [300, 450, 600])
@pytest.mark.parametrize("phase", [0, 40, 80])
def test_garbage_that_is_collected_again_is_no_growth(seconds: int, phase: int) -> None:
    """Whenever the collections come, one in each third; a leak of a fifth in the course of the run is found beneath."""
    wave = [33 * ((number + phase) % 90) / 90 for number in range(seconds)]
    flat = samples(*(325 + more for more in wave))
    leak = samples(*(325 * (1 + 0.2 * number / seconds) + more for number, more in enumerate(wave)))

    assert abs(memory_growth(flat)) <= max_memory_growth(flat) / 2
    assert memory_growth(leak) > max_memory_growth(leak)


def test_the_questions_trigger_every_fault_in_every_contract() -> None:
    """Each behaviour of a chat; the same seed repeats the questions."""
    questions = [make_question(random.Random(number), f"t{number}") for number in range(3000)]
    plans = [parse_model(part.split("}}")[0].split(": ")[1]) for q in questions for part in q.query.split("{{")[1:]]
    of_vectors = {"floats", "wrong-count", "wrong-index", "wrong-dimensions", "not-finite"}

    assert (
        ALL_BEHAVIOURS - of_vectors - {"script", "bytes", "asked"} == BEHAVIOURS == {plan.behaviour for plan in plans}
    )
    assert {(path, is_streaming) for path in PATHS for is_streaming in (True, False)} == {
        (question.path, question.is_streaming) for question in questions
    }
    assert 0.2 < sum(q.leaves_after_seconds is not None for q in questions) / len(questions) < 0.3
    assert questions[7] == make_question(random.Random(7), "t7")


def test_the_routes_file_can_be_written(tmp_path: Any) -> None:
    """Plain data, with every target named by a route."""
    document = yaml.safe_load(yaml.safe_dump(routes_file("http://127.0.0.1:1", tmp_path / "key")))

    assert {"asked?place=0", "asked?place=1", "asked?place=2", "asked?place=3"} == {
        target["model"] for target in document["targets"].values()
    }
