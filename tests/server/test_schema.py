"""schemathesis over the schema: random requests, valid and not, get answers that are documented, and no 500."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.server.conftest import Serve

schemathesis = pytest.importorskip("schemathesis", reason="the schema is tested with schemathesis")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")
CHECKS = [
    pytest.importorskip("schemathesis.checks").not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


@pytest.mark.slow
def test_random_requests_get_documented_answers(serve: Serve) -> None:
    client: httpx.Client = serve()
    schema = schemathesis.openapi.from_url(f"{client.base_url}openapi.json")
    calls = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=2, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def call(case: Any) -> None:
            nonlocal calls
            calls += 1
            answer = case.call(base_url=str(client.base_url).rstrip("/"))
            case.validate_response(answer, checks=CHECKS)

        call()
    assert calls > 20
    assert client.get("/ready").status_code == 200
