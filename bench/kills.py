"""Real runs of the pipeline, killed at random moments, and what is left of its promises.

    python -m bench.kills [--kills 100] [--seed 1] [--aim STAGE] [--home FOLDER]

Each round makes something stale (other classes, epochs, pictures or seed, or edited code), starts a run, and ends its
whole process group by SIGKILL: one time in two at a moment in the whole run, one time in two within a stage that was
chosen by chance (`--aim`: always within this one). Then it runs the same command once more, with no other step, and
notes each promise that does not hold:

* The last good release answers all the time: a visitor asks on new connections, during the runs and between them.
* What counts as complete is whole, byte for byte.
* The second run ends well, nothing is stale after it, and outputs and release are those of an undisturbed run.
* Every picture that was ever there still is, and all that a person gave.
* `greenr prune --dry-run` lists nothing but what killed runs left.

It prints a line a kill, then a table. With `--home` it goes on where it stopped; undisturbed runs are made once there.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import requests

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from greenr_luigi.operations.status import build  # noqa: E402
from greenr_luigi.serving import rollout  # noqa: E402
from greenr_luigi.sources import drawn  # noqa: E402
from greenr_luigi.staleness.requirements import run_order  # noqa: E402
from greenr_luigi.staleness.stamp import Stamp  # noqa: E402
from tests.pipeline import Pipeline, check_outputs, free_port  # noqa: E402

#: What is asked of the pipeline. All that differ in the seed judge each other's models by pictures that they know.
VARIANTS = [
    {"classes": classes, "limit": limit, "epochs": epochs, "seed": seed}
    for classes, limit, epochs, seed in [
        ("dandelion,grass", "24", "2", "42"),
        ("dandelion,grass,rose", "30", "3", "42"),
        ("dandelion,rose", "24", "2", "7"),
    ]
]
#: A module of each stage: an edit in it makes the stage stale.
MODULES = {
    "DownloadImages": "sources/collection.py",
    "SplitDataset": "dataset/split.py",
    "TrainModel": "training/train.py",
    "EvaluateModel": "evaluation/evaluate.py",
    "ExportModel": "export/onnx_export.py",
    "DeployApp": "web/pages.py",
}

PICTURE = drawn.encoded("dandelion", 999)


@dataclass
class Reference:
    """What an undisturbed run made: digests by title of the stage, the release, and how long things took in seconds."""

    digests: dict[str, str]
    release: str
    seconds: dict[str, float]
    whole: float


@dataclass
class Kill:
    """A round. `fell`: where the kill fell, `after` so many seconds; `leftovers`: how many `prune --dry-run` lists
    then; `seconds`: of the second run, in which the stages `ran`; `requests`: how many the visitor sent meanwhile."""

    variant: int
    edited: list[str]
    fell: str
    after: float
    seconds: float = 0.0
    ran: list[str] = field(default_factory=list)
    requests: int = 0
    leftovers: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        killed = f"variant {self.variant}, edited {','.join(self.edited)}: killed after {self.after:.1f} s, {self.fell}"
        again = f"ran again {','.join(self.ran) or 'nothing'} in {self.seconds:.1f} s"
        return f"{killed}; {again}: {'; '.join(self.faults) or 'all kept'}"


class Visitor(threading.Thread):
    """Asks for the release and for an answer to a picture, again and again, on new connections."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.base = f"http://127.0.0.1:{port}"
        self.asked, self.lost = 0, list[str]()
        self.seen = set[str]()
        self.gone = threading.Event()

    def run(self) -> None:
        sent: list[tuple[str, str, dict[str, bytes]]]
        sent = [("GET", "/readyz", {}), ("POST", "/api/predict", {"file": PICTURE})]
        while not self.gone.wait(0.5):
            for method, path, files in sent:
                self.asked += 1
                try:
                    answer = requests.request(method, self.base + path, files=files, timeout=30)
                    answer.raise_for_status()
                    self.seen.add(answer.json()["release"])
                except requests.RequestException as error:
                    self.lost.append(f"{path} {time.strftime('%H:%M:%S')}: {error}")


def options(variant: dict[str, str], port: int) -> list[str]:
    return [f"--{name}={value}" for name, value in variant.items()] + [f"--port={port}"]


def digests(pipeline: Pipeline, asked: list[str]) -> dict[str, str]:
    """Of the outputs of these options, by title; not of the deployment, which tells what served before."""
    told = [*pipeline.parameters("DeployApp"), "--root", str(pipeline.root), *asked]
    tasks = run_order(build("DeployApp", told, pipeline.home))[:-1]
    return {task.title: Stamp.read(task.output_folder).digest for task in tasks}


def begin(home: Path) -> Pipeline:
    """A new pipeline, in whose root lie a person's picture and files that are none of ours."""
    pipeline = Pipeline(home, "--source", "sample")
    (pipeline.root / "notes" / ".draft").mkdir(parents=True)
    for name in ("yarn.lock", ".draft/thoughts.txt"):
        (pipeline.root / "notes" / name).write_text("a person's own\n")
    (home / "mine.jpg").write_bytes(PICTURE)
    added = pipeline.greenr("add", "dandelion", str(home / "mine.jpg"))
    assert added.returncode == 0, added.stderr
    return pipeline


def undisturbed(home: Path, port: int) -> list[Reference]:
    """Run every variant in a root of its own."""
    pipeline = begin(home)
    made = []
    try:
        for number, variant in enumerate(VARIANTS):
            asked = options(variant, port)
            start = time.monotonic()
            run = pipeline.run(*asked, "--force", "DeployApp")
            whole = time.monotonic() - start
            assert run.status == 0, run.output
            current = rollout.current(pipeline.root / "releases")
            assert current is not None
            stamps = [Stamp.read(pipeline.newest_output(title)) for title in run.ran]
            seconds = {stamp.title.split("(")[0]: stamp.finished - stamp.started for stamp in stamps}
            made.append(Reference(digests(pipeline, asked), current, seconds, whole))
            print(f"undisturbed {number}: {whole:.1f} s, {variant}", flush=True)
    finally:
        pipeline.stop()
    return made


def edit(pipeline: Pipeline, stage: str, number: int) -> None:
    """Change the code of a stage, and nothing that it does."""
    path = pipeline.code / "greenr_luigi" / MODULES[stage]
    path.write_text(path.read_text().partition("\nEDITION")[0] + f"\nEDITION = {number}\n")


def pictures(root: Path) -> set[str]:
    """The names, which are digests, of all pictures that outputs hold."""
    return {path.name for path in root.glob("DownloadImages/*/pictures/*")}


def persons(root: Path) -> dict[str, bytes]:
    """All that a person gave: their pictures, their decisions, and folders that are none of ours."""
    paths = [root / "curation.csv", *(root / "added").rglob("*"), *(root / "notes").rglob("*")]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths if path.is_file()}


def foreign(listed: str, root: Path) -> list[str]:
    """Lines of `greenr prune --dry-run --keep 99` that name no leftover: a hidden entry, to which no output points, in
    the folder of a stage or of the releases, or the lock of an output that is not there."""
    ours = {root / name for name in (*MODULES, "releases")}
    used = {path.resolve() for path in root.glob("*/[!.]*") if path.is_symlink()}
    wrong = []
    for line in listed.splitlines():
        if line.startswith("would remove"):
            what, name = re.split(r"\s{2,}", line)[-2:]
            path = root / name
            left = what == "leftover" and path.name.startswith(".") and path not in used
            lock = what == "lock" and path.suffix == ".lock" and not path.with_suffix("").is_symlink()
            if path.parent not in ours or not (left or lock):
                wrong.append(line)
    return wrong


class Rounds:
    def __init__(self, home: Path, references: list[Reference], port: int, seed: str, aim: str) -> None:
        self.references, self.port, self.aim = references, port, aim
        self.chance = random.Random(seed)
        self.pipeline = begin(home)
        self.root = self.pipeline.root
        self.serving = 0
        self.edition = 0
        run = self.pipeline.run(*options(VARIANTS[0], port))
        assert run.status == 0, run.output

    def round(self) -> Kill:
        """Until a kill has come before the run's end."""
        while True:
            other = self.chance.random() < 0.4
            variant = self.chance.randrange(len(VARIANTS)) if other else self.serving
            stage = self.aim or self.chance.choice([*MODULES])
            edited = sorted(
                {stage, *(name for name in MODULES if self.chance.random() < 0.1)}, key=[*MODULES].index
            )
            for name in edited:
                self.edition += 1
                edit(self.pipeline, name, self.edition)
            kill = self.kill(variant, edited, stage if self.aim or self.chance.random() < 0.5 else "")
            if kill.fell:
                return kill

    def kill(self, variant: int, edited: list[str], aimed: str) -> Kill:
        pipeline, root, expected = self.pipeline, self.root, self.references[variant]
        before, had, given = rollout.current(root / "releases"), pictures(root), persons(root)
        asked = options(VARIANTS[variant], self.port)
        same_seed = VARIANTS[variant]["seed"] == VARIANTS[self.serving]["seed"]
        forced = [] if same_seed else ["--force", "DeployApp"]
        visitor = Visitor(self.port)
        visitor.start()
        process = pipeline.start(*asked, *forced)
        start = time.monotonic()
        said = self.wait(process, expected, edited, aimed)
        alive = process.poll() is None
        after = time.monotonic() - start
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        said += process.communicate()[0]
        kill = Kill(variant, edited, where(said) if alive else "", after)

        def promise(kept: object, words: str) -> None:
            if not kept:
                kill.faults.append(words)

        def nothing_lost(when: str) -> None:
            try:
                check_outputs(pipeline)
            except (AssertionError, OSError, ValueError) as error:
                promise(False, f"{when}, an output that looks complete is not whole: {error}")
            promise(had <= pictures(root), f"{when}, pictures are gone: {sorted(had - pictures(root))[:3]}")
            promise(persons(root) == given, f"{when}, what a person gave is not as it was")

        nothing_lost("killed")
        pruned = pipeline.greenr("prune", "--dry-run", "--keep", "99")
        promise(pruned.returncode == 0, f"prune --dry-run: {pruned.stderr}")
        kill.leftovers = pruned.stdout.count("would remove")
        promise(not (wrong := foreign(pruned.stdout, root)), f"prune would remove {wrong}")
        start = time.monotonic()
        run = pipeline.run(*asked, *forced)
        kill.seconds, kill.ran = time.monotonic() - start, list(run.ran)
        promise(run.status == 0, f"the second run ends with {run.status}: {run.output[-3000:]}")
        if run.status == 0:
            self.serving = variant
            nothing_lost("run again")
            promise(not (causes := pipeline.causes(*asked)), f"stale after the second run: {causes}")
            promise(digests(pipeline, asked) == expected.digests, "outputs differ from an undisturbed run's")
            promise(
                rollout.current(root / "releases") == expected.release, "another release than undisturbed"
            )
        visitor.gone.set()
        visitor.join()
        kill.requests = visitor.asked
        promise(not visitor.lost, f"{len(visitor.lost)} requests lost: {visitor.lost[:3]}")
        strange = visitor.seen - {before, expected.release}
        promise(not strange, f"other releases answered: {strange}")
        return kill

    def wait(self, process: subprocess.Popen[str], expected: Reference, edited: list[str], aimed: str) -> str:
        """Until the moment of the kill, or the end of the run; returns what the run said until then."""
        assert process.stdout is not None
        said = []
        if aimed:
            for line in process.stdout:
                said.append(line)
                if re.search(rf"{aimed}\S* runs:", line):
                    break
            most = 1.1 * expected.seconds.get(aimed, 1.0)
        else:
            start = expected.whole - sum(expected.seconds.values())
            most = 1.1 * (start + sum(expected.seconds.get(stage, 1.0) for stage in edited))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=self.chance.random() * most)
        return "".join(said)


def where(said: str) -> str:
    """The stage in which a run ended that said so much."""
    told = re.findall(r"INFO: (\w+)\S* runs: |Worker .* done +(\w+)\(", said)
    if not told:
        return "before the first stage"
    running, done = told[-1]
    return running or f"after {done}"


def show(kills: list[Kill]) -> None:
    """The table of all kills so far."""
    print(f"\n{'where the kill fell':26} kills  promises broken")
    counted = collections.Counter(kill.fell for kill in kills)
    for fell, count in sorted(counted.items()):
        print(f"{fell:26} {count:5}  {sum(bool(kill.faults) for kill in kills if kill.fell == fell):5}")
    again = [kill.seconds for kill in kills]
    print(f"{'all':26} {len(kills):5}  {sum(bool(kill.faults) for kill in kills):5}")
    print(f"second run: median {statistics.median(again):.1f} s, at most {max(again):.1f} s")
    asked, left = sum(kill.requests for kill in kills), sum(kill.leftovers for kill in kills)
    print(f"{asked:,} requests meanwhile; prune would have removed {left} leftovers")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", default="1", help="of the random numbers (default: 1)")
    parser.add_argument("--aim", choices=MODULES, default="", help="kill within this stage")
    parser.add_argument("--home", type=Path, help="folder to work in, and to go on in; else a temporary one")
    arguments = parser.parse_args()
    os.nice(1)
    with contextlib.ExitStack() as stack:
        home = arguments.home or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        home.mkdir(parents=True, exist_ok=True)
        port, log, reference = free_port(), home / "kills.jsonl", home / "undisturbed.json"
        if not reference.exists():
            made = undisturbed(home / "undisturbed", port)
            reference.write_text(json.dumps([asdict(one) for one in made]))
        references = [Reference(**one) for one in json.loads(reference.read_text())]
        rounds = Rounds(home / f"killed-{time.time_ns()}", references, port, arguments.seed, arguments.aim)
        stack.callback(rounds.pipeline.stop)
        kills = [Kill(**json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []
        for number in range(1, arguments.kills + 1):
            kill = rounds.round()
            kills.append(kill)
            with log.open("a") as file:
                file.write(json.dumps(asdict(kill)) + "\n")
            print(f"{number:4} {kill}", flush=True)
        show(kills)
    return any(kill.faults for kill in kills)


if __name__ == "__main__":
    sys.exit(main())
