# The official MaxViT recipe on COCO, all but its sizes: Cascade Mask R-CNN of two stages on strides 8 to 128.
#
# Source: tensorflow/models official/projects/maxvit/configs/rcnn.py over official/vision/configs/maskrcnn.py;
# docs/official_recipe.md sets each value beside ours.
_base_ = [
    "mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py",
    "mmdet::_base_/datasets/coco_instance.py",
    "mmdet::_base_/default_runtime.py",
    "./maxvit.py",
]

custom_imports = dict(imports=["maxvit_dense.openmmlab", "maxvit_dense.openmmlab.official"])


def norm():
    return dict(type="SyncBN", eps=1e-3, momentum=0.01, requires_grad=True)  # TensorFlow's momentum .99


model = dict(
    # The official code reads the padding of its square images as image, and so does this.
    backbone=dict(_base_.pop("backbone"), out_indices=(1, 2, 3), exact_batches=False),
    neck=dict(
        in_channels=[128, 256, 512],
        num_outs=5,
        add_extra_convs="on_output",
        relu_before_extra_convs=True,
        no_norm_on_lateral=True,
        norm_cfg=norm(),
    ),
    rpn_head=dict(
        type="LevelNormRPNHead",
        num_convs=2,
        norm_cfg=norm(),
        anchor_generator=dict(
            _delete_=True,
            type="AnchorGenerator",
            octave_base_scale=3,
            scales_per_octave=3,
            ratios=[0.5, 1.0, 2.0],
            strides=[8, 16, 32, 64, 128],
            center_offset=0.5,
        ),
        # Half of mmdet's: the official loss of 256 anchors an image is divided by its 512 regions.
        loss_cls=dict(loss_weight=0.5),
        loss_bbox=dict(_delete_=True, type="MeanHuberLoss", delta=1.0 / 9.0),
    ),
    roi_head=dict(
        type="OneMaskCascadeRoIHead",
        num_stages=2,
        stage_loss_weights=[0.5, 0.5],
        bbox_roi_extractor=dict(
            # One sample a bin and no half-pixel shift, as the official code; 112 pixels and more go to stride 8.
            roi_layer=dict(sampling_ratio=1, aligned=False),
            featmap_strides=[8, 16, 32, 64, 128],
            finest_scale=112,
        ),
        bbox_head=[
            dict(
                type="NormFCBBoxHead",
                num_shared_convs=4,
                num_shared_fcs=1,
                in_channels=256,
                conv_out_channels=256,
                fc_out_channels=1024,
                roi_feat_size=7,
                num_classes=80,
                reg_class_agnostic=True,
                # Box weights (10, 10, 5, 5) and (20, 20, 10, 10).
                bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0, 0.0, 0.0, 0.0], target_stds=stds),
                norm_cfg=norm(),
                loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
                loss_bbox=dict(type="MeanHuberLoss", delta=1.0),
            )
            for stds in ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1])
        ],
        mask_roi_extractor=dict(
            roi_layer=dict(sampling_ratio=1, aligned=False),
            featmap_strides=[8, 16, 32, 64, 128],
            finest_scale=112,
        ),
        mask_head=dict(type="NormFCNMaskHead", norm_cfg=norm()),
    ),
    train_cfg=dict(
        rpn=dict(
            # Each object gets its one best anchor, however small their overlap.
            assigner=dict(min_pos_iou=0.0, gt_max_assign_all=False),
            allowed_border=-1,
        ),
        rpn_proposal=dict(max_per_img=1000),
        # A region of IoU .5 to .6 is neither object nor background for the first stage. The second takes all that the
        # first has sampled.
        rcnn=[
            dict(
                assigner=dict(
                    type="MaxIoUAssigner", pos_iou_thr=pos, neg_iou_thr=neg, min_pos_iou=pos, match_low_quality=False
                ),
                sampler=dict(type="RandomSampler", num=512, pos_fraction=share, add_gt_as_proposals=True),
                mask_size=28,
                pos_weight=-1,
                debug=False,
            )
            for pos, neg, share in ((0.6, 0.5, 0.25), (0.7, 0.7, 1.0))
        ],
    ),
)

# 32 GPUs x 8 images; norms of the backbone see the whole batch too. Every parameter decays, norms and bias tables among
# them.
sync_bn = "torch"
train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    sampler=dict(type="InfiniteSampler"),
    batch_sampler=None,  # all images are of one shape
    dataset=dict(filter_cfg=dict(filter_empty_gt=False)),
)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=3e-3, betas=(0.9, 0.999), eps=1e-7, weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=1.0, norm_type=2),
)
auto_scale_lr = dict(enable=False, base_batch_size=256)

# 463 steps of 256 images are an epoch.
train_cfg = dict(type="IterBasedTrainLoop", max_iters=90000, val_interval=1848)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
param_scheduler = [dict(type="WarmupCosineLR", warmup_steps=6000, decay_steps=90000, floor=0.03, by_epoch=False)]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=1848 * 4, max_keep_ckpts=3, save_last=True))
log_processor = dict(by_epoch=False)

# gamma 9 gives the official early decay of (1 + n) / (10 + n) at update n; buffers are BatchNorm's statistics.
custom_hooks = [
    dict(
        type="EMAHook",
        ema_type="MomentumAnnealingEMA",
        momentum=0.0002,
        gamma=9,
        update_buffers=True,
        priority="ABOVE_NORMAL",
    )
]
