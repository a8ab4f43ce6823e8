"""Running an exported model with ONNX Runtime, and when what it says is an answer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from greenr_luigi.staleness import regular

Number = TypeVar("Number", float, NDArray[np.floating[Any]])


def open_session(model: Path | bytes, threads: int = 0) -> Any:
    """An onnxruntime.InferenceSession on the processor; `threads` 0: one for each core. `model`: a file, or
    what it holds. One that refers to data in other files is refused (onnxruntime's Fail).

    onnxruntime starts a thread when it is imported, and threads do not survive gunicorn's fork: so not at the top.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    # A thread that waits for others gives its core away: beside other work it takes half the time, else 3 % more.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # As fast without, measured, and what a large picture took goes back.
    options.enable_cpu_mem_arena = False
    # Where such files would lie; given a path, it would look beside the model.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    data = model if isinstance(model, bytes) else regular.read(model)
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def is_answer(
    probability: Number, familiarity: Number | None, threshold: float, least_familiarity: float | None
) -> Any:
    """Whether pictures get an answer rather than "I can't tell": the highest probability reaches the calibrated
    threshold, and the picture is like those that the model has learned from (evaluation/familiarity.py). Numbers or
    arrays of them. Without a familiarity, as in older releases, the probability alone decides."""
    likely = probability >= threshold
    if familiarity is None or least_familiarity is None:
        return likely
    return likely & (familiarity >= least_familiarity)
