"""tools/train.py and tools/test.py through their command lines: what they leave behind, what they refuse."""

import importlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("mmdet")

from mmengine.config import Config  # noqa: E402

from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.config.load import load_config  # noqa: E402
from maxvit_dense.openmmlab.engine import launch, prepare  # noqa: E402
from maxvit_dense.openmmlab.report import evaluation  # noqa: E402
from maxvit_dense.sample_data import write_sample_data  # noqa: E402
from maxvit_dense.weights.safe_load import read_checkpoint  # noqa: E402
from tests.commands import log_of, refused  # noqa: E402
from tests.processes import run_processes  # noqa: E402
from tests.small_detector import write_config  # noqa: E402
from tests.spoil import WritesAFile, edit  # noqa: E402

TOOLS = Path(__file__).resolve().parent.parent / "tools"
train = importlib.import_module("tools.train").main
evaluate = importlib.import_module("tools.test").main

@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four training and two validation scenes of about 64 pixels, in COCO's layout."""
    root = tmp_path_factory.mktemp("data")
    write_sample_data(str(root / "sample"), train=4, val=2, size=64, seed=0)
    return root / "sample" / "coco"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("configs"))


@pytest.fixture(scope="module")
def trained(config, data, tmp_path_factory):
    """The work dir of a finished epoch."""
    work_dir = tmp_path_factory.mktemp("trained")
    assert train([str(config), "--data-root", str(data), "--work-dir", str(work_dir)]) == 0
    return work_dir


def copied(data, tmp_path):
    return Path(shutil.copytree(data, tmp_path / "copy"))


def spoil_first_image(content):
    """No box of the first image is usable: it is trained on as background."""
    first = content["images"][0]["id"]
    for annotation in content["annotations"]:
        if annotation["image_id"] == first:
            annotation["bbox"] = [50, 50, 500, 500]


# What a training run leaves behind.


def test_training_shows_loss_rate_time_left_memory_and_ap(trained):
    lines = [line for line in log_of(trained).splitlines() if "Epoch(train)" in line]
    assert len(lines) == 2
    for figure in ("lr: 1.0000e-03", "eta: ", "loss: ", "loss_mask: ", "memory: "):
        assert figure in lines[-1]
    assert "coco/bbox_mAP_50: " in log_of(trained) and "coco/segm_mAP_50: " in log_of(trained)


def test_training_writes_for_tensorboard(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = trained.glob("*/vis_data")
    events = EventAccumulator(str(folder))
    events.Reload()
    assert {"lr", "loss", "memory", "coco/bbox_mAP"} <= set(events.Tags()["scalars"])
    assert events.Scalars("memory")[-1].value > 100  # MB; torch alone takes more


def test_training_leaves_a_checkpoint_and_its_config(trained, config):
    assert (trained / "last_checkpoint").read_text() == str(trained / "epoch_1.pth")
    assert "backbone" in next(iter(read_checkpoint(trained / "epoch_1.pth")["state_dict"]))
    again = prepare.prepare_training(str(trained / config.name))
    kinds = [backend["type"] for backend in again.visualizer.vis_backends]
    assert kinds == ["LocalVisBackend", "TensorboardVisBackend"]  # once, though the file names it already
    hooks = [hook["type"] for hook in again.custom_hooks]
    assert hooks == ["PeakMemoryHook", "CurvesHook", "ReportHook", "RepeatableDrawsHook"]


def test_resume_goes_on_after_the_last_checkpoint(trained, options, tmp_path):
    shutil.copytree(trained, tmp_path / "work")  # a moved work dir: its record names the old place
    (trained / "epoch_1.pth").rename(trained / "aside.pth")
    try:
        assert train([*options, "--resume", "--cfg-options", "train_cfg.max_epochs=2"]) == 0
    finally:
        (trained / "aside.pth").rename(trained / "epoch_1.pth")
    assert "resumed epoch: 1, iter: 2" in log_of(tmp_path / "work")
    assert read_checkpoint(tmp_path / "work" / "epoch_2.pth")["meta"]["iter"] == 4


def test_a_run_resumed_after_an_epoch_equals_one_that_was_not_stopped(options, tmp_path):
    settings = ["--cfg-options", "randomness.seed=5", "train_dataloader.num_workers=2", "train_cfg.max_epochs="]
    for name, epochs, resume in (("straight", "2", []), ("stopped", "1", []), ("stopped", "2", ["--resume"])):
        options[-1] = str(tmp_path / name)
        assert train([*options, *resume, *settings[:-1], settings[-1] + epochs]) == 0
    straight, resumed = (read_checkpoint(tmp_path / name / "epoch_2.pth") for name in ("straight", "stopped"))
    assert all(torch.equal(value, resumed["state_dict"][name]) for name, value in straight["state_dict"].items())
    first = read_checkpoint(tmp_path / "stopped" / "epoch_1.pth")["state_dict"]
    assert any(not torch.equal(value, first[name]) for name, value in straight["state_dict"].items())


def test_skipping_bad_boxes_trains_without_them(options, data, tmp_path, capsys):
    root = copied(data, tmp_path)
    edit(root, spoil_first_image)
    before = (root / "annotations" / "instances_train2017.json").read_bytes()
    options[2] = str(root)
    assert train(options) == 2
    assert "boxes reach outside their image: [50, 50, 500, 500]" in capsys.readouterr().err
    assert train([*options, "--bad-boxes", "skip"]) == 0
    assert "boxes reach outside their image" in capsys.readouterr().err
    assert "DropOutsideBoxes" in (tmp_path / "work" / "tiny.py").read_text()
    assert (root / "annotations" / "instances_train2017.json").read_bytes() == before


def test_two_processes_train_together_without_a_gpu(options, tmp_path):
    # As torchrun starts them, but forked: test_endings has torchrun itself, whose processes import everything anew.
    assert run_processes(lambda: sys.exit(train([*options, "--launcher", "pytorch"])), 2) == [0, 0]
    assert "Epoch(train) [1][1/1]" in log_of(tmp_path / "work")  # four images, two processes, two at a time
    assert (tmp_path / "work" / "epoch_1.pth").is_file()


# What an evaluation leaves behind.


def test_evaluation_prints_its_metrics_and_draws(trained, options, tmp_path, capsys):
    extra = ["--show-dir", str(tmp_path / "pictures"), "--out", str(tmp_path / "results" / "r.json")]
    assert evaluate([options[0], str(trained / "epoch_1.pth"), *options[1:], *extra]) == 0
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines()[-12:])
    report = json.loads((tmp_path / "results" / "r.json").read_text())
    assert {name: float(value) for name, value in printed.items()} == report["metrics"]
    assert report["checkpoint"] == str(trained / "epoch_1.pth")
    assert report["versions"]["torch"] == torch.__version__.split("+")[0]
    found = json.loads((tmp_path / "results" / "r.segm.json").read_text())
    assert len(found) == 10 and set(found[0]) == {"image_id", "bbox", "score", "category_id", "segmentation"}
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert len(pictures) == 2
    images = [Image.open(path) for path in pictures]
    assert all(image.width > 1.5 * image.height for image in images)  # truth left, findings right


def test_metrics_of_any_number_type_are_written(tmp_path, capsys):
    metrics = dict(single=np.float32(0.5), whole=np.int64(3))
    evaluation.report_metrics(metrics, Config(dict(load_from="w.pth")), str(tmp_path / "new" / "r.json"))
    assert json.loads((tmp_path / "new" / "r.json").read_text())["metrics"] == dict(single=0.5, whole=3)


def test_all_predictions_go_into_a_pickle(trained, options, tmp_path):
    out = tmp_path / "p.pkl"
    assert evaluate([options[0], str(trained / "epoch_1.pth"), *options[1:], "--out", str(out)]) == 0
    predictions = pickle.loads(out.read_bytes())
    assert len(predictions) == 2
    assert set(predictions[0]["pred_instances"]) == {"bboxes", "scores", "labels", "masks"}


# What is refused. Each: arguments, and the one message.


def pretrained(path):
    return ["model.backbone.init_cfg.type=Pretrained", f"model.backbone.init_cfg.checkpoint={path}"]


# Those of the machine; wrong_inputs has the others.
TRAIN_REFUSED = [
    (["--amp"], "--amp needs a GPU"),
    (["--cfg-options", "optim_wrapper.type=ApexOptimWrapper", "--amp"], "not ApexOptimWrapper"),
    (["--launcher", "pytorch"], "no RANK, WORLD_SIZE.*torchrun"),
    (["--launcher", "slurm"], "no SLURM_PROCID.*srun"),
]


@pytest.mark.parametrize(("arguments", "message"), TRAIN_REFUSED)
def test_training_refuses_and_writes_nothing(options, arguments, message, capsys, tmp_path, monkeypatch):
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(prepare, "get_device", lambda: "cpu")
    said = refused(train, [*options, *arguments], capsys, tmp_path)
    assert re.search(message, said), said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "There is no config"),
        ("model = dict(", "SyntaxError"),
        ("_base_ = 'mmdet::no/such.py'", "cannot be loaded"),
        ("custom_imports = dict(imports=['no_module'], allow_failed_imports=False)", "no_module"),
        ("model = dict(type='MaskRCNN')", "has no train_dataloader, train_cfg, optim_wrapper"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused(options, text, message, capsys, tmp_path):
    path = tmp_path / "config.py"
    if text is not None:
        path.write_text(text)
    said = refused(train, [str(path), *options[1:]], capsys, tmp_path)
    assert re.search(message, said), said


def test_a_work_dir_that_cannot_be_made_is_refused(options, capsys, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    options[-1] = str(tmp_path / "file" / "work")
    assert "file is a file" in refused(train, options, capsys, tmp_path)
    options[-1] = str(tmp_path / "work")
    with monkeypatch.context() as patch:  # tests may run as root, who may write anywhere
        patch.setattr(os, "access", lambda path, mode: False)
        assert f"no permission to write in {tmp_path}" in refused(train, options, capsys, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=50 * 2**20))
        assert "0.0 GiB free" in refused(train, options, capsys, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(prepare.os, "makedirs", raises(OSError(28, "No space left on device")))
        assert "No space left" in refused(train, options, capsys, tmp_path)


def raises(error):
    def call(*args, **kwargs):
        raise error

    return call


def test_resuming_what_is_no_training_state_is_refused(trained, options, capsys, tmp_path):
    checkpoint = read_checkpoint(trained / "epoch_1.pth")
    torch.save({"state_dict": checkpoint["state_dict"], "meta": {}}, tmp_path / "weights.pth")
    said = refused(train, [*options, "--resume", str(tmp_path / "weights.pth")], capsys, tmp_path)
    assert "has no message_hub, optimizer" in said and "load_from=FILE" in said
    smaller = ["--cfg-options", "model.roi_head.mask_head.num_convs=2"]
    resume = ["--resume", str(trained / "epoch_1.pth")]
    said = refused(train, [*options, *resume, *smaller], capsys, tmp_path)
    assert "checkpoint of another model" in said and "2 missing from the checkpoint" in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(meta=5), "its meta is 5, not a dict of epoch and iter"),
        (dict(meta=dict(epoch="one", iter=2)), r"its meta\.epoch is 'one', not a whole number"),
        (dict(meta=dict(epoch=1, iter=2, seed="x")), r"its meta\.seed is 'x'"),
        (dict(optimizer=[1]), r"its optimizer is \[1\], not a dict"),
        (dict(optimizer=dict(state={}, param_groups=3)), r"its optimizer\.param_groups is 3, not a list"),
        (dict(message_hub=dict(log_scalars=dict(loss=3))), "message_hub is not a Runner's"),
        (dict(param_schedulers=3), "its param_schedulers is 3, not a list"),
    ],
)
def test_a_checkpoint_with_fields_of_other_types_is_refused(trained, options, change, words, capsys, tmp_path):
    torch.save({**read_checkpoint(trained / "epoch_1.pth"), **change}, tmp_path / "odd.pth")
    said = refused(train, [*options, "--resume", str(tmp_path / "odd.pth")], capsys, tmp_path)
    assert re.search(words, said), said


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00binary", b"a\0b"])
def test_a_last_checkpoint_that_names_none_is_refused(options, content, capsys, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "last_checkpoint").write_bytes(content)
    assert "finds nothing to resume" in refused(train, [*options, "--resume"], capsys, tmp_path)


def test_a_backbone_of_another_size_is_refused(trained, options, capsys, tmp_path):
    arguments = [*options, "--cfg-options", *pretrained(trained / "epoch_1.pth"), "model.backbone.arch=t"]
    arguments += ["model.neck.in_channels=[64,128,256,512]", "model.backbone.init_cfg.missing_ok=True"]
    said = refused(train, arguments, capsys, tmp_path)
    assert "model.backbone.init_cfg cannot be used" in said and "stage widths are 32, 64, 128, 256" in said


def test_evaluating_a_checkpoint_of_another_size_is_refused_briefly(trained, options, capsys, tmp_path):
    arguments = [options[0], str(trained / "epoch_1.pth"), *options[1:]]
    larger = ["--cfg-options", "model.backbone.arch=t", "model.neck.in_channels=[64,128,256,512]"]
    said = refused(evaluate, [*arguments, *larger], capsys, tmp_path)
    assert "checkpoint of another model" in said
    assert re.search(r"\d+ tensors of another shape \(backbone", said)
    assert len(said) < 1200


def test_evaluating_a_bad_checkpoint_is_refused(trained, options, capsys, tmp_path):
    whole = (trained / "epoch_1.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pth").write_text("not weights")
    messages = {"cut.pth": "truncated", "text.pth": "no checkpoint", "absent.pth": "no checkpoint file"}
    for name, message in messages.items():
        said = refused(evaluate, [options[0], str(tmp_path / name), *options[1:]], capsys, tmp_path)
        assert message in said


def test_no_tool_runs_code_of_a_checkpoint(trained, options, capsys, tmp_path):
    checkpoint = read_checkpoint(trained / "epoch_1.pth")
    path, proof = str(tmp_path / "hostile.pth"), tmp_path / "proof"
    torch.save({**checkpoint, "extra": WritesAFile(proof)}, path)
    ways = [
        (evaluate, [options[0], path, *options[1:]]),
        (train, [*options, "--resume", path]),
        (train, [*options, "--cfg-options", f"load_from={path}"]),
        (train, [*options, "--cfg-options", *pretrained(path)]),
    ]
    for main, arguments in ways:
        assert "system" in refused(main, arguments, capsys, tmp_path)
    assert not proof.exists()


def test_pictures_without_the_hook_that_draws_them_are_refused(trained, options, capsys, tmp_path):
    arguments = [options[0], str(trained / "epoch_1.pth"), *options[1:]]
    no_hook = ["--show-dir", str(tmp_path / "d"), "--cfg-options", "default_hooks.visualization=None"]
    assert "DetVisualizationHook" in refused(evaluate, [*arguments, *no_hook], capsys, tmp_path)


# What the options set.


def test_amp_and_learning_rate_scaling_are_set(config, data, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "get_device", lambda: "cuda")
    cfg = prepare.prepare_training(
        str(config), data_root=str(data), work_dir=str(tmp_path / "work"), amp=True, auto_scale_lr=True
    )
    assert cfg.optim_wrapper.type == "AmpOptimWrapper" and cfg.optim_wrapper.loss_scale == "dynamic"
    assert cfg.auto_scale_lr == dict(base_batch_size=4, enable=True)


def test_the_work_dir_is_named_after_the_config(config, data, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    cfg = prepare.prepare_training(str(config), data_root=str(data))
    assert cfg.work_dir == os.path.join("work_dirs", "tiny")


@pytest.mark.parametrize(
    ("launcher", "variables"),
    [
        ("slurm", ["SLURM_PROCID", "SLURM_NTASKS", "SLURM_NODELIST"]),
        ("mpi", ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "MASTER_ADDR"]),
    ],
)
def test_other_launchers_need_a_gpu(config, launcher, variables, monkeypatch):
    for name in variables:
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(launch, "get_device", lambda: "cpu")
    with pytest.raises(InputError, match="needs a GPU"):
        launch.prepare_launch(load_config(str(config), None, ()), launcher)


# The command line itself, in a process of its own: quick, and without torch.


def answer(tool, *arguments):
    """Exit code, output, and whether torch was imported."""
    script = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print('torch' in sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", script, str(TOOLS / f"{tool}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    *said, imported = done.stderr.splitlines()
    return done.returncode, done.stdout + "\n".join(said), imported == "True"


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "message"),
    [
        ("train", ["--help"], 0, "--bad-boxes"),
        ("test", ["--help"], 0, "--show-dir"),
        ("train", [], 2, "required: config"),
        ("test", ["config.py"], 2, "required: checkpoint"),
        ("train", ["absent.py"], 2, "train: There is no config absent.py"),
        ("test", ["absent.py", "absent.pth"], 2, "test: There is no config absent.py"),
        ("test", ["a.py", "a.pth", "--out", "r.csv"], 2, "must end in .json or .pkl, not 'r.csv'"),
        ("train", ["a.py", "--launcher", "ssh"], 2, "invalid choice: 'ssh'"),
        ("train", ["a.py", "--cfg-options", "key"], 2, "'key' is not of the form KEY=VALUE"),
        ("train", ["a.py", "--cfg-options", "key=[(a,b]"], 2, "key: '[(a,b]' cannot be read"),
        ("train", ["a.py", "--cfg-options", "key=[1,2,dict(a=f())]"], 2, "key: '[1,2,dict(a=f())]' cannot be read"),
    ],
)
def test_help_and_mistakes_answer_at_once(tool, arguments, code, message):
    returned, said, imported_torch = answer(tool, *arguments)
    assert (returned, imported_torch) == (code, False)
    assert message in said
    assert "Traceback" not in said
