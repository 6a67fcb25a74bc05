"""Requests made from the edge's OpenAPI document, and whether each answer is one that the document promises."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode, Response
from schemathesis.checks import CHECKS
from schemathesis.core.failures import FailureGroup

_CHECKS = (
    *("status_code_conformance", "content_type_conformance", "response_schema_conformance"),
    *("response_headers_conformance", "unsupported_method", "allow_header_conformance"),
)
_MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
# A busy machine is slow; none of the routes is.
_SECONDS = 60.0
_PATH_PARAMETERS = {"model": "x", "request_id": "x", "response_id": "x"}
_STRANGERS = ("sk-spillway-00000000-0000000000000000000000000000000000000000000", "", "é")


class Document:
    """The document of a running edge, and the requests that can be made from it."""

    def __init__(self, url: str, key: str, models: Sequence[str]) -> None:
        """A generated request that names a model names one of `models`: with others it would not get far."""
        self._url = url
        self._models = models
        self._headers = {"authorization": f"Bearer {key}"}
        self._session = requests.Session()
        self._session.trust_env = False
        self._schema = schemathesis.openapi.from_dict(self._session.get(f"{url}/openapi.json", timeout=_SECONDS).json())
        self._operations: Mapping[str, Any] = {
            each.ok().label: each.ok()  # type: ignore[union-attr] # it fails for an operation that cannot be read
            for each in self._schema.get_all_operations()
        }
        self._checks: list[Any] = CHECKS.get_by_names(list(_CHECKS))
        self.statuses: Counter[int] = Counter()
        """Of all answers so far."""

    @property
    def operations(self) -> Sequence[str]:
        """The names of all operations, such as `POST /chat`."""
        return list(self._operations)

    def check_listed(self, operation: str) -> None:
        """Send what follows from the document without chance: every boundary, wrong type, missing field and method.

        AssertionError, with the request as a command, for an answer that the document does not promise.
        """
        for case in self._schema.iter_coverage_cases(
            self._operations[operation],
            generation_modes=list(_MODES),
            generation_config=self._schema.config.generation,
        ):
            self._check(case)

    def check_generated(self, operation: str, count: int, number: int) -> None:
        """Send up to `count` good and as many bad requests; the same ones for the same `number`."""
        for mode in _MODES:
            try:
                self._generate(operation, mode, count, number)
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE, operation  # a request without fields has nothing to be wrong in

    def _generate(self, operation: str, mode: GenerationMode, count: int, number: int) -> None:
        @seed(number)
        @settings(
            max_examples=count,
            database=None,
            phases=[Phase.generate],
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=self._operations[operation].as_strategy(generation_mode=mode))
        def check(case: Case[Any]) -> None:
            self._check(case)

        check()

    def check_strangers(self, operation: str) -> None:
        """Without a key, or with a wrong one, an operation that needs one answers 401, as it is documented."""
        definition = self._operations[operation].definition.raw
        for headers in ({}, *({"authorization": f"Bearer {key}".encode()} for key in _STRANGERS)):
            case = self._operations[operation].Case(path_parameters=_PATH_PARAMETERS)
            response = self._call(case, headers)
            if definition.get("security"):
                assert 401 == response.status_code, (operation, headers)
                assert "Bearer" == response.headers["www-authenticate"][0]
            else:
                assert 200 == response.status_code, (operation, headers)
            self._validate(case, response)

    def check_too_long(self, operation: str) -> None:
        """A request line that is too long is refused with 431, in the documented shape."""
        case = self._operations[operation].Case(path_parameters=_PATH_PARAMETERS, query={"x": "x" * 10_000})
        response = self._call(case, self._headers)
        assert 431 == response.status_code, operation
        self._validate(case, response)

    def _check(self, case: Case[Any]) -> None:
        model = case.body.get("model") if isinstance(case.body, dict) else None
        if isinstance(case.body, dict) and isinstance(model, str):
            number = zlib.crc32(model.encode(errors="replace"))
            case.body["model"] = self._models[number % len(self._models)]
        self._validate(case, self._call(case, self._headers))

    def _call(self, case: Case[Any], headers: Mapping[str, Any]) -> Response:
        response = case.call(base_url=self._url, session=self._session, headers=dict(headers), timeout=_SECONDS)
        self.statuses[response.status_code] += 1
        return response

    def _validate(self, case: Case[Any], response: Response) -> None:
        try:
            case.validate_response(response, checks=self._checks)
        except FailureGroup as failures:
            raise AssertionError(str(failures)) from None
        # It is documented, and a fault of ours wherever it comes.
        assert 500 != response.status_code, (case.as_curl_command(), response.content)
        if response.status_code > 500:
            self._check_code(case, response)

    def _check_code(self, case: Case[Any], response: Response) -> None:
        """A failure has one of the codes that the document lists under its status."""
        documented = case.operation.definition.raw["responses"][str(response.status_code)]
        codes = set(documented["content"]["application/json"].get("examples", ()))
        error = orjson.loads(response.content).get("error", {})
        # Anthropic's shape has no code.
        assert "code" not in error or error["code"] in codes, (case.as_curl_command(), response.content)
