import numpy as np
import pytest
import torch

from greenr_luigi.dataset import pixels
from greenr_luigi.training import architectures, features
from greenr_luigi.training.libraries import fv
from tests import walk
from tests.progress import quiet

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("batch", [1, 5, 12, 99])
def test_batches_keep_every_picture_in_order(batch):
    dataset = walk.walk().dataset
    paths = [dataset / row.file for row in pixels.read_rows(dataset, "test", "valid")]
    got = list(pixels.read_batches(paths, 32, batch))
    assert [len(b) for b in got] == [min(batch, len(paths) - i) for i in range(0, len(paths), batch)]
    assert np.array_equal(np.concatenate(got), np.stack([pixels.read_pixels(path, 32) for path in paths]))


def test_pixels_are_those_of_fastai():
    """The same squeeze and the same normalization as the exported Learner's own transforms."""
    path = next((walk.walk().dataset / "test").glob("*/*.jpg"))
    image = fv.PILImage.create(path)
    squeezed = fv.Resize(64, method="squish")(image, split_idx=1)
    ours = pixels.read_pixels(path, 64)
    assert np.array_equal(np.asarray(squeezed), ours)
    normalize = fv.Normalize.from_stats([0.4, 0.5, 0.6], [0.2, 0.3, 0.4], cuda=False)
    theirs = normalize(fv.IntToFloatTensor()(fv.TensorImage(torch.tensor(ours).permute(2, 0, 1)[None])))
    mine = features.normalized(np.stack([ours]), [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]).cpu()
    assert torch.allclose(torch.Tensor(theirs), mine, atol=1e-6)


def test_features_do_not_depend_on_the_number_of_threads():
    architecture = architectures.find(architectures.DEFAULT)
    learn = architectures.learner(architecture, ["a", "b"], 64, pretrained=True)
    paths = sorted(walk.walk().dataset.glob("*/*/*.jpg"))
    threads, seen = torch.get_num_threads(), []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            seen.append(features.pooled(learn, paths, walk.settings(architecture, 64), quiet))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*seen)
