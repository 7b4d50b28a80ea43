"""Which weights do not fit a model, told in one message."""

import pytest
import torch
from torch import nn

pytest.importorskip("mmengine")

from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.weights import check_fit  # noqa: E402
from maxvit_dense.weights.mismatch import compare_weights  # noqa: E402


def model(width=4):
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width))


def test_matching_weights_are_loaded():
    source, target = model(), model()
    assert not compare_weights(target, source.state_dict())
    assert torch.equal(source[0].weight, target[0].weight)


def test_older_checkpoints_without_batch_counters_fit():
    weights = model().state_dict()
    del weights["1.num_batches_tracked"]
    assert not compare_weights(model(), weights)


def test_misfits_are_told_apart():
    weights = model(5).state_dict()
    del weights["1.bias"]
    weights["2.weight"] = torch.zeros(1)
    mismatch = compare_weights(model(4), weights)
    assert mismatch.missing == ("1.bias",)
    assert mismatch.unexpected == ("2.weight",)
    assert mismatch.reshaped[0] == "0.weight: [5, 3], not [4, 3]"
    assert "5 tensors of another shape (0.weight: [5, 3], not [4, 3], " in str(mismatch)
    assert "1 missing from the checkpoint (1.bias)" in str(mismatch)


def test_a_misfit_is_refused_briefly():
    large = nn.Sequential(*[model() for _ in range(50)])
    with pytest.raises(InputError, match="file.pth is a checkpoint of another model") as caught:
        check_fit(large, model(5).state_dict(), "file.pth", exact=False)
    assert len(str(caught.value)) < 1000


def test_surplus_weights_are_logged_unless_an_exact_fit_is_needed(caplog):
    checkpoint = {"state_dict": {**model().state_dict(), "head.weight": torch.zeros(1)}}
    check_fit(model(), checkpoint, "file.pth", exact=False)
    assert "1 unknown to the model (head.weight)" in caplog.text
    with pytest.raises(InputError, match="1 unknown to the model"):
        check_fit(model(), checkpoint, "file.pth", exact=True)
