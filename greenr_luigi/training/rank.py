"""One of the processes that train together, as torchrun starts it: `torchrun ... -m greenr_luigi.training.rank`.

Those of the host that leads are told what to train (launch.py). Those of other hosts are told by them."""

from __future__ import annotations

import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import record

from greenr_luigi.errors import GreenrError
from greenr_luigi.lifetime import end_with
from greenr_luigi.progress import OnProgress
from greenr_luigi.staleness import code
from greenr_luigi.training import distributed, train

#: For which one waits for another; torchrun ends all at once where one has died. Hosts may be slower than others.
TIMEOUT = timedelta(minutes=30)


@record
def main(asked: str | None = None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with(os.getppid(), signal.SIGKILL)
    with os.fdopen(os.dup(1), "w", buffering=1) as parent:
        # What libraries print is nothing to tell.
        os.dup2(2, 1)

        def tell(**said: Any) -> None:
            if asked:
                print(json.dumps(said), file=parent)

        # Before anything is trained: fastai gathers losses as soon as it sees the variables of torchrun.
        dist.init_process_group(timeout=TIMEOUT)
        try:
            train_together(asked, lambda fraction, words: tell(fraction=fraction, words=words))
        except GreenrError as error:
            tell(refused=str(error), passing=error.passing)
            sys.exit(str(error))
        dist.destroy_process_group()


def train_together(asked: str | None, on_progress: OnProgress) -> None:
    """Train what the host that leads was asked for. Raises GreenrError as `train.train` does, and where hosts do not
    fit together."""
    modules = code.snapshot(code.sources([train.__name__]))
    everyone = distributed.of_all((asked, {name: trace["syntax"] for name, trace in modules.items()}))
    leads = [rank for rank, (theirs, _) in enumerate(everyone) if theirs]
    if not leads or len({everyone[rank][0] for rank in leads}) > 1:
        raise GreenrError(
            "one host is to run TrainModel, and the others `torchrun ... -m greenr_luigi.training.rank`; "
            f"{'several do' if leads else 'none does'} so (docs/workers.md)"
        )
    if any(theirs != everyone[0][1] for _, theirs in everyone):
        raise GreenrError("hosts that train together have different code: install the same version on each")
    options = json.loads(everyone[leads[0]][0] or "")
    first = dist.get_rank() == leads[0]
    dataset, out, root = (value and Path(value) for value in map(options.pop, ("dataset", "out", "root")))
    quiet: OnProgress = lambda fraction, words: None  # noqa: E731
    how, target = train.Hyperparameters(**options), out if first else None
    train.train(dataset, target, how, root=root, on_progress=on_progress if first else quiet)


if __name__ == "__main__":
    main(*sys.argv[1:])
