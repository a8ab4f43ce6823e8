"""HEIC, decoded in processes of their own: its decoder is no browser's, and what a file does to it ends no more than
that. Such a process is used again and again, one at a time for each thread that waits, and ends with this one.

What comes back is checked and never unpickled: a size, and that many bytes.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from PIL import Image

from greenr_luigi import cores, lifetime
from greenr_luigi.pictures.unusable import UnusablePicture, broken

#: Seconds that a picture may take, of the processor and by the clock; and after which an idle process ends.
CPU_SECONDS, SECONDS, IDLE = 5, 8.0, 60.0
#: Bytes of addresses that decoding may take, over those that the process has before.
MEMORY = 800 * 2**20
#: Bytes of what comes back, at most: of 25 megapixels that nobody wanted smaller.
MOST = 3 * 26_000_000
#: What comes before the file: the sides that are wanted, at least.
ASKED = struct.Struct(">QQ")
MODULE = "greenr_luigi.pictures.apart"


#: What it says, and the pixels of a picture.
Answer = tuple[dict[str, Any], bytes]


class Decoder:
    """A process that decodes, with the connection to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", MODULE, str(os.getpid()), str(theirs.fileno())],
                env={**lifetime.environment(), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        # It may break off in the middle of an answer.
        for side in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            ours.setsockopt(socket.SOL_SOCKET, side, struct.pack("ll", math.ceil(SECONDS), 0))
        self.connection = Connection(ours.detach())

    def ask(self, asked: bytes) -> Answer | None:
        """None if the process has ended. Raises UnusablePicture for a picture that takes too long."""
        try:
            self.connection.send_bytes(asked)
            if not self.connection.poll(SECONDS):
                self.end()
                raise broken("to decode it takes too long")
            said: dict[str, Any] = json.loads(self.connection.recv_bytes(10_000))
            return said, self.connection.recv_bytes(MOST) if "size" in said else b""
        except (OSError, EOFError, ValueError, TypeError, RecursionError):
            self.end()
            if self.process.returncode == -signal.SIGXCPU:
                raise broken("to decode it takes too long") from None
            return None

    def end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait()


class Decoders:
    """Those of this process, at most one a core at a time."""

    def __init__(self) -> None:
        self.idle: list[Decoder] = []
        self.room = threading.BoundedSemaphore(cores.allowed())
        # A process ends with the thread that has started it (prctl(2)): one that does nothing else.
        self.starter = ThreadPoolExecutor(1)

    def ask(self, asked: bytes) -> Answer:
        with self.room:
            for attempt in range(2):
                # That one died may be chance: idle, or where memory was short. A new one then says.
                with contextlib.suppress(IndexError):
                    decoder = self._started() if attempt else self.idle.pop()
                    if (answer := decoder.ask(asked)) is not None:
                        self.idle.append(decoder)
                        return answer
        raise broken("it ends the process that decodes it")

    def _started(self) -> Decoder:
        try:
            return self.starter.submit(Decoder).result()
        except OSError as error:
            words = f"no process can be started that decodes it ({error.strerror}): try again later"
            raise UnusablePicture("broken", words) from None

    def end(self) -> None:
        while self.idle:
            self.idle.pop().end()


DECODERS = Decoders()
os.register_at_fork(after_in_child=DECODERS.__init__)  # type: ignore[misc]
atexit.register(DECODERS.end)


def decode(data: bytes, at_least: int, min_side: int) -> tuple[Image.Image, tuple[int, int]]:
    """A HEIC upright in sRGB, shrunk as door.decode does, and the size of the whole picture. Raises UnusablePicture."""
    said, pixels = DECODERS.ask(ASKED.pack(at_least, min_side) + data)
    if "reason" in said:
        raise UnusablePicture(str(said["reason"]), str(said["message"]))
    try:
        (width, height), (across, down) = map(int, said["image"]), map(int, said["size"])
        return Image.frombytes("RGB", (width, height), pixels), (across, down)
    except (LookupError, TypeError, ValueError):
        raise broken("its decoder says one thing and gives another") from None


def main(parent: str, channel: str) -> None:
    """What the process does: a file comes, and a picture or a refusal goes."""
    if not lifetime.end_with(int(parent), signal.SIGKILL):
        return
    import pillow_heif
    from PIL import ImageCms  # noqa: F401  before memory is limited

    from greenr_luigi.pictures import door

    pillow_heif.options.DECODE_THREADS = 1
    for name in ("THUMBNAILS", "DEPTH_IMAGES", "AUX_IMAGES"):
        setattr(pillow_heif.options, name, False)
    with contextlib.suppress(OSError):  # Where memory is short, this goes first.
        Path("/proc/self/oom_score_adj").write_text("1000")
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for limit, most in (("AS", held + MEMORY), ("CORE", 0), ("FSIZE", 0)):
        resource.setrlimit(getattr(resource, f"RLIMIT_{limit}"), (most, most))
    with Connection(int(channel)) as connection:
        while connection.poll(IDLE):
            asked = connection.recv_bytes()
            # From now on, in whole seconds, of which one has begun.
            spent = int(time.process_time()) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (spent + CPU_SECONDS, resource.RLIM_INFINITY))
            at_least, min_side = ASKED.unpack_from(asked)
            try:
                image, size = door.decode_heif(asked[ASKED.size :], at_least, min_side)
            except UnusablePicture as error:
                said = {"reason": error.reason, "message": str(error)[:2_000]}
                connection.send_bytes(json.dumps(said).encode())
                continue
            connection.send_bytes(json.dumps({"size": size, "image": image.size}).encode())
            connection.send_bytes(image.tobytes())


if __name__ == "__main__":
    with contextlib.suppress(EOFError, ConnectionError):  # Whoever asked has gone.
        main(*sys.argv[1:])
