"""The description of the JSON side in OpenAPI 3.1, at /api/openapi.json; a test holds the server to it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from greenr_luigi.pictures.door import MAX_BYTES
from greenr_luigi.web import intake, pages
from greenr_luigi.web.settings import Settings
from greenr_luigi.web.state import State

Json = dict[str, Any]
#: What programs may tell refusals by; a test holds the code and docs/serving.md to it.
CODES = [
    "no-picture", "no-address", "show", "upload-malformed", "upload-broken", "upload-slow", "upload-too-large",
    "upload-too-many",
    "picture-format", "picture-broken", "picture-too-small", "picture-too-large", "address-refused",
    "address-unreachable", "address-slow", "address-disabled", "busy", "no-model", "too-slow", "feedback-off",
    "feedback-full", "foreign", "too-often", "no-label", "not-found", "method-not-allowed", "refused", "internal",
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
    "Error": fields(
        {
            "error": fields(
                {
                    "status": {"type": "integer"},
                    "code": {**TEXT, "enum": CODES},
                    "message": {**TEXT, "description": "What to do, for a person."},
                }
            )
        }
    ),
    "Batch": fields(
        {
            "answers": {
                "type": "array",
                "description": "In the order of the pictures; one that is refused (413, 415, 422) has its own error.",
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


def answers(schema: str, *errors: int) -> Json:
    found: Json = {"200": {"description": "The answer.", "content": content(ref(schema))}}
    for status in errors:
        found[str(status)] = {"description": MEANING[status], "content": content(ref("Error"))}
        if status in (429, 503):
            found[str(status)]["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    return found


def operation(summary: str, responses: Json, **more: Any) -> Json:
    return {"summary": summary, "responses": responses, **more}


def form(schema: Json, more: Json | None = None) -> Json:
    described = fields({"file": schema} | (more or {}), ["file"])
    return {"required": True, "content": content(described, "multipart/form-data")}


UPLOAD = (400, 408, 413, 503)
ONE = (*UPLOAD, 415, 422)


def paths(settings: Settings) -> Json:
    """What this server answers; what is switched off is left out."""
    # As `Intake.form` counts.
    most = MAX_BYTES * min(settings.batch, 3) + intake.OVERHEAD
    found: Json = {
        "/api/predict": {
            "post": operation(
                "Classify one picture", answers("Answer", *ONE), parameters=[SHOW], requestBody=form(PICTURE)
            )
        },
        "/api/predict-batch": {
            "post": operation(
                "Classify several pictures, all by one release",
                answers("Batch", *UPLOAD),
                description=f"At most {settings.batch} pictures and {most:,} bytes in one request.",
                parameters=[SHOW],
                requestBody=form(
                    {"type": "array", "items": PICTURE, "minItems": 1, "maxItems": settings.batch}
                ),
            )
        },
    }
    if settings.fetch:
        found["/api/predict-url"] = {
            "post": operation(
                "Fetch a picture from a public address and classify it",
                answers("Answer", *ONE, 502, 504),
                parameters=[SHOW],
                requestBody={"required": True, "content": content(fields({"url": {**TEXT, "minLength": 1}}))},
            )
        }
    if settings.feedback:
        label = {**TEXT, "description": "What the picture shows; empty for none of the classes."}
        predicted = {**TEXT, "description": "What the model said."}
        found["/feedback"] = {
            "post": operation(
                "Keep what a visitor says of an answer",
                answers("Kept", *ONE, 403, 429, 507),
                description="From the page itself only, as Sec-Fetch-Site or Origin tells.",
                requestBody=form(PICTURE, {"label": label, "predicted": predicted}),
            )
        }
    unready = {"503": {"description": "No model serves yet.", "content": content(ref("Ready"))}}
    counters = {"200": {"description": "Summed over the workers.", "content": content(TEXT, "text/plain")}}
    return found | {
        "/api/model": {"get": operation("The release that serves", answers("Model", 503))},
        "/healthz": {"get": operation("Whether the process answers", answers("Alive"))},
        "/readyz": {"get": operation("Whether a model serves, and which", answers("Ready") | unready)},
        "/metrics": {"get": operation("Counters for Prometheus", counters)},
    }


def document(base: str, settings: Settings) -> Json:
    """The whole description; `base` is the path prefix that a visitor sees."""
    try:
        release = version("greenr_luigi")
    except PackageNotFoundError:
        release = "0"
    return {
        "openapi": "3.1.0",
        "info": {"title": "greenr_luigi", "version": release, "summary": "A picture classifier."},
        "servers": [{"url": base or "/"}],
        "paths": paths(settings),
        "components": {"schemas": SCHEMAS},
    }


async def describe(request: Request[State]) -> Response:
    return JSONResponse(document(request.scope.get("root_path", ""), request.state["settings"]))


async def page(request: Request[State]) -> Response:
    """The same for a person."""
    described = paths(request.state["settings"])
    return pages.page(request, "api.html", paths=described, origin=str(request.base_url).rstrip("/"))
