"""The description of the JSON side in OpenAPI 3.1, at /api/openapi.json; a test holds the server to it."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from greenr_luigi import about
from greenr_luigi.web import intake, pages
from greenr_luigi.web.api import AddressRequest, Alive, Ready, ServingModel
from greenr_luigi.web.feedback import Kept
from greenr_luigi.web.model import Answer
from greenr_luigi.web.problem import Error
from greenr_luigi.web.settings import Settings
from greenr_luigi.web.state import State

Json = dict[str, Any]
SCHEMA = "#/components/schemas/{name}"


def ref(kind: type[Any]) -> Json:
    return {"$ref": SCHEMA.format(name=kind.__name__)}


class Named(TypedDict):
    name: str


ANSWER_OR_ERROR = {"allOf": [ref(Named), {"anyOf": [ref(Answer), ref(Error)]}]}


class Batch(TypedDict):
    """In the order of the pictures; one that is refused (413, 415, 422) has its own error."""

    answers: list[Annotated[Json, msgspec.Meta(extra_json_schema=ANSWER_OR_ERROR)]]


KINDS = (Answer, Error, Named, Batch, AddressRequest, ServingModel, Kept, Alive, Ready)
TEXT: Json = {"type": "string"}
SHOW: Json = {
    "name": "show",
    "in": "query",
    "description": "1: with the heat map, and for an address with the picture.",
    "schema": {**TEXT, "enum": ["0", "1"]},
}
PICTURE: Json = {**TEXT, "contentMediaType": "application/octet-stream", "format": "binary"}
MEANING = {
    400: "What came cannot be read; or the address is one that is not fetched.",
    403: "It does not come from the page itself, or is for a host that this server does not know.",
    408: "The request came too slowly.",
    413: "Too many bytes or pixels.",
    415: "Not a picture in a known format.",
    422: "A picture that is broken, or too small.",
    429: "Too often; Retry-After says when to go on.",
    502: "The address cannot be read.",
    503: "Too busy, or no model yet; Retry-After says when to try again.",
    504: "The address does not answer in time.",
    507: "No room for more.",
}
#: What an upload may be answered with, and one whose picture is the only one.
UPLOAD = (400, 408, 413, 503)
ONE = (*UPLOAD, 415, 422)


def content(schema: Json, kind: str = "application/json") -> Json:
    return {"content": {kind: {"schema": schema}}}


def response(description: str, kind: type[Any]) -> Json:
    """`str`: plain text."""
    return {
        "description": description,
        **(content(TEXT, "text/plain") if kind is str else content(ref(kind))),
    }


def operation(summary: str, answer: type[Any], *refusals: int, **more: Any) -> Json:
    """What can be asked: the type of its answer, and the statuses with which it is refused."""
    responses = {"200": response("The answer.", answer)}
    for status in refusals:
        responses[str(status)] = response(MEANING[status], Error)
        if status in (429, 503):
            responses[str(status)]["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    return {"summary": summary, "responses": responses, **more}


def form(picture: Json, **more: Json) -> Json:
    schema = {"type": "object", "properties": {"file": picture, **more}, "required": ["file"]}
    return {"required": True, **content(schema, "multipart/form-data")}


def paths(settings: Settings) -> Json:
    """What this server answers; what is switched off is left out."""
    pictures = {"type": "array", "items": PICTURE, "minItems": 1, "maxItems": settings.batch}
    most_bytes = intake.most_bytes(settings.batch)
    posts = {
        "/api/predict": operation(
            "Classify one picture", Answer, *ONE, parameters=[SHOW], requestBody=form(PICTURE)
        ),
        "/api/predict-batch": operation(
            "Classify several pictures, all by one release",
            Batch,
            *UPLOAD,
            description=f"At most {settings.batch} pictures and {most_bytes:,} bytes in one request.",
            parameters=[SHOW],
            requestBody=form(pictures),
        ),
    }
    if settings.fetch:
        posts["/api/predict-url"] = operation(
            "Fetch a picture from a public address and classify it",
            Answer,
            *(*ONE, 502, 504),
            parameters=[SHOW],
            requestBody={"required": True, **content(ref(AddressRequest))},
        )
    if settings.feedback:
        label = {**TEXT, "description": "What the picture shows; empty for none of the classes."}
        predicted = {**TEXT, "description": "What the model said."}
        posts["/feedback"] = operation(
            "Keep what a visitor says of an answer",
            Kept,
            *(*ONE, 403, 429, 507),
            description="From the page itself only, as Sec-Fetch-Site or Origin tells.",
            requestBody=form(PICTURE, label=label, predicted=predicted),
        )
    gets = {
        "/api/model": operation("The release that serves", ServingModel, 503),
        "/healthz": operation("Whether the process answers", Alive),
        "/readyz": operation("Whether a model serves, and which", Ready, 403),
        "/metrics": operation(
            "For Prometheus: counters of all workers, what runs came to, and the model that serves", str, 403
        ),
    }
    gets["/readyz"]["responses"]["503"] = response("No model serves yet.", Ready)
    return {path: {"post": asked} for path, asked in posts.items()} | {
        path: {"get": asked} for path, asked in gets.items()
    }


def document(base: str, settings: Settings) -> Json:
    """The whole description; `base` is the path prefix that a visitor sees."""
    _, schemas = msgspec.json.schema_components(KINDS, ref_template=SCHEMA)
    return {
        "openapi": "3.1.0",
        "info": {"title": about.NAME, "version": about.version(), "summary": "A picture classifier."},
        "servers": [{"url": base or "/"}],
        "paths": paths(settings),
        "components": {"schemas": schemas},
    }


async def describe(request: Request[State]) -> Response:
    return JSONResponse(document(pages.path_prefix(request), request.state["settings"]))


async def page(request: Request[State]) -> Response:
    """The same for a person."""
    described = paths(request.state["settings"])
    return pages.page(request, "api.html", paths=described, origin=str(request.base_url).rstrip("/"))
