import pytest
import torch

from greenr_luigi.training import architectures, splitting

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "size", "between"),
    [
        ("tf_efficientnet_lite0", 64, (112, 4, 4)),
        ("resnet18", 64, (256, 4, 4)),
        ("convnext_atto", 64, (160, 4, 4)),  # With weights that belong to no layer of its own.
        ("vit_tiny_patch16_224", 224, (3, 224, 224)),
        ("densenet121", 64, (512, 4, 4)),
    ],
)
def test_two_parts_are_what_the_body_is(name, size, between):
    body = architectures.learner(architectures.find(name), ["a", "b"], size, pretrained=False).model[0].eval()
    lower, upper = splitting.split(body, size)
    pictures = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        given = lower(pictures)
        assert torch.equal(upper(given), body(pictures))
    assert given.shape[1:] == between
    theirs = {id(weights) for weights in body.parameters()}
    below, above = ({id(weights) for weights in half.parameters()} for half in (lower, upper))
    assert below | above <= theirs and above and not below & above
