"""What benchmark --data measures; no test looks at a time."""

import json

import pytest

from maxvit_dense.openmmlab.data import rates
from maxvit_dense.sample_data import write_sample_data
from tools import benchmark

DATA = {
    "maskrcnn_maxvit_t_3x_coco": "coco",
    "upernet_maxvit_t_ade20k": "ade/ADEChallengeData2016",
    "pretrain_maxvit_t_imagenet": "imagenet",
}


def test_pipelines_of_every_task_are_measured_beside_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rates, "STEPS", dict.fromkeys(rates.STEPS, "maxvit_mini cuda train batch=2 size=64"))
    monkeypatch.setattr(rates, "SECONDS", 0.0)
    write_sample_data(str(tmp_path / "sample"), train=2, val=1, size=96, seed=0)
    pairs = [f"{config}={tmp_path / 'sample' / folder}" for config, folder in DATA.items()]
    out = tmp_path / "rates.json"
    assert benchmark.main(["--data", *pairs, "--repetitions", "1", "--out", str(out)]) == 0
    found = json.loads(out.read_text())["rows"]
    others = [["torchvision v2"], ["torchvision v2"], ["timm's loader", "torchvision v2"]]
    assert [row["pipeline"] for row in found] == sum(([c, *o] for c, o in zip(DATA, others, strict=True)), [])
    assert all(0 < row["decoding"][0] and 0 < row["seconds"][0] < 60 for row in found)
    assert capsys.readouterr().out.count("cores for H100") == 3


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("no_such_config=.", "no_such_config"),
        ("pretrain_maxvit_t_imagenet=/no/such/folder", "/no/such/folder is no folder"),
        ("pretrain_maxvit_t_imagenet={}", "no val images"),
    ],
)
def test_data_that_cannot_be_read_are_told_in_a_line(pair, message, tmp_path, capsys):
    assert benchmark.main(["--data", pair.format(tmp_path)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if line.startswith("benchmark:")] == told[-1:] and message in told[-1]


def test_a_folder_is_given_with_a_config():
    with pytest.raises(SystemExit) as stopped:
        benchmark.main(["--data", "data/coco"])
    assert stopped.value.code == 2
