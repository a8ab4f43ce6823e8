"""Our server beside the tutorial's way, LitServe and BentoML: one run, one model, the same pictures, ratios.

    python -m bench.serving --releases data/releases --photos PHOTOS --others OTHERS_PYTHON

OTHERS_PYTHON: a Python that has litserve, bentoml and fastai. The ways take turns, `--rounds` times, so that what
else the machine does touches all of them. Prints Markdown tables; numbers are medians over the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.load import Measured, drive, multipart
from greenr_luigi.export.model_card import read_card
from greenr_luigi.serving import processes, publishing, readiness, releases, rollout, server
from greenr_luigi.serving.service import Service
from greenr_luigi.web.model import fast_integers, load

HERE = Path(__file__).resolve().parent
#: Name, command after the port is known, path.
WAYS = {
    "tutorial": (
        ["-m", "uvicorn", "tutorial:app", "--workers", "2", "--log-level", "warning", "--port"],
        "/predict",
    ),
    "LitServe": (["lit.py"], "/predict"),
    "BentoML": (
        ["-m", "bentoml", "serve", "bento:Classifier", "--host", "127.0.0.1", "-q", "--port"],
        "/predict",
    ),
}
#: The same ways on the file in 8-bit integers, where a release has one.
WAYS |= {f"{name}, int8": WAYS[name] for name in ("LitServe", "BentoML")}

#: LitServe calls the form field by its argument.
FIELDS = {"LitServe": "request", "LitServe, int8": "request"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextlib.contextmanager
def started(
    python: str, name: str, environment: dict[str, str], request: bytes, port: int
) -> Iterator[tuple[int, float]]:
    """One of the other ways, ready to answer; yields its session and the seconds that took."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        running = subprocess.Popen(
            [python, *WAYS[name][0], str(port)],
            cwd=HERE / "ways",
            env=os.environ | environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            while drive(port, [request], 1, 0.2).statuses[200] == 0:
                if running.poll() is not None or time.perf_counter() - began > 120:
                    log.seek(0)
                    raise SystemExit(f"{name} does not answer:\n{log.read().decode()[-3000:]}")
            yield running.pid, time.perf_counter() - began
        finally:
            os.killpg(running.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)


def resident(pids: list[int]) -> list[float]:
    """Megabytes of each process, shared pages included."""
    page = os.sysconf("SC_PAGE_SIZE") / 2**20
    return [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in pids]


def cpu(leader: int) -> float:
    """Seconds of processor time that a process, its session and its descendants have used so far."""
    seen: dict[int, tuple[int, int, int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            seen[int(path.parent.name)] = (int(fields[1]), int(fields[3]), sum(map(int, fields[11:15])))

    def belongs(pid: int) -> bool:
        parent, session, _ = seen.get(pid, (0, 0, 0))
        return pid == leader or session == leader or (parent in seen and belongs(parent))

    return sum(ticks for pid, (_, _, ticks) in seen.items() if belongs(pid)) / os.sysconf("SC_CLK_TCK")


def whole(numbers: list[float]) -> list[int]:
    return [round(number) for number in numbers]


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )


def floor(store: Path, digest: str, photos: list[bytes], int8: bool) -> float:
    """Milliseconds of decoding and inference of one picture on one core, in a bare loop: the best of five."""
    model = load(store, digest, int8)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        for data in photos:
            model.answer(data)
        times.append((time.perf_counter() - began) / len(photos))
    return 1000 * min(times)


def both_cores(store: Path, digest: str, folder: Path, int8: bool) -> float:
    """Pictures a second that two bare loops get out of two cores at the same time: what a server can reach."""
    code = (
        "import sys,time;from pathlib import Path;from greenr_luigi.web.model import load\n"
        "m=load(Path(sys.argv[1]),sys.argv[2],bool(sys.argv[4]))\n"
        "p=[x.read_bytes() for x in sorted(Path(sys.argv[3]).glob('*/*'))[:60]]\n"
        "[m.answer(x) for x in p[:20]];b=time.perf_counter();n=0\n"
        "while time.perf_counter()-b<6: m.answer(p[n%len(p)]);n+=1\n"
        "print(n/(time.perf_counter()-b))"
    )
    command = [sys.executable, "-c", code, str(store), digest, str(folder), "1" if int8 else ""]
    loops = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    return sum(float(loop.communicate()[0]) for loop in loops)


def table(found: dict[str, list[Measured]], floors: dict[str, float]) -> None:
    ours = statistics.median(one.rate for one in found["ours"])
    print("| way | requests/s | p50 ms | p99 ms | ours is | of its floor | CPU ms a request |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, runs in found.items():
        rate = statistics.median(one.rate for one in runs)
        p50, p99 = (statistics.median(one.percentile(q) for one in runs) for q in (0.5, 0.99))
        best = floors["int8" if "int8" in floors and (name == "ours" or name.endswith("int8")) else "float32"]
        used = 1000 * statistics.median(one.cpu / max(1, len(one.latencies)) for one in runs)
        print(
            f"| {name} | {rate:.1f} | {p50:.0f} | {p99:.0f} | {ours / rate:.2f} × | {rate / best:.0%} | {used:.1f} |"
        )
    print()


def merged(runs: list[Measured]) -> Measured:
    """Runs as one. Each has connections of its own: which worker gets how many is part of what is measured."""
    return Measured(
        sum(run.seconds for run in runs),
        [x for run in runs for x in run.latencies],
        sum((run.statuses for run in runs), Counter()),
        lost=sum(run.lost for run in runs),
    )


def swaps(
    store: Path, run_dir: Path, port: int, requests: list[bytes], digests: list[str], count: int
) -> None:
    """Swap `count` times under load."""
    pids = list(readiness.wait_for_release(run_dir, rollout.current(store) or "", 30).workers)
    quiet = merged([drive(port, requests, 4, 5) for _ in range(4)])
    before = resident(pids)
    code = (
        "import sys;from pathlib import Path;from greenr_luigi.serving import readiness,rollout\n"
        "s,r,n=Path(sys.argv[1]),Path(sys.argv[2]),int(sys.argv[3]);d=sys.argv[4:]\n"
        "for k in range(n): rollout.point(s,d[(k+1)%len(d)]); readiness.wait_for_release(r,d[(k+1)%len(d)],60)"
    )
    began = time.perf_counter()
    swapper = subprocess.Popen([sys.executable, "-c", code, str(store), str(run_dir), str(count), *digests])
    runs = []
    while swapper.poll() is None:
        runs.append(drive(port, requests, 4, 5))
    took = time.perf_counter() - began
    if swapper.returncode:
        raise SystemExit("the swapping failed: see above")
    busy = merged(runs)
    after = resident(list(readiness.wait_for_release(run_dir, rollout.current(store) or "", 30).workers))
    print(f"{count} swaps in {took:.0f} s under 4 connections: {dict(busy.statuses)}, {busy.lost} lost")
    for name, one in (("quiet", quiet), ("while swapping", busy)):
        print(f"  {name}: p50 {one.percentile(0.5):.0f} ms, p99 {one.percentile(0.99):.0f} ms")
    print(f"  resident MB a worker: {whole(before)} before, {whole(after)} after\n")


def replaced(run_dir: Path, digest: str, pids: list[int]) -> None:
    """How long until a worker that was killed has a successor that answers."""
    processes.kill(processes.Process(pids[0], *processes.origin(pids[0])), signal.SIGKILL, 10)
    began = time.perf_counter()
    while pids[0] in (now := readiness.wait_for_release(run_dir, digest, 30).workers) or len(now) < len(pids):
        continue
    took = time.perf_counter() - began
    print(
        f"a killed worker is replaced by one that answers in {took:.2f} s; {whole(resident(list(now)))} MB resident\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--releases", type=Path, required=True, help="a release store")
    parser.add_argument("--photos", type=Path, required=True, help="a folder of folders of small JPEGs")
    parser.add_argument(
        "--others", default="", help="a Python with litserve, bentoml and fastai; none: only ours"
    )
    parser.add_argument("--ways", default=";".join(WAYS), help="names with ; between them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--swaps", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        store, run_dir = Path(temporary, "releases"), Path(temporary, "server")
        source = given.releases
        digests = [
            publishing.publish(store, (source / digest).iterdir())
            for digest in releases.releases(source)[-2:]
        ]
        rollout.point(store, digests[-1])
        try:
            compare(store, run_dir, digests, given)
        finally:
            for one in (run_dir, run_dir.with_name("float32")):
                server.stop(one)


def compare(store: Path, run_dir: Path, digests: list[str], given: argparse.Namespace) -> None:
    digest = digests[-1]
    photos = [path.read_bytes() for path in sorted(given.photos.glob("*/*"))[:60]]
    card = read_card(store / digest)
    integers = (store / digest / "model.int8.onnx").exists() and fast_integers()
    environment = {
        "BENCH_ONNX": str(store / digest / "model.onnx"),
        "BENCH_PICKLE": str(store / digest / "export.pkl"),
        "BENCH_SIZE": str(card.image_size),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(HERE.parent),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    mean = sum(map(len, photos)) // len(photos)
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{len(photos)} JPEGs of {mean:,} bytes, {card.arch} at {card.image_size}\n")
    floors = {}
    for precision in ("int8", "float32") if integers else ("float32",):
        alone = floor(store, digest, photos, precision == "int8")
        floors[precision] = both_cores(store, digest, given.photos, precision == "int8")
        print(
            f"floor in {precision}: decode and inference {alone:.1f} ms alone on a core; "
            f"two bare loops on both cores {floors[precision]:.1f}/s\n"
        )
    began = time.perf_counter()
    running = server.ensure(Service(store, run_dir, workers=2), digest, 60)
    print(
        f"ours ready in {time.perf_counter() - began:.2f} s (gunicorn, two workers, the model and its self-test); "
        f"resident {whole(resident(list(running.workers)))} MB a worker when idle\n"
    )
    ours = {"ours": running}
    if integers:
        os.environ["GREENR_INT8"] = "0"
        ours["ours, float32"] = server.ensure(
            Service(store, run_dir.with_name("float32"), workers=2), digest, 60
        )
        del os.environ["GREENR_INT8"]
    found: dict[str, list[Measured]] = {name: [] for name in ours}
    ports = {name: one.port for name, one in ours.items()}
    paths = dict.fromkeys(ours, "/api/predict")
    leaders = {name: os.getsid(one.pid) for name, one in ours.items()}
    with contextlib.ExitStack() as stack:
        for name in filter(None, given.ways.split(";") if given.others else []):
            if name.endswith("int8") and not integers:
                continue
            ports[name], paths[name] = free_port(), WAYS[name][1]
            request = multipart(paths[name], photos[0], ports[name], FIELDS.get(name, "file"))
            file = "model.int8.onnx" if name.endswith("int8") else "model.onnx"
            chosen = environment | {"BENCH_ONNX": str(store / digest / file)}
            leaders[name], took = stack.enter_context(
                started(given.others, name, chosen, request, ports[name])
            )
            print(f"{name} ready in {took:.1f} s\n")
            found[name] = []
        requests = {
            name: [multipart(paths[name], data, port, FIELDS.get(name, "file")) for data in photos]
            for name, port in ports.items()
        }
        for name in found:
            drive(ports[name], requests[name], 8, 2)
        for _ in range(given.rounds):
            for name in found:
                before = cpu(leaders[name])
                found[name].append(drive(ports[name], requests[name], 8, given.seconds))
                found[name][-1].cpu = cpu(leaders[name]) - before
        print("8 connections:\n")
        table(found, floors)
        for name, runs in found.items():
            bad = {status: n for run in runs for status, n in run.statuses.items() if status != 200}
            if bad or any(run.lost for run in runs):
                print(f"{name}: statuses {bad}, lost {sum(run.lost for run in runs)}\n")
    pids = list(running.workers)
    crowd = drive(running.port, requests["ours"], 64, given.seconds)
    away = sorted(crowd.turned_away)
    prompt = 1000 * away[len(away) // 2] if away else 0
    print(
        f"ours at 64 connections: {crowd.rate:.1f}/s answered, p99 {crowd.percentile(0.99):.0f} ms, {crowd.lost} lost;"
    )
    print(
        f"  {len(away)} told to come again, half of them within {prompt:.0f} ms; resident {whole(resident(pids))} MB\n"
    )
    heat(running.port, requests["ours"])
    replaced(run_dir, digest, pids)
    if given.swaps:
        swaps(store, run_dir, running.port, requests["ours"], digests, given.swaps)


def heat(port: int, requests: list[bytes]) -> None:
    """What `show=1`, the heat map as a picture, costs a request."""
    shown = [one.replace(b"/api/predict ", b"/api/predict?show=1 ", 1) for one in requests]
    plain, drawn = drive(port, requests, 1, 5), drive(port, shown, 1, 5)
    print(
        f"one connection: p50 {plain.percentile(0.5):.1f} ms, with the heat map drawn {drawn.percentile(0.5):.1f} ms\n"
    )


if __name__ == "__main__":
    main()
