"""The curves of a training run: what is plotted against what was trained, resumed runs, failures."""

import importlib
import json
import logging
import time
from pathlib import Path

import matplotlib.figure
import pytest
import torch
from PIL import Image

pytest.importorskip("mmdet", reason="needs mmdet (pip install maxvit_dense[openmmlab])")

from mmengine.config import Config  # noqa: E402
from mmengine.evaluator import BaseMetric  # noqa: E402
from mmengine.model import BaseModel  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from maxvit_dense.openmmlab.engine import prepare  # noqa: E402
from maxvit_dense.openmmlab.report import curves  # noqa: E402
from maxvit_dense.sample_data import write_sample_data  # noqa: E402
from maxvit_dense.work_dir import run_logs  # noqa: E402

compare_runs = importlib.import_module("tools.compare_runs")

ITERATIONS = 5  # an epoch
INTERVAL = 2  # between logged lines
WINDOW = 10  # iterations that mmengine's LogProcessor takes the mean of, by default


class Model(BaseModel):
    """Its loss at iteration n is 7 + n."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.register_buffer("done", torch.zeros(()))  # in the checkpoint, so that it goes on after resuming

    def forward(self, inputs, data_samples=None, mode="tensor"):
        if mode == "predict":
            return [dict(found=0)]
        self.done += 1
        return dict(loss_fixed=self.weight * 0 + 7.0 + self.done)


class Metric(BaseMetric):
    """0.1 after the first validation of a process, 0.2 after the second, ..."""

    default_prefix = "coco"

    def __init__(self):
        super().__init__()
        self.calls = 0

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        self.calls += 1
        return dict(bbox_mAP=self.calls / 10, bbox_mAP_s=-1.0)


def collate(batch):
    return dict(inputs=torch.stack(batch))


def loader(length=ITERATIONS):
    dataset = [torch.zeros(1)] * length
    return dict(dataset=dataset, batch_size=1, sampler=dict(type="DefaultSampler", shuffle=False), collate_fn=collate)


@pytest.fixture
def plotted(monkeypatch):
    """Curves that would be drawn, in order, as steps and values."""
    seen = []

    def keep(panels, *args, **kwargs):
        seen.append({n: tuple(map(list, zip(*c, strict=True))) for cs in panels.values() for n, c in cs.items()})

    monkeypatch.setattr(curves, "draw", keep)
    return seen


def train(work_dir, by_epoch=True, length=None, resume_from=None, **kwargs):
    """Train for ``length`` epochs (3) or iterations (15), validating after each epoch or every 5 iterations."""
    length = length or (3 if by_epoch else 3 * ITERATIONS)
    if any(Path(work_dir).glob("*")):
        time.sleep(1.01)  # mmengine names the runs of a work dir by the second they start in
    runner = Runner(
        model=Model(),
        work_dir=str(work_dir),
        # An iteration-based loop sleeps two seconds at the end of its data.
        train_dataloader=loader() if by_epoch else loader(100),
        val_dataloader=loader(),
        train_cfg=dict(by_epoch=True, max_epochs=length)
        if by_epoch
        else dict(by_epoch=False, max_iters=length, val_interval=ITERATIONS),
        val_cfg=dict(),
        val_evaluator=[Metric()],
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.5)),
        param_scheduler=dict(type="LinearLR", start_factor=0.2, end=4, by_epoch=False),
        default_hooks=dict(
            logger=dict(type="LoggerHook", interval=INTERVAL, log_metric_by_epoch=by_epoch),
            checkpoint=dict(type="CheckpointHook", interval=1 if by_epoch else ITERATIONS, by_epoch=by_epoch),
        ),
        log_processor=dict(by_epoch=by_epoch),
        custom_hooks=[dict(type="CurvesHook")],
        load_from=resume_from and str(resume_from),
        resume=resume_from is not None,
        experiment_name=f"test-{time.time_ns()}",
        log_level="WARNING",
        cfg=dict(load_from=resume_from and str(resume_from)),
        **kwargs,
    )
    runner.train()
    return runner


def smoothed(step):
    """Mean of the losses 7 + n of the last ten iterations n up to ``step``."""
    window = range(max(0, step - WINDOW) + 1, step + 1)
    return sum(7 + n for n in window) / len(window)


def approx(series):
    steps, values = series
    return steps, pytest.approx(values)


EPOCH_STEPS = [2, 4, 7, 9, 12, 14]  # the second and fourth iteration of each epoch
ITER_STEPS = [2, 4, 6, 8, 10, 12, 14]


@pytest.mark.parametrize(
    ("by_epoch", "logged", "validated"),
    [(True, EPOCH_STEPS, [4, 9, 14]), (False, ITER_STEPS, [5, 10, 15])],
    ids=["epochs", "iters"],
)
def test_losses_rates_and_known_metrics_are_plotted_as_logged(tmp_path, plotted, by_epoch, logged, validated):
    train(tmp_path, by_epoch)
    assert plotted[-1] == {
        "loss": approx((logged, [smoothed(step) for step in logged])),
        "loss_fixed": approx((logged, [smoothed(step) for step in logged])),
        "bbox_mAP": approx((validated, [10, 20, 30])),  # in percent
        # LinearLR rises from 0.2 to 1 over 3 steps; the logged rate is the one that the iteration used.
        "learning rate": approx((logged, [0.5 * min(1, 0.2 + 0.8 * (s - 1) / 3) for s in logged])),
    }
    assert len(plotted) == 4  # after each validation and at the end


def test_the_picture_is_a_png_in_the_work_dir(tmp_path):
    train(tmp_path)
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"
        assert len(picture.convert("RGB").getcolors(2**24)) > 3  # more than a background and a frame
    assert not list(tmp_path.glob(".*"))


def test_a_resumed_run_continues_the_curves_from_its_checkpoint(tmp_path, plotted):
    train(tmp_path, length=3)
    train(tmp_path, length=4, resume_from=tmp_path / "epoch_2.pth")
    steps, losses = plotted[-1]["loss"]
    # The third epoch of the first run is done anew, and drawn once.
    assert steps == [2, 4, 7, 9, 12, 14, 17, 19]
    assert losses == pytest.approx([smoothed(step) for step in steps])  # mmengine's window outlives the process too
    assert plotted[-1]["bbox_mAP"] == approx(([4, 9, 14, 19], [10, 20, 10, 20]))


def test_what_was_trained_anew_takes_the_place_of_what_was_there():
    """Runs of 10, then from 6 to 14, then from 12 on; then one that begins again."""
    runs = [[dict(loss=float(run), iter=i) for i in steps] for run, steps in enumerate([range(1, 11), range(7, 15)])]
    runs += [[], [dict(loss=2.0, iter=13), {"coco/bbox_mAP_50": 0.25, "bbox_mAP_s": -1.0, "step": 1}]]
    drawn = curves.curves_of(runs)
    assert drawn["loss"]["loss"] == [*((i, 0.0) for i in range(1, 7)), *((i, 1.0) for i in range(7, 13)), (13, 2.0)]
    assert drawn["validation metric (%)"] == {"bbox_mAP_50": [(13, 25.0)]}
    assert curves.curves_of([*runs, [dict(loss=3.0, iter=1)]]) == {"loss": {"loss": [(1, 3.0)]}}


def test_a_picture_that_cannot_be_drawn_is_told_once_and_training_goes_on(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(curves, "draw", fail)
    warnings = []
    monkeypatch.setattr(logging.Logger, "warning", lambda self, text, *args, **kwargs: warnings.append(text))
    runner = train(tmp_path, length=2)
    assert runner.iter == 2 * ITERATIONS
    assert [text for text in warnings if "curves.png" in text] == [
        "curves.png cannot be drawn: OSError: no space left on device"
    ]


def test_a_run_without_a_log_on_disk_says_so(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging.Logger, "warning", lambda self, text, *args, **kwargs: warnings.append(text))
    train(tmp_path, length=1, visualizer=dict(type="Visualizer", vis_backends=[], name=f"none-{time.time_ns()}"))
    assert any("was logged" in text and "LocalVisBackend" in text for text in warnings)
    assert not (tmp_path / "curves.png").exists()


def test_only_the_first_process_draws(monkeypatch):
    monkeypatch.setattr("mmengine.dist.utils.is_main_process", lambda group=None: False)
    curves.CurvesHook().after_train(None)  # would fail on the first look at the runner


def test_losses_of_intermediate_decoder_layers_are_left_out():
    names = ["loss", "loss_cls", "d0.loss_cls", "decode.d11.loss_mask", "decode.loss_mask", "s0.loss_bbox", "acc"]
    drawn = curves.curves_of([[dict.fromkeys(names, 1.0) | {"iter": 1}]])
    assert list(drawn["loss"]) == ["loss", "loss_cls", "decode.loss_mask", "s0.loss_bbox"]


def test_layer_wise_decay_shows_the_schedules_rate():
    drawn = curves.curves_of([[dict(lr=1e-6, base_lr=1e-4, iter=1)]])
    assert drawn == {"learning rate": {"learning rate": [(1, 1e-4)]}}


def test_metrics_of_segmentation_and_classification_are_percent_already():
    line = {"mIoU": 40.0, "mAcc": 50.0, "aAcc": 80.0, "accuracy/top1": 70.0, "accuracy/top5": 90.0, "time": 1.0}
    drawn = curves.curves_of([[line | {"step": 8}]])["validation metric (%)"]
    assert {name: curve[0][1] for name, curve in drawn.items()} == dict(mIoU=40, mAcc=50, aAcc=80, top1=70, top5=90)


def test_a_line_cut_off_by_a_kill_is_skipped(tmp_path):
    log = tmp_path / "20260101_000000" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    log.write_text(json.dumps(dict(loss=1.0, iter=10, phase="train")) + '\n{"loss": 0.5, "it')
    assert run_logs(tmp_path) == [[dict(loss=1.0, iter=10)]]


@pytest.mark.parametrize("losses", [[1.0, float("nan"), 0.5], [float("inf"), 1.0, 1.0], [-1.0, 0.0, 1.0]])
def test_losses_that_are_no_positive_numbers_are_drawn_too(tmp_path, losses):
    curves.draw({"loss": {"loss": list(enumerate(losses))}}, tmp_path / "curves.png", "title")
    assert (tmp_path / "curves.png").is_file()


def test_every_prepared_training_draws_its_curves(tmp_path):
    write_sample_data(str(tmp_path / "sample"), train=2, val=1, size=64, seed=0)
    config = Path(__file__).resolve().parent.parent / "configs" / "demo" / "demo_maskrcnn_maxvit_mini_sample.py"
    options = dict(work_dir=str(tmp_path / "work"), data_root=str(tmp_path / "sample" / "coco"))
    cfg = prepare.prepare_training(str(config), **options)
    cfg.dump(tmp_path / "again.py")
    again = prepare.prepare_training(str(tmp_path / "again.py"), **options)
    for prepared in (cfg, again, Config.fromfile(tmp_path / "again.py")):
        assert [hook["type"] for hook in prepared.custom_hooks].count("CurvesHook") == 1


def write_log(folder, *lines):
    log = folder / "20260101_000000" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    log.write_text("\n".join(map(json.dumps, lines)))
    return str(folder)


@pytest.fixture
def figures(monkeypatch):
    """Figures as they are saved."""
    saved, save = [], matplotlib.figure.Figure.savefig

    def keep(figure, *args, **kwargs):
        saved.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    return saved


def test_runs_are_compared_in_a_column_for_each_kind_of_task(tmp_path, figures):
    steps = [dict(loss=2.0, loss_cls=1.0, iter=20), dict(loss=1.0, loss_cls=0.5, iter=40)]
    runs = [
        write_log(tmp_path / "b" / "seed0", *steps, {"coco/bbox_mAP": 0.5, "coco/segm_mAP": 0.25, "step": 40}),
        write_log(tmp_path / "a" / "seed0", *steps, {"coco/segm_mAP": 0.125, "step": 40}),
        write_log(tmp_path / "c", *steps, {"mIoU": 40.0, "step": 40}),
    ]
    assert compare_runs.main([*runs, "--out", str(tmp_path / "all.png")]) == 0
    drawn = [
        (axes.get_ylabel(), [(line.get_color(), line.get_xydata().tolist()) for line in axes.lines])
        for axes in figures[0].axes
    ]
    curve = [[20, 2.0], [40, 1.0]]
    assert drawn == [
        ("training loss", [("C0", curve), ("C1", curve)]),
        ("training loss", [("C0", curve)]),
        ("segm_mAP of validation (%)", [("C0", [[40, 12.5]]), ("C1", [[40, 25.0]])]),
        ("mIoU of validation (%)", [("C0", [[40, 40.0]])]),
    ]
    names = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in figures[0].axes[2:]]
    assert names == [["a/seed0  12.5", "b/seed0  25.0"], ["c  40.0"]]
    assert Image.open(tmp_path / "all.png").width == 1200


@pytest.mark.parametrize("lines", [None, [dict(loss=1.0, iter=20)], [{"mIoU": 40.0, "step": 1}]])
def test_what_cannot_be_compared_is_named_and_nothing_written(tmp_path, capsys, lines):
    run = write_log(tmp_path / "run", *lines) if lines else str(tmp_path / "run")
    assert compare_runs.main([run, "--out", str(tmp_path / "all.png")]) == 2
    assert f"{run} has no log of a training that was validated" in capsys.readouterr().err
    assert not (tmp_path / "all.png").exists()


def test_a_picture_of_an_unknown_kind_is_refused(tmp_path, capsys):
    run = write_log(tmp_path / "run", dict(loss=1.0, iter=20), {"mIoU": 40.0, "step": 20})
    assert compare_runs.main([run, "--out", str(tmp_path / "all.doc")]) == 2
    assert "doc" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(("out", "reason"), [("", "is a folder"), ("run", "is a folder"), ("file/a.png", "is a file")])
def test_a_picture_that_cannot_be_written_is_refused_before_it_is_drawn(tmp_path, monkeypatch, capsys, out, reason):
    run = write_log(tmp_path / "run", dict(loss=1.0, iter=20), {"mIoU": 40.0, "step": 20})
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        compare_runs.main([run, "--out", out])
    assert reason in capsys.readouterr().err
