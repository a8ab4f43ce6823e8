"""The description of the JSON side in OpenAPI 3.1, at /api/openapi.json; a test holds the server to it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from greenr_luigi.web import pages
from greenr_luigi.web.state import State

Json = dict[str, Any]


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


TEXT: Json = {"type": "string"}
RATE: Json = {"type": "number", "minimum": 0, "maximum": 1}
ANSWER = {
    "label": {**TEXT, "description": "The class with the highest probability."},
    "sure": {
        "type": "boolean",
        "description": "Whether that probability reaches the threshold, of a familiar picture.",
    },
    "familiar": {
        "type": "boolean",
        "description": "Whether the picture is like those that the model has learned from.",
    },
    "threshold": RATE,
    "probabilities": {
        "type": "object",
        "additionalProperties": RATE,
        "description": "Every class, the most probable first.",
    },
    "release": {**TEXT, "pattern": "^[0-9a-f]{16}$"},
}
DRAWN = {
    "heat": {**TEXT, "description": "With show=1: where the evidence lies, a PNG as a data address."},
    "picture": {**TEXT, "description": "With show=1, for an address: the picture, a JPEG as a data address."},
}
SCHEMAS: Json = {
    "Answer": fields(ANSWER | DRAWN, sorted(ANSWER)),
    "Error": fields({"error": fields({"status": {"type": "integer"}, "code": TEXT, "message": TEXT})}),
    "Batch": fields(
        {
            "answers": {
                "type": "array",
                "items": {
                    "allOf": [fields({"name": TEXT}), {"anyOf": [ref("Answer"), ref("Error")]}],
                },
            }
        }
    ),
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
    403: "Switched off here.",
    408: "The request came too slowly.",
    413: "Too many bytes or pixels.",
    415: "Not a picture in a known format.",
    422: "A picture that is broken, or too small.",
    502: "The address cannot be read.",
    503: "Too busy, or no model yet; Retry-After says when to try again.",
    504: "The address does not answer in time.",
}


def answers(schema: str, *errors: int) -> Json:
    found: Json = {"200": {"description": "The answer.", "content": content(ref(schema))}}
    for status in errors:
        found[str(status)] = {"description": MEANING[status], "content": content(ref("Error"))}
        if status == 503:
            found["503"]["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    return found


def operation(summary: str, responses: Json, **more: Any) -> Json:
    return {"summary": summary, "responses": responses, **more}


def form(schema: Json) -> Json:
    return {"required": True, "content": content(fields({"file": schema}), "multipart/form-data")}


UPLOAD = (400, 408, 413, 415, 422, 503)
PATHS: Json = {
    "/api/predict": {
        "post": operation(
            "Classify one picture", answers("Answer", *UPLOAD), parameters=[SHOW], requestBody=form(PICTURE)
        )
    },
    "/api/predict-batch": {
        "post": operation(
            "Classify several pictures, all by one release",
            answers("Batch", *UPLOAD),
            parameters=[SHOW],
            requestBody=form({"type": "array", "items": PICTURE, "minItems": 1, "maxItems": 16}),
        )
    },
    "/api/predict-url": {
        "post": operation(
            "Fetch a picture from a public address and classify it",
            answers("Answer", *UPLOAD, 403, 502, 504),
            parameters=[SHOW],
            requestBody={"required": True, "content": content(fields({"url": {**TEXT, "minLength": 1}}))},
        )
    },
    "/api/model": {"get": operation("The release that serves", answers("Model", 503))},
    "/healthz": {"get": operation("Whether the process answers", answers("Alive"))},
    "/readyz": {
        "get": operation(
            "Whether a model serves, and which",
            answers("Ready")
            | {"503": {"description": "No model serves yet.", "content": content(ref("Ready"))}},
        )
    },
}


def document(base: str) -> Json:
    """The whole description; `base` is the path prefix that a visitor sees."""
    try:
        release = version("greenr_luigi")
    except PackageNotFoundError:
        release = "0"
    return {
        "openapi": "3.1.0",
        "info": {"title": "greenr_luigi", "version": release, "summary": "A picture classifier."},
        "servers": [{"url": base or "/"}],
        "paths": PATHS,
        "components": {"schemas": SCHEMAS},
    }


async def describe(request: Request[State]) -> Response:
    return JSONResponse(document(request.scope.get("root_path", "")))


async def page(request: Request[State]) -> Response:
    """The same for a person."""
    return pages.page(request, "api.html", paths=PATHS, origin=str(request.base_url).rstrip("/"))
