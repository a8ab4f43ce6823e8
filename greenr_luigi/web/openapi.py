"""The description of the JSON side in OpenAPI 3.1, at /api/openapi.json; a test holds the server to it."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from greenr_luigi import about
from greenr_luigi.web import intake, pages
from greenr_luigi.web.api import AddressRequest
from greenr_luigi.web.model import Answer
from greenr_luigi.web.settings import Settings
from greenr_luigi.web.state import State

Json = dict[str, Any]
#: What programs may tell refusals by; a test holds the code and docs/serving.md to it.
CODES = [
    "no-picture", "no-address", "show", "upload-malformed", "upload-broken", "upload-slow", "upload-too-large",
    "upload-too-many", "picture-format", "picture-broken", "picture-too-small", "picture-too-large",
    "address-refused", "address-unreachable", "address-slow", "address-disabled", "busy", "no-model", "too-slow",
    "feedback-off", "feedback-full", "foreign", "too-often", "no-label", "not-found", "method-not-allowed",
    "refused", "internal",
]  # fmt: skip


def ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def content(schema: Json, kind: str = "application/json") -> Json:
    return {kind: {"schema": schema}}


def fields(properties: Json, required: list[str] | None = None) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties) if required is None else required,
    }


def of_class(kind: type[Any]) -> Json:
    """The schema of a dataclass."""
    _, components = msgspec.json.schema_components([kind], ref_template="{name}")
    schema = components[kind.__name__]
    return fields(schema["properties"], sorted(schema["required"]))


TEXT: Json = {"type": "string"}
PROBLEM = fields(
    {
        "status": {"type": "integer"},
        "code": {**TEXT, "enum": CODES},
        "message": {**TEXT, "description": "What to do, for a person."},
    }
)
BATCH = {
    "type": "array",
    "description": "In the order of the pictures; one that is refused (413, 415, 422) has its own error.",
    "items": {"allOf": [fields({"name": TEXT}), {"anyOf": [ref("Answer"), ref("Error")]}]},
}
SCHEMAS: Json = {
    "Answer": of_class(Answer),
    "Error": fields({"error": PROBLEM}),
    "Batch": fields({"answers": BATCH}),
    "Ready": fields(
        {
            "ready": {"type": "boolean"},
            "release": {"type": ["string", "null"]},
            "problem": {"type": ["object", "null"]},
            "workers": {"type": "array", "items": {"type": "object"}},
        }
    ),
    "Model": fields({"release": TEXT, "model": {"type": "object"}}),
    "Alive": fields({"alive": {"const": True}}),
    "Kept": fields({"kept": TEXT}),
}
SHOW: Json = {
    "name": "show",
    "in": "query",
    "description": "1: with the heat map, and for an address with the picture.",
    "schema": {"type": "string", "enum": ["0", "1"]},
}
PICTURE = {**TEXT, "contentMediaType": "application/octet-stream", "format": "binary"}
MEANING = {
    400: "What came cannot be read; or the address is one that is not fetched.",
    403: "It does not come from the page itself.",
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


def response(description: str, schema: Json, kind: str = "application/json") -> Json:
    return {"description": description, "content": content(schema, kind)}


def responses(schema: str, *errors: int) -> Json:
    described: Json = {"200": response("The answer.", ref(schema))}
    for status in errors:
        described[str(status)] = response(MEANING[status], ref("Error"))
        if status in (429, 503):
            described[str(status)]["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    return described


def form(picture: Json, **more: Json) -> Json:
    schema = fields({"file": picture} | more, ["file"])
    return {"required": True, "content": content(schema, "multipart/form-data")}


def post(summary: str, answers: Json, body: Json, **more: Any) -> Json:
    return {"post": {"summary": summary, "responses": answers, "requestBody": body, **more}}


def get(summary: str, answers: Json) -> Json:
    return {"get": {"summary": summary, "responses": answers}}


def paths(settings: Settings) -> Json:
    """What this server answers; what is switched off is left out."""
    pictures = {"type": "array", "items": PICTURE, "minItems": 1, "maxItems": settings.batch}
    most_bytes = intake.most_bytes(settings.batch)
    unready = {"503": response("No model serves yet.", ref("Ready"))}
    counters = {"200": response("Summed over the workers.", TEXT, "text/plain")}
    described: Json = {
        "/api/predict": post(
            "Classify one picture", responses("Answer", *ONE), form(PICTURE), parameters=[SHOW]
        ),
        "/api/predict-batch": post(
            "Classify several pictures, all by one release",
            responses("Batch", *UPLOAD),
            form(pictures),
            parameters=[SHOW],
            description=f"At most {settings.batch} pictures and {most_bytes:,} bytes in one request.",
        ),
    }
    if settings.fetch:
        described["/api/predict-url"] = post(
            "Fetch a picture from a public address and classify it",
            responses("Answer", *ONE, 502, 504),
            {"required": True, "content": content(of_class(AddressRequest))},
            parameters=[SHOW],
        )
    if settings.feedback:
        label = {**TEXT, "description": "What the picture shows; empty for none of the classes."}
        predicted = {**TEXT, "description": "What the model said."}
        described["/feedback"] = post(
            "Keep what a visitor says of an answer",
            responses("Kept", *ONE, 403, 429, 507),
            form(PICTURE, label=label, predicted=predicted),
            description="From the page itself only, as Sec-Fetch-Site or Origin tells.",
        )
    return described | {
        "/api/model": get("The release that serves", responses("Model", 503)),
        "/healthz": get("Whether the process answers", responses("Alive")),
        "/readyz": get("Whether a model serves, and which", responses("Ready") | unready),
        "/metrics": get("Counters for Prometheus", counters),
    }


def document(base: str, settings: Settings) -> Json:
    """The whole description; `base` is the path prefix that a visitor sees."""
    return {
        "openapi": "3.1.0",
        "info": {"title": about.NAME, "version": about.version(), "summary": "A picture classifier."},
        "servers": [{"url": base or "/"}],
        "paths": paths(settings),
        "components": {"schemas": SCHEMAS},
    }


async def describe(request: Request[State]) -> Response:
    return JSONResponse(document(pages.path_prefix(request), request.state["settings"]))


async def page(request: Request[State]) -> Response:
    """The same for a person."""
    described = paths(request.state["settings"])
    return pages.page(request, "api.html", paths=described, origin=str(request.base_url).rstrip("/"))
