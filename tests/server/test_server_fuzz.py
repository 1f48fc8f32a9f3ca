"""The server against its own description: no failure, and no answer that it does not announce."""

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from diffprior.errors import ImageError
from diffprior.server import jobs
from diffprior.server.app import create_app
from diffprior.server.service import Config, Service

from support.web import API, TOKEN, picture, png, serving, upload

JSON = "application/json"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
DESCRIBED = schemathesis.openapi.from_dict(create_app(Service(Config(token=TOKEN))).app.openapi())
OPERATIONS = {operation.ok().label: operation.ok() for operation in DESCRIBED.get_all_operations()}


def refuse(*_):
    raise ImageError("no work is done here")


@pytest.fixture(scope="module")
def place():
    """The address of a server of its own that does no work, and an image on its list."""
    with pytest.MonkeyPatch.context() as patch, serving() as client:
        patch.setattr(jobs.work, "call", refuse)
        yield str(client.base_url).rstrip("/"), upload(client, png(picture(8, 8, 3)))["id"]


def test_every_address_is_described():
    assert len(OPERATIONS) >= 38 and f"POST {API}/inpaint" in OPERATIONS


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_request_makes_the_server_fail(place, name):
    address, image = place

    @hypothesis.given(case=OPERATIONS[name].as_strategy())
    @hypothesis.settings(
        max_examples=12,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    def check(case):
        if isinstance(case.body, dict) and "image" in case.body and case.media_type != JSON:
            case.body["image"] = image  # else most would end there
        headers = {"Authorization": f"Bearer {TOKEN}"}
        case.call_and_validate(base_url=address, headers=headers, checks=CHECKS, timeout=30)

    check()
