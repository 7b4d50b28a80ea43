"""Any config of configs/ on few, small images: what is changed is sizes, counts and places, never a kind of part."""

from mmengine.config import Config, ConfigDict

SIDE = 96  # pixels, and what fixed-size parts are built for: a multiple of 32
SMALL = (96, 64)  # (width, height) to which images are resized
_QUERIES = 20  # a small image has fewer tokens than DINO has queries


def entries(node):
    """All dictionaries of a config, however deep."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for value in node:
            yield from entries(value)


def _shrink_step(step):
    """A transform of a pipeline."""
    kind = step.get("type")
    if kind in ("Resize", "RandomResize"):
        step["scale"] = SMALL
    elif kind == "RandomChoiceResize":
        shortest_edge = step.get("resize_type") == "ResizeShortestEdge"
        step["scales"] = [SMALL[1]] if shortest_edge else [SMALL]
        if shortest_edge:
            step["max_size"] = SMALL[0]
    elif kind == "RandomCrop":
        square = step["crop_size"][0] == step["crop_size"][1]
        step["crop_size"] = (SIDE, SIDE) if square else (32, 48)


def _shrink_part(part):
    """A part of a model or its preprocessing."""
    if part.get("pad_size_divisor", 1) > 32:  # a fixed square
        part["pad_size_divisor"] = SIDE
    if part.get("type") == "BatchFixedSizePad" or part.get("type") == "SegDataPreProcessor":
        part["size"] = (SIDE, SIDE)
    if "img_size" in part:
        part["img_size"] = SIDE
    if isinstance(part.get("loss_decode"), dict):
        part["loss_decode"].pop("class_weight", None)  # of the config's own classes
    if "num_points" in part and "oversample_ratio" in part:  # points that a mask loss samples
        part["num_points"] = 112
    if "num_queries" in part:
        part["num_queries"] = _QUERIES
    if part.get("mode") in ("whole", "slide"):
        part.update(crop_size=(SIDE, SIDE), stride=(64, 64))
    for count, few in (("nms_pre", 100), ("max_per_img", 20)):  # regions, each of which a head of real width looks at
        if count in part:
            part[count] = min(part[count], few)
    if "fc_out_channels" in part:
        part["fc_out_channels"] = 64
    if part.get("type") == "RandomSampler":
        part["num"] = 16
    if "score_thr" in part:
        part["score_thr"] = 0.0  # untrained heads are sure of nothing
    if part.get("drop_path_rate"):
        part["drop_path_rate"] = 0.0  # it may leave a branch out of the one step


def shrink(cfg: Config) -> Config:
    """The config for one training step and one evaluation on a handful of images.

    Warm-ups are left out: their first step is too small to change a float32 weight near 1.
    """
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        for step in entries(loader.dataset):
            _shrink_step(step)
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    for part in entries(cfg.model):
        _shrink_part(part)
    cfg.model.backbone.pop("init_cfg", None)
    if cfg.train_cfg.get("type") == "IterBasedTrainLoop":
        cfg.train_cfg = ConfigDict(type="IterBasedTrainLoop", max_iters=1, val_interval=1)
    else:
        cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.param_scheduler = []
    cfg.default_hooks.checkpoint = ConfigDict(type="CheckpointHook", interval=-1)
    return cfg
