"""The grid of `greenr review` with 10,000 pictures, in headless Chromium.

`python -m bench.review_grid [--pictures 10000] [--root DIR]` prints the table of docs/benchmarks.md.
The pictures are drawn blotches of 480 x 360 pixels that go through the graph to a data set; with `--root`, a data root
that holds one is looked at instead. The page is loaded without kept thumbnails and with them; scrolled to its end in
`--seconds`, and as it would be if all cells were there at once (`content-visibility: auto`, `loading=lazy`), in turns.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.support.ui import WebDriverWait

sys.path.insert(0, os.fspath(Path(__file__).parent.parent))

from greenr_luigi.kept import THUMBNAILS
from tests.web.browser import chromium

CLASSES = ("dandelion", "grass")
#: Pixels a millisecond of a person who looks at each row for a moment.
READING = 1.5
IN_SIGHT = """[...document.querySelectorAll('.cell')].filter((cell) => {
  const box = cell.getBoundingClientRect(); return box.bottom > 0 && box.top < innerHeight; })"""
DRAWN = f"""
const cells = document.querySelector('#wall[aria-busy=false]') ? {IN_SIGHT} : [];
return cells.length > 0 && cells.every((cell) => cell.firstElementChild.complete && cell.firstElementChild.naturalWidth)
"""
SCROLL = """
const [seconds, speed, done] = arguments;
const gaps = [], nodes = [], tasks = [];
const watch = new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration)));
watch.observe({ entryTypes: ["longtask"] });
const whole = document.documentElement.scrollHeight - innerHeight;
const height = speed === null ? whole : Math.min(whole, 1000 * seconds * speed);
const began = performance.now();
let before = began;
function frame(now) {
  gaps.push(now - before);
  before = now;
  if (gaps.length % 30 === 0) nodes.push(document.getElementsByTagName("*").length);
  const part = (now - began) / 1000 / seconds;
  scrollTo({ top: Math.min(1, part) * height, behavior: "instant" });
  if (part < 1) return requestAnimationFrame(frame);
  watch.disconnect();
  done({ gaps: gaps.slice(1), nodes: Math.max(...nodes), tasks, height });
}
requestAnimationFrame(frame);
"""
#: The page as it would be without a window: every picture's cell at once.
ALL_AT_ONCE = """
const done = arguments[0];
fetch(`grid/list${location.search}`).then((answer) => answer.json()).then(({ pictures }) => {
  const wall = document.getElementById("wall"), old = wall.cloneNode(false);
  const size = getComputedStyle(wall).getPropertyValue("--size");
  wall.replaceWith(old);
  old.style.height = "auto";
  old.style.display = "grid";
  old.style.gap = "8px";
  old.style.gridTemplateColumns = `repeat(auto-fill, ${size})`;
  for (const [id] of pictures) {
    const cell = document.createElement("div"), photo = new Image();
    cell.className = "cell";
    cell.setAttribute("role", "option");
    cell.style.position = "relative";
    cell.style.contentVisibility = "auto";
    cell.style.containIntrinsicSize = size;
    photo.loading = "lazy";
    photo.alt = "";
    photo.src = `grid/thumbnail/${id}`;
    cell.append(photo, document.createElement("span"));
    old.append(cell);
  }
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())));
});
"""


def picture(number: int) -> bytes:
    rng = random.Random(number)
    image = Image.frombytes("RGB", (12, 9), rng.randbytes(324)).resize((480, 360), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def collect(folder: Path, count: int) -> Path:
    """A data root with that many pictures in a data set."""
    for number in range(count):
        place = folder / "pictures" / CLASSES[number % len(CLASSES)]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.jpg").write_bytes(picture(number))
    command = [sys.executable, "-m", "luigi", "--module", "tasks", "SplitDataset", "--local-scheduler"]
    given = {
        "source": "folder",
        "folder": folder / "pictures",
        "classes": ",".join(CLASSES),
        "root": folder / "data",
    }
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    subprocess.run([*command, *words], check=True, capture_output=True)
    return folder / "data"


@contextmanager
def reviewed(root: Path) -> Iterator[tuple[str, int]]:
    """The address of the grid, and the process that serves it."""
    command = [sys.executable, "-u", "-m", "greenr_luigi.cli", "--root", str(root), "review", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        found = next(match for line in lines if (match := re.search(r"http://\S+/grid", line)))
        yield found[0], process.pid
        process.send_signal(signal.SIGINT)


def memory(pid: int) -> float:
    """The most that a process has had, in MB."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in line]
    return int(line.split()[1]) / 1000


def heap(browser: Chrome) -> float:
    metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return next(one["value"] for one in metrics if one["name"] == "JSHeapUsedSize") / 1e6


def shown(browser: Chrome, began: float) -> float:
    WebDriverWait(browser, 120, poll_frequency=0.01).until(lambda b: b.execute_script(DRAWN))
    return time.monotonic() - began


def scrolled(browser: Chrome, seconds: float, speed: float | None) -> dict[str, Any]:
    """`speed`: pixels a millisecond; None to come to the end."""
    found: dict[str, Any] = browser.execute_async_script(SCROLL, seconds, speed)
    began = time.monotonic()
    found["settled"] = shown(browser, began)
    found["heap"] = heap(browser)
    return found


def said(name: str, run: dict[str, Any]) -> None:
    gaps = run["gaps"]
    late = [gap for gap in gaps if gap > 1.5 * 1000 / 60]
    print(
        f"{name}: {len(gaps)} frames, median {statistics.median(gaps):.1f} ms, worst {max(gaps):.0f} ms, "
        f"{len(late)} late ({len(late) / len(gaps):.1%}), {len(run['tasks'])} long tasks "
        f"(together {sum(run['tasks']):.0f} ms, worst {max(run['tasks'], default=0):.0f}), {run['nodes']} nodes, "
        f"heap {run['heap']:.1f} MB, drawn {run['settled']:.2f} s after the end; {run['height']:.0f} pixels",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.root or collect(Path(folder), arguments.pictures)
        shutil.rmtree(root / THUMBNAILS, ignore_errors=True)
        with reviewed(root) as (address, pid), chromium(1280, 900) as browser:
            browser.set_script_timeout(300)
            browser.execute_cdp_cmd("Performance.enable", {})
            for name in ("no thumbnail kept", "read again, thumbnails kept"):
                browser.execute_cdp_cmd("Network.clearBrowserCache", {})
                began = time.monotonic()
                browser.get(address)
                print(f"{name}: window full of pictures after {shown(browser, began):.2f} s")
                timing = json.loads(browser.execute_script("return JSON.stringify(performance.getEntries())"))
                for entry in timing:
                    if entry["name"].endswith(("/grid", "/grid/list?")):
                        name, size = entry["name"].rpartition("/")[2], entry["decodedBodySize"]
                        print(f"  {name}: {size:,} bytes, {entry['duration']:.0f} ms")
            said("to the end, no thumbnail kept", scrolled(browser, arguments.seconds, None))
            for _ in range(arguments.repeats):
                for way in ("a window of cells", "all cells at once"):
                    for what, speed in (("still", 0), ("reading", READING), ("to the end", None)):
                        browser.get(address)
                        browser.execute_script("sessionStorage.clear()")
                        shown(browser, time.monotonic())
                        if way == "all cells at once":
                            browser.execute_async_script(ALL_AT_ONCE)
                        said(f"{way}, {what}", scrolled(browser, arguments.seconds, speed))
            kept = sum(path.stat().st_size for path in (root / THUMBNAILS).iterdir())
            print(f"thumbnails kept: {kept / 1e6:.0f} MB; the server had {memory(pid):.0f} MB at most")


if __name__ == "__main__":
    main()
