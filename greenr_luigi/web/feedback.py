"""What visitors say of answers: off unless switched on; kept beside the store, for a person to look through.

feedback/<label>/<sha16>.<ext>    the picture, as it came; gone once `greenr review` has decided about it
feedback/feedback.jsonl           a line a verdict: file, label, predicted, release, sha256, when
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from greenr_luigi import files
from greenr_luigi.pictures import door, manifest
from greenr_luigi.serving import releases
from greenr_luigi.web import intake
from greenr_luigi.web.problem import Problem, unusable
from greenr_luigi.web.security import visitor
from greenr_luigi.web.settings import Settings

#: Says that the picture shows none of the classes; no class can be named so, since labels are not empty.
NEITHER = ""
#: Its folder. No label's folder is called so: `manifest.folder_name` writes % as %25.
NONE = "%none"
#: Verdicts of one visitor and of all, in a worker in a minute, and visitors remembered.
A_MINUTE, OF_ALL = 20, 200
VISITORS = 10_000
#: Bytes kept at most; then feedback is refused until a person has looked through it.
MOST_BYTES = 2 * 2**30


class Feedback:
    """One worker's side of the feedback folder."""

    def __init__(self, settings: Settings) -> None:
        self.on = settings.feedback
        self.folder = folder(settings.store)
        self.heard: OrderedDict[str, list[float]] = OrderedDict()
        self.all: list[float] = []

    def admit(self, visitor: str) -> None:
        """Count a visitor's verdict. Raises Problem: 429 for more than A_MINUTE in a minute, or OF_ALL of all: who
        has many addresses is many visitors."""
        now = time.monotonic()
        recent = [when for when in self.heard.pop(visitor, []) if now - when < 60]
        self.all = [when for when in self.all if now - when < 60]
        if len(recent) >= A_MINUTE or len(self.all) >= OF_ALL:
            self.heard[visitor] = recent
            raise Problem(429, "too-often", "that is a lot of feedback: go on in a minute", retry_after=60)
        self.heard[visitor] = [*recent, now]
        self.all.append(now)
        while len(self.heard) > VISITORS:
            self.heard.popitem(last=False)

    def keep(self, data: bytes, label: str, predicted: str, release: str) -> str:
        """Store a picture under a label; returns its file's name in the folder. Raises Problem."""
        try:
            door.open_picture(data, at_least=door.MIN_SIDE)
            digest, ending = door.sha256(data), door.suffix(data)
        except door.UnusablePicture as error:
            raise unusable(error) from None
        name = f"{folder_name(label)}/{digest[:16]}{ending}"
        place = self.folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with (self.folder / "feedback.jsonl").open("a", encoding="utf-8") as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            held = sum(one.stat().st_size for one in [*self.folder.glob("*/*"), *self.folder.glob("*.jsonl")])
            if held + len(data) > MOST_BYTES:
                raise Problem(
                    507, "feedback-full", "there is no room for more feedback: tell who runs this page"
                )
            row = {"file": name, "label": label, "predicted": predicted, "release": release, "sha256": digest}
            # The line first: one without a picture says nothing, a picture without one would never be looked at.
            log.write(json.dumps({**row, "when": releases.now()}, ensure_ascii=False) + "\n")
            log.flush()
            if not place.exists():
                files.write(place, data)
        return name


async def give(request: Request[Any]) -> Response:
    """A picture (`file`) and what it shows (`label`, empty for none of the classes)."""
    kept, model = request.state["feedback"], request.state["classifier"].model
    if not kept.on:
        raise Problem(403, "feedback-off", "feedback is switched off here (GREENR_FEEDBACK=1 switches it on)")
    if not same_origin(request.headers):
        raise Problem(403, "foreign", "feedback is taken from this page only")
    kept.admit(visitor(request.scope))
    async with request.state["intake"].form(request) as form:
        found = await intake.uploads(form)
        label, predicted = str(form.get("label", NEITHER)), str(form.get("predicted", ""))
        if len(found) != 1:
            raise Problem(400, "no-picture", "no picture came: send it in the form field 'file'")
        if model is None or (label != NEITHER and label not in model.classes):
            raise Problem(400, "no-label", "the model knows no such class: choose one of the page's")
        if predicted not in model.classes:
            predicted = ""
        name = await request.state["classifier"].submit(
            kept.keep, found[0][1], label, predicted, model.digest
        )
    return JSONResponse({"kept": name})


def same_origin(headers: Headers) -> bool:
    """Whether a browser says that its own page sends this; a program that says nothing is not heard."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin", "")
    if site is not None:
        return site == "same-origin"
    try:
        return bool(origin) and urlsplit(origin).netloc == headers.get("host")
    except ValueError:  # No address: "http://[".
        return False


def folder_name(label: str) -> str:
    """The folder of a verdict, named as every other folder of a label is."""
    return NONE if label == NEITHER else manifest.folder_name(label)


def read(place: Path) -> list[dict[str, str]]:
    """The verdicts in a feedback folder whose picture is still there, the oldest first. A line that a killed worker
    left half-written says nothing."""
    found = []
    log = place / "feedback.jsonl"
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            row = json.loads(line)
            if (place / row["file"]).is_file():
                found.append(row)
    return found


def folder(store: Path) -> Path:
    """Where feedback about the releases of a store lies."""
    return store.resolve().parent / "feedback"
