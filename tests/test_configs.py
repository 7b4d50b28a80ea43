"""The configs of detectors and segmentors, and what all files of configs/ keep to."""

import os
import re
from pathlib import Path

import pytest
import torch

pytest.importorskip("mmdet", reason="needs mmdet (pip install maxvit_dense[openmmlab])")
mmseg = pytest.importorskip("mmseg", reason="needs mmseg (pip install maxvit_dense[openmmlab])")

import mmdet  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.optim import build_optim_wrapper  # noqa: E402

from maxvit_dense.openmmlab.config.load import build_model  # noqa: E402
from maxvit_dense.openmmlab.config.values import check_values  # noqa: E402
from maxvit_dense.openmmlab.engine import prepare  # noqa: E402
from maxvit_dense.sample_data import write_sample_data  # noqa: E402
from tests.config_files import (  # noqa: E402
    BASES,
    CONFIGS,
    FOLDER,
    inherited,
    installed_keys,
    levels,
    load,
    own,
    parents,
    restated,
)
from tests.small_configs import shrink  # noqa: E402

HEADER = ("Recipe:", "Command:", "Result:")
# What mmengine's Runner and FlexibleRunner read of a config, and Config itself.
RUNNER_KEYS = set(
    "model train_dataloader val_dataloader test_dataloader train_cfg val_cfg test_cfg optim_wrapper param_scheduler "
    "auto_scale_lr val_evaluator test_evaluator default_hooks custom_hooks data_preprocessor load_from resume launcher "
    "env_cfg log_processor log_level visualizer default_scope randomness experiment_name work_dir sync_bn strategy "
    "runner_type custom_imports".split()
)
# Pipelines stand by these names in mmdet's and mmseg's own configs too; maxvit_dense reads total_batch_size.
OUR_KEYS = {"train_pipeline", "test_pipeline", "total_batch_size"}
PLACES_OF_NORMS = ("maxvit.py", "segmentor.py")

# Classifiers have further tests of their own: test_classification_configs.py.
DENSE = [path for path in CONFIGS if "pretrain_" not in path.stem and "finetune_" not in path.stem]
LAYOUTS = dict(mmdet="coco", mmseg="ade/ADEChallengeData2016")  # of the sample data, by a config's default scope
# A step of one of each kind. Sizes differ in plain values alone, held against each other on tensors without values; a
# peer's step in a detector is its step in a segmentor. Residual branches of ResNet and ConvNeXt that start at zero have
# no gradient in the first step.
UNTRAINED = r"_maxvit_[sb]_|_640_|upernet_(?!maxvit)|(atss|fpn)_(resnet|convnext)"
STEPS = [path for path in DENSE if not re.search(UNTRAINED, path.stem)]
# Ours, the installed package's, and where they differ: the backbone, widths and rules of decay by parameter aside.
RECIPES = {
    "maxvit_t_1x": ("maskrcnn_maxvit_t_coco", mmdet, "swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco", ()),
    "maxvit_t_3x": ("maskrcnn_maxvit_t_3x_coco", mmdet, "swin/mask-rcnn_swin-t-p4-w7_fpn_ms-crop-3x_coco", ()),
    "cascade": (
        "cascade_maskrcnn_maxvit_t_3x_coco",
        mmdet,
        "convnext/cascade-mask-rcnn_convnext-t-p4-w7_fpn_4conv1fc-giou_amp-ms-crop-3x_coco",
        ("model.roi_head.bbox_head", "optim_wrapper.optimizer.lr", "optim_wrapper.type"),
    ),
    "retinanet": (
        "retinanet_maxvit_t_coco",
        mmdet,
        "retinanet/retinanet_r50_fpn_1x_coco",
        ("model.neck.start_level", "optim_wrapper.optimizer", "param_scheduler"),
    ),
    "dino": ("dino_maxvit_t_coco", mmdet, "dino/dino-4scale_r50_8xb2-12e_coco", ()),
    "mask2former": ("mask2former_maxvit_t_coco", mmdet, "mask2former/mask2former_r50_8xb2-lsj-50e_coco", ()),
    "upernet": (
        "upernet_maxvit_t_ade20k",
        mmseg,
        "swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512",
        (),
    ),
    "fpn": (
        "fpn_maxvit_t_ade20k",
        mmseg,
        "twins/twins_pcpvt-s_fpn_fpnhead_8xb4-80k_ade20k-512x512",
        ("param_scheduler",),  # decays to zero
    ),
    "mask2former_semantic": (
        "mask2former_maxvit_t_ade20k",
        mmseg,
        "mask2former/mask2former_swin-t_8xb2-160k_ade20k-512x512",
        ("model.data_preprocessor.test_cfg", "train_cfg.val_interval"),  # images are not padded in evaluation
    ),
}


def by_stem(path: Path) -> str:
    return path.stem


# --- the files


@pytest.mark.parametrize("path", CONFIGS, ids=by_stem)
def test_no_helper_is_left_in_a_resolved_config(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # wherever it is loaded from
    assert set(load(path)) - RUNNER_KEYS - OUR_KEYS - installed_keys(path) == set()


@pytest.mark.parametrize("path", CONFIGS, ids=by_stem)
def test_what_looks_for_wrong_values_finds_none(path):
    cfg = Config(load(path))
    check_values(cfg, (), ())


@pytest.mark.parametrize(
    ("package", "name"),
    [
        (mmdet, "instaboost/cascade-mask-rcnn_r50_fpn_instaboost-4x_coco"),  # a scale that is no size
        (mmdet, "cornernet/cornernet_hourglass104_8xb6-210e-mstest_coco"),  # crop_size=None
        (mmdet, "dyhead/atss_r50_fpn_dyhead_1x_coco"),  # a list of necks
        (mmdet, "ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco"),  # init_cfg.std is one number
        (mmdet, "yolof/yolof_r50-c5_8xb8-1x_coco"),  # one width where the signature says a list
        (mmdet, "rtmdet/rtmdet_m_8xb32-300e_coco"),  # three numbers where it says one
        (mmseg, "hrnet/fcn_hr18_4xb4-80k_loveda-512x512"),  # dropout_ratio=-1
        (mmseg, "bisenetv2/bisenetv2_fcn_4xb4-amp-160k_cityscapes-1024x1024"),  # loss_scale is a number
    ],
)
def test_nor_does_it_in_configs_of_the_installed_packages_that_stretch_their_signatures(package, name):
    cfg = Config.fromfile(Path(package.__file__).parent / f".mim/configs/{name}.py")
    check_values(cfg, (), ())


@pytest.mark.parametrize("path", CONFIGS, ids=by_stem)
def test_pipelines_that_stand_by_name_are_those_of_the_loaders(path):
    cfg = load(path)
    for phase in ("train", "test"):
        if f"{phase}_pipeline" in cfg:
            assert flat(cfg[f"{phase}_pipeline"]) == flat(cfg[f"{phase}_dataloader"].dataset.pipeline)


@pytest.mark.parametrize("path", CONFIGS, ids=by_stem)
def test_a_config_has_three_levels_of_parents_at_most(path):
    assert 1 <= levels(path) <= 3


@pytest.mark.parametrize("path", CONFIGS + BASES, ids=by_stem)
def test_a_config_inherits_from_its_folder_and_from_mmdet_alone(path):
    local = [base for base in parents(path) if isinstance(base, Path)]
    assert all(base.is_relative_to(FOLDER) for base in local)
    assert all(base.startswith("mmdet::") for base in parents(path) if base not in local)


@pytest.mark.parametrize("path", CONFIGS, ids=by_stem)
def test_a_config_does_not_restate_what_it_inherits(path):
    again = restated(own(path), inherited(path))
    # These stand together, whichever of them change.
    assert [name for name in again if not name.endswith((".batch_size", ".lr", "base_batch_size"))] == []


@pytest.mark.parametrize("path", CONFIGS, ids=by_stem)
def test_a_config_opens_with_its_recipe_command_and_result(path):
    head = path.read_text().split("\n_base_")[0]
    assert [field for field in HEADER if field not in head] == []
    assert f"tools/train.py configs/{path.relative_to(FOLDER).as_posix()}" in head


def test_the_norms_of_detectors_and_of_segmentors_have_one_place_each():
    assert sorted(path.name for path in CONFIGS + BASES if "norm_eval" in path.read_text()) == sorted(PLACES_OF_NORMS)


# --- what they say


def flat(node, prefix: str = "") -> dict:
    """Values by dotted name; what is None or inferred from the file is left out."""
    if isinstance(node, dict):
        pairs = [(key, value) for key, value in node.items() if key not in ("_scope_", "backend_args")]
    elif isinstance(node, list | tuple):
        pairs = list(enumerate(node))
    else:
        return {prefix: node} if node is not None else {}
    return {name: value for key, item in pairs for name, value in flat(item, f"{prefix}.{key}").items()}


def section(cfg, name: str) -> dict:
    """One part of a config, without the backbone, the widths of its maps and what decays by parameter."""
    ours = r"\.(backbone|pretrained|in_channels|paramwise_cfg|constructor)\b|\.reduce_zero_label$|\.im2col_step$"
    # Defaults that one of the two writes out.
    ours += r"|\.optimizer\.(eps|betas|fused)\b|^\.model\.test_cfg\.(crop_size|stride)\b|\.enable$"
    return {key: value for key, value in flat(cfg.get(name), f".{name}").items() if not re.search(ours, key)}


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_are_those_of_the_installed_packages(recipe):
    name, package, theirs, differences = RECIPES[recipe]
    path = os.path.join(os.path.dirname(package.__file__), ".mim", "configs", f"{theirs}.py")
    theirs, ours = Config.fromfile(path, import_custom_modules=False), load(name)
    names = ["model", "train_cfg", "param_scheduler", "optim_wrapper", "val_evaluator"]
    names += [f"{phase}_dataloader" for phase in ("train", "val", "test")]
    names += ["auto_scale_lr"] if "auto_scale_lr" in theirs else []
    changed = set()
    for part in names:
        ours_flat, theirs_flat = section(ours, part), section(theirs, part)
        keys = ours_flat.keys() | theirs_flat.keys()
        changed |= {key[1:] for key in keys if ours_flat.get(key) != theirs_flat.get(key)}
    assert {key for key in changed if not key.startswith(differences)} == set()
    assert [known for known in differences if not any(key.startswith(known) for key in changed)] == []


@pytest.mark.parametrize("path", [p for p in DENSE if re.search(r"_maxvit_[tsb]_", p.stem)], ids=by_stem)
def test_a_size_has_its_own_weights_and_stochastic_depth(path):
    backbone = load(path).model.backbone
    size = path.stem.split("_maxvit_")[1][0]
    assert (backbone.arch, backbone.init_cfg.checkpoint) == (size, f"maxvit_{size}.in1k")
    if not re.search("_(640|896)_", path.stem):  # the official recipe's: test_official_recipe.py
        assert backbone.drop_path_rate == dict(t=0.2, s=0.3, b=0.4)[size]  # paper, table 12


@pytest.mark.parametrize("path", [p for p in DENSE if "_maxvit_t_" not in p.stem and "demo" not in p.stem], ids=by_stem)
def test_sizes_differ_in_the_backbone_and_its_widths(path):
    """And in what the heads of their files tell."""
    family = r"_(maxvit|swin|convnext|gcvit|coatnet)_(\w|pico|nano)_"
    own_data = re.sub("(atss|fpn)_.*_(bccd|camvid)", r"\1_maxvit_mini_\2", path.stem)
    first = re.sub(family, "_maxvit_t_", path.stem) if own_data == path.stem else own_data
    cfg, tiny = load(path), load(first)
    for config in (cfg, tiny):
        config.model.pop("backbone")
        for taker in ("neck", "decode_head", "panoptic_head", "auxiliary_head"):
            config.model.get(taker, {}).pop("in_channels", None)
    told = dict(
        s_896=("optim_wrapper", "train_cfg"), b_896=("optim_wrapper",), convnext_t=("optim_wrapper",),
    )  # fmt: skip
    told |= dict.fromkeys(("coatnet_t", "pico", "nano"), ("model",))  # colours of their weights
    allowed = next((names for part, names in told.items() if f"_{part}_" in path.stem), ())
    assert sorted(key for key in cfg.keys() | tiny.keys() if cfg.get(key) != tiny.get(key) and key not in allowed) == []


# --- what becomes of them


@pytest.mark.parametrize("name", ["dino_maxvit_t_coco", "mask2former_maxvit_t_coco", "mask2former_maxvit_t_ade20k"])
def test_detection_transformers_learn_at_a_tenth_of_the_rate_in_the_backbone(name):
    """And without decay of the backbone's vectors and bias tables and of Mask2Former's embeddings."""
    cfg = Config(load(name).to_dict())
    with torch.device("meta"):
        model = build_model(cfg)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    embeddings = ("query_embed", "query_feat", "level_embed") if "mask2former" in name else ()
    for parameter_name, parameter in model.named_parameters():
        group, in_backbone = groups[id(parameter)], parameter_name.startswith("backbone.")
        assert group["lr"] == pytest.approx(1e-5 if in_backbone else 1e-4), parameter_name
        if in_backbone or any(part in parameter_name for part in embeddings):
            is_matrix = in_backbone and parameter.dim() > 1 and "relative_position_bias_table" not in parameter_name
            assert (group["weight_decay"] > 0) == is_matrix, parameter_name


@pytest.mark.parametrize("path", DENSE, ids=by_stem)
def test_parts_of_the_real_size_fit_each_other(path):
    cfg = Config(load(path).to_dict())
    with torch.device("meta"):
        model = build_model(cfg)
    taker = next(part for part in ("neck", "decode_head", "panoptic_head") if part in cfg.model)
    assert list(cfg.model[taker].in_channels) == model.backbone.channels
    if "auxiliary_head" in cfg.model:
        head = cfg.model.auxiliary_head
        assert head.in_channels == model.backbone.channels[head.in_index]


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory):
    """Two training and one validation scene."""
    root = tmp_path_factory.mktemp("configs") / "sample"
    write_sample_data(str(root), train=2, val=1, size=96, seed=0)
    return root


@pytest.mark.parametrize("path", STEPS, ids=by_stem)
def test_config_trains_one_step_and_evaluates(path, sample_root, tmp_path):
    if path.stem == "demo_dino_maxvit_mini_sample" and mmdet.__version__ == "3.3.0":
        pytest.skip("needs a DINO whose width can be set: in mmdet 3.3.0, 256 is written in")
    small = shrink(Config(load(path).to_dict()))
    small.dump(tmp_path / path.name)
    data_root = sample_root / LAYOUTS[small.default_scope]
    cfg = prepare.prepare_training(str(tmp_path / path.name), work_dir=str(tmp_path / "work"), data_root=str(data_root))
    runner = prepare.build_runner(cfg)
    before = {name: p.detach().clone() for name, p in runner.model.named_parameters() if "backbone" in name}
    losses = []
    runner.model.register_forward_hook(
        lambda module, args, kwargs, output: losses.append(output) if kwargs.get("mode") == "loss" else None,
        with_kwargs=True,
    )
    runner.train()

    assert runner.iter == 1
    values = [v for value in losses[0].values() for v in (value if isinstance(value, list) else [value])]
    assert values and all(torch.isfinite(v).all() for v in values)
    still = [name for name, p in runner.model.named_parameters() if name in before and torch.equal(p, before[name])]
    # A constant on all biases of a window changes no attention: its gradient is rounding, or zero.
    assert [name for name in still if not name.endswith("rel_pos.mlp.fc2.bias")] == []
    recorded = runner.message_hub.log_scalars
    assert any(name.startswith("val/") for name in recorded), sorted(recorded)
