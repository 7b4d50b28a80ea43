"""The schedule that follows from the number of one's images, and the options that set it by hand."""

import copy

import pytest

pytest.importorskip("mmdet")

from mmengine.config import Config  # noqa: E402

from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.engine import prepare, schedule  # noqa: E402
from maxvit_dense.openmmlab.engine.schedule import check_given, fit_schedule, fitted_epochs  # noqa: E402
from maxvit_dense.sample_data import write_sample_data  # noqa: E402
from tests.project_files import ROOT  # noqa: E402

MASKRCNN = dict(
    model=dict(type="MaskRCNN"),
    train_dataloader=dict(batch_size=2, dataset=dict()),
    train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=12, val_interval=1),
    optim_wrapper=dict(optimizer=dict(type="AdamW", lr=1e-4)),
    auto_scale_lr=dict(enable=False, base_batch_size=16),
    param_scheduler=[
        dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
        dict(type="MultiStepLR", begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
    ],
    val_evaluator=dict(type="CocoMetric", metric=["bbox", "segm"]),
    launcher="none",
)
UPERNET = dict(
    MASKRCNN,
    train_dataloader=dict(batch_size=4, dataset=dict()),
    train_cfg=dict(type="IterBasedTrainLoop", max_iters=160000, val_interval=16000),
    param_scheduler=[
        dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=1500),
        dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=False, begin=1500, end=160000),
    ],
    val_evaluator=dict(type="IoUMetric", iou_metrics=["mIoU"]),
)


@pytest.fixture
def fitted(monkeypatch):
    """Fits a config to a number of images; what it becomes."""

    def fit(config, images, **options):
        monkeypatch.setattr(schedule, "count_images", lambda cfg: images)
        cfg = Config(copy.deepcopy(config))
        fit_schedule(cfg, **{"own_data": True, **options})
        return cfg

    return fit


@pytest.mark.parametrize(
    "own, steps, epochs",
    [(12, 147, 21), (12, 30, 100), (12, 7393, 12), (300, 3, 300), (None, 184, 100), (None, 10, 300)],
)
def test_epochs_make_3000_steps_within_100_epochs(own, steps, epochs):
    assert fitted_epochs(own, steps) == epochs


def test_a_detector_on_293_photographs(fitted):
    cfg = fitted(MASKRCNN, 293)
    warm_up, decay = cfg.param_scheduler
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (21, 1)  # of 147 steps: 3,087
    assert warm_up.end == 309
    assert (decay.end, decay.milestones) == (21, [14, 19])
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1e-4 * (2 / 16) ** 0.5, rel=1e-2)
    assert cfg.default_hooks.checkpoint.save_best == "coco/segm_mAP"
    assert [hook.type for hook in cfg.custom_hooks] == ["EarlyStoppingHook"]
    assert cfg.val_evaluator.classwise


def test_a_segmentor_on_367_images_has_100_epochs_of_iterations(fitted):
    cfg = fitted(UPERNET, 367)
    warm_up, decay = cfg.param_scheduler
    assert cfg.train_cfg.max_iters == 9200  # 92 of 4
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == 766
    assert warm_up.end == decay.begin == 920 and decay.end == 9200
    assert cfg.default_hooks.checkpoint.save_best == "mIoU"


def test_the_part_on_whole_images_keeps_its_share_of_a_shorter_run(fitted):
    crops = dict(type="CropSizeHook", begin=2500, crop_size=(360, 480))
    cfg = fitted(dict(UPERNET, train_cfg=dict(max_iters=3000, val_interval=500), custom_hooks=[crops]), 60)
    assert cfg.train_cfg.max_iters == 3000 and cfg.custom_hooks[0].begin == 2500
    cfg = fitted(dict(UPERNET, train_cfg=dict(max_iters=3000, val_interval=500), custom_hooks=[crops]), 60, epochs=20)
    assert cfg.train_cfg.max_iters == 300 and cfg.custom_hooks[0].begin == 250


def test_a_segmentor_never_trains_longer_than_its_config(fitted):
    assert fitted(UPERNET, 20_000).train_cfg.max_iters == 160000


def test_sgd_scales_its_rate_in_proportion_to_the_batch(fitted):
    config = dict(MASKRCNN, optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.02)))
    assert fitted(config, 293).optim_wrapper.optimizer.lr == pytest.approx(0.0025)


def test_a_decay_counted_in_iterations_ends_with_a_loop_of_epochs(fitted):
    cosine = dict(type="CosineAnnealingLR", begin=50, end=800, by_epoch=False)
    warm_up = dict(type="LinearLR", by_epoch=False, begin=0, end=50)
    cfg = fitted(dict(MASKRCNN, param_scheduler=[warm_up, cosine]), 293)
    assert [(s.begin, s.end) for s in cfg.param_scheduler] == [(0, 50), (50, 21 * 147)]


@pytest.mark.parametrize("options", [dict(own_data=False), dict(keep=True)])
def test_the_configs_own_schedule_stays(fitted, options):
    assert fitted(MASKRCNN, 293, **options) .to_dict() == Config(MASKRCNN).to_dict()


def test_what_cfg_options_give_stands(fitted):
    overrides = {"train_cfg.max_epochs": 12, "optim_wrapper.optimizer.lr": 1e-4}
    cfg = fitted(MASKRCNN, 293, overrides=overrides)
    assert (cfg.train_cfg, cfg.param_scheduler) == (Config(MASKRCNN).train_cfg, Config(MASKRCNN).param_scheduler)
    assert cfg.optim_wrapper.optimizer.lr == 1e-4


def test_the_checkpoints_of_cfg_options_stand_beside_a_fitted_length(fitted):
    given = dict(interval=5, save_best="coco/bbox_mAP")
    overrides = {f"default_hooks.checkpoint.{key}": value for key, value in given.items()}
    cfg = fitted(dict(MASKRCNN, default_hooks=dict(checkpoint=given)), 293, overrides=overrides)
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (21, 1)
    assert {key: cfg.default_hooks.checkpoint[key] for key in given} == given


def test_epochs_and_rate_of_the_command_line(fitted):
    cfg = fitted(MASKRCNN, 293, own_data=False, epochs=48, lr=3e-4)
    assert (cfg.train_cfg.max_epochs, cfg.param_scheduler[1].milestones) == (48, [32, 44])
    assert cfg.optim_wrapper.optimizer.lr == 3e-4 and cfg.param_scheduler[0].end == 706
    assert fitted(UPERNET, 367, epochs=10).train_cfg.max_iters == 920


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(epochs=0), "--epochs is 0"),
        (dict(lr=float("nan")), "--lr is nan"),
        (dict(epochs=3, overrides={"train_cfg.max_epochs": 4}), "Leave one out"),
        (dict(lr=1e-3, overrides={"optim_wrapper.optimizer.lr": 1e-4}), "Leave one out"),
    ],
)
def test_options_that_contradict_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        check_given(Config(MASKRCNN), **options)


def test_a_length_that_cannot_be_is_refused_before_a_demo_draws_its_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="--epochs is -3"):
        prepare.prepare_training("demo_retinanet_maxvit_mini_sample", epochs=-3)
    assert not any(tmp_path.iterdir())


def test_own_classes_change_the_schedule_and_one_line_says_so(tmp_path, caplog):
    write_sample_data(str(tmp_path / "sample"), train=5, val=2, size=64, seed=0)
    config, data = str(ROOT / "configs" / "retinanet_maxvit_t_coco.py"), str(tmp_path / "sample" / "coco")
    widths = [64, 128, 256]
    overrides = {"model.backbone.arch": "mini", "model.backbone.init_cfg": None, "model.neck.in_channels": widths}
    with caplog.at_level("INFO", "maxvit_dense"):
        cfg = prepare.prepare_training(config, data_root=data, work_dir=str(tmp_path / "work"), overrides=overrides)
    (said,) = [record.getMessage() for record in caplog.records if "Schedule" in record.getMessage()]
    assert "5 images, 2 a step, 300 iterations (100 epochs), 30 iterations of warm-up" in said
    assert "--schedule config" in said and cfg.train_cfg.max_epochs == 100
