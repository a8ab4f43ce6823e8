import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

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


def test_operations_are_those_that_torch_counts():
    body = architectures.learner(
        architectures.find(architectures.DEFAULT), ["a", "b"], 64, pretrained=False
    ).model[0]
    x = torch.zeros(2, 3, 64, 64)
    with torch.inference_mode(), FlopCounterMode(display=False) as counted:
        expected = body.eval()(x)
    found, number = splitting.operations(body, x)
    assert torch.equal(found, expected) and number == counted.get_total_flops()
    assert not any(module._forward_hooks for module in body.modules())
