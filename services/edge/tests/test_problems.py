"""The table of errors: each code has its status and its meaning, and what is unknown tells nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge import problems
from edge.problems import CHAT_ERRORS, CONNECTION_ERRORS, EMBEDDING_ERRORS, KINDS, Problem, from_completion_error
from spillway.router.v1 import router_pb2 as routerpb


@pytest.mark.parametrize("code", KINDS)
def test_every_code_has_a_status_a_type_and_an_outcome(code: str) -> None:
    """A client can decide by the status, by the type or by `retryable`, and they agree."""
    kind = Problem(code, "m").kind

    assert 400 <= kind.status < 600
    assert kind.type in {
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "rate_limit_error",
        "upstream_error",
        "server_error",
    }
    assert (kind.status < 500) == (kind.type not in {"upstream_error", "server_error"})
    assert kind.outcome in {
        routerpb.OUTCOME_REJECTED,
        routerpb.OUTCOME_PROVIDER_ERROR,
        routerpb.OUTCOME_TIMEOUT,
        routerpb.OUTCOME_INTERRUPTED,
    }
    assert not (kind.retryable and kind.status in {400, 401, 403, 404, 405, 413, 422})


def test_every_code_is_documented_where_it_is_sent() -> None:
    """What may come stands in the OpenAPI document; `elsewhere` are the codes of other endpoints, or of all of them."""
    elsewhere = {
        "not_found",
        "method_not_allowed",
        "request_not_found",
        "ledger_unavailable",
        "capture_unreadable",
        "previous_response_not_found",
        "responses_unavailable",
        *CONNECTION_ERRORS,
    }

    assert KINDS.keys() - elsewhere == set(CHAT_ERRORS)
    assert set(EMBEDDING_ERRORS) < set(CHAT_ERRORS)


def test_every_code_of_the_routers_errors_is_known() -> None:
    """What the llm-router may report has its row here; a new code there needs one.

    `stopped` is told to nobody: it is how a call ends that the edge itself had stopped.
    """
    source = Path(problems.__file__).parents[3] / "llm-router/src/llm_router/failures.py"
    codes = {
        line.split('"')[1] for line in source.read_text().splitlines() if 'code="' in line or 'detail.code = "' in line
    }

    assert codes
    assert codes - {"stopped"} <= KINDS.keys()


def test_the_body_has_openais_shape_and_says_whether_to_retry() -> None:
    """The official client reads these fields."""
    body = Problem("model_not_found", "model 'x' does not exist", param="model").body()

    assert {
        "error": {
            "message": "model 'x' does not exist",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
            "retryable": False,
        }
    } == body


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (Problem("invalid_api_key", "m"), {"www-authenticate": "Bearer", "x-should-retry": "false"}),
        (Problem("invalid_json", "m"), {"x-should-retry": "false"}),
        (Problem("spend_limit_reached", "m"), {"x-should-retry": "false"}),
        (Problem("target_model_not_found", "m"), {"x-should-retry": "false"}),
        (Problem("all_targets_failed", "m"), {}),
        (Problem("all_targets_failed", "m", retryable=False), {"x-should-retry": "false"}),
        (Problem("router_unavailable", "m"), {"retry-after": "1"}),
        (Problem("router_unavailable", "m", retry_after_seconds=9), {"retry-after": "9"}),
        (Problem("rate_limited", "m"), {}),
        (Problem("rate_limited", "m", retry_after_seconds=0), {"retry-after": "1"}),
        (Problem("rate_limited", "m", retry_after_seconds=0.2), {"retry-after": "1"}),
        (Problem("rate_limited", "m", retry_after_seconds=1.2), {"retry-after": "2"}),
        (Problem("rate_limited", "m", retry_after_seconds=2.5), {"retry-after": "3"}),
        (Problem("rate_limited", "m", retry_after_seconds=7.0), {"retry-after": "7"}),
    ],
)
def test_headers_say_what_to_do(problem: Problem, expected: dict[str, str]) -> None:
    """A wait is told in whole seconds and rounded up: a client that obeys must not come too early."""
    assert {"x-should-retry": "true", **expected} == problem.headers()
    assert problem.body()["error"]["retryable"] == (problem.headers()["x-should-retry"] == "true")


def test_the_routers_error_keeps_what_it_said() -> None:
    """Code, message, field and wait reach the client."""
    detail = routerpb.CompletionError(code="rate_limited", message="later", param="model", retryable=True)
    detail.retry_after.FromMilliseconds(1500)
    problem = from_completion_error(detail)

    assert ("rate_limited", "later", "model", 1.5) == (
        problem.code,
        problem.message,
        problem.param,
        problem.retry_after_seconds,
    )
    assert problem.retryable
    hopeless = from_completion_error(routerpb.CompletionError(code="all_targets_failed"))
    assert (None, False) == (hopeless.param, hopeless.retryable)


def test_the_providers_own_code_reaches_the_client() -> None:
    """Clients know the codes of their vendor; logs and metrics keep ours."""
    detail = routerpb.CompletionError(code="invalid_request", message="m", provider_code="content_policy_violation")
    problem = from_completion_error(detail)

    assert ("invalid_request", "content_policy_violation") == (problem.code, problem.body()["error"]["code"])


@pytest.mark.parametrize("code", ["", "a_code_of_next_year"])
def test_a_code_that_nobody_knows_is_our_own_error_and_tells_nothing(code: str) -> None:
    """What is not understood is not passed on."""
    problem = from_completion_error(routerpb.CompletionError(code=code, message="SECRET", param="SECRET"))

    assert ("internal_error", 500) == (problem.code, problem.kind.status)
    assert "SECRET" not in str(problem.body())
