import pytest
import torch

from greenr_luigi.dataset import pixels
from greenr_luigi.training import architectures, features
from tests import walk
from tests.progress import quiet

pytestmark = pytest.mark.slow


def test_a_misspelt_name_gets_the_nearest_one():
    with pytest.raises(
        architectures.ArchitectureError, match=r"'resnet43', expected.*no download: did you mean resnet34\?"
    ):
        architectures.find("resnet43")
    with pytest.raises(architectures.ArchitectureError, match=r"expected one of .*, …$") as refused:
        architectures.find("zzzz")
    assert len(str(refused.value)) < 700


def test_torchvision_first_then_timm():
    assert callable(architectures.find("resnet34").build)
    assert architectures.find("efficientnet_b0").build == "efficientnet_b0"


def test_weights_that_cannot_be_had_are_an_error_with_a_remedy(monkeypatch, tmp_path):
    def no_network(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        architectures.ArchitectureError, match=r"resnet18.*cannot be had.*--arch tf_efficientnet_lite0"
    ):
        architectures.learner(architectures.find("resnet18"), ["a", "b"], 64, pretrained=True)


def test_the_bundled_weights_tell_a_dandelion_from_a_lawn_of_imagenet():
    """The weights map by position: a wrong order would give noise. The body's features of two views of a
    drawing are nearer to each other than to those of another drawing."""
    architecture = architectures.find(architectures.DEFAULT)
    learn = architectures.learner(architecture, ["a", "b"], 64, pretrained=True)
    training = walk.settings(architecture, 64)
    rows = pixels.read_rows(walk.walk().dataset, "test")
    paths = [walk.walk().dataset / row.file for row in rows]
    plain = features.pooled(learn, paths, training, quiet).flatten(1)
    another = features.pooled(learn, paths, training, quiet, view=1).flatten(1)
    near = torch.nn.functional.cosine_similarity(plain, another).mean()
    labels = [row.label for row in rows]
    others = torch.nn.functional.cosine_similarity(
        plain[labels.index("disc")], plain[labels.index("three")], dim=0
    )
    assert near > 0.8 > others


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "vit_tiny_patch16_224"])
def test_other_kinds_of_architecture_give_features_that_the_head_takes(name):
    """torchvision, timm with a feature map, timm without one."""
    size = 224 if "224" in name else 64
    architecture = architectures.find(name)
    learn = architectures.learner(architecture, ["a", "b", "c"], size, pretrained=False)
    paths = [walk.walk().dataset / row.file for row in pixels.read_rows(walk.walk().dataset, "test")[:2]]
    found = features.pooled(learn, paths, walk.settings(architecture, size), quiet)
    learn.model.eval()
    assert learn.model[1](found).shape == (2, 3)
