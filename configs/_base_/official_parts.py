# Lists of the official COCO recipe, which a child config cannot change in part, as variables for each size:
#
#   official_{896,640}  pipelines of a square of that many pixels, to which the batch is padded with the mean colour
#   official_heads      box heads of the two cascade stages
#   official_rcnn       how each stage samples its regions
#
# official_192 and thin_official_heads are for the demo on the drawn sample data, in which jitter is milder: it has
# minutes to learn from random weights.
#
# Sources, item by item: docs/official_recipe.md.


def pipelines(side, jitter):
    square = (side, side)
    train = [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
        dict(type="RandomFlip", prob=0.5),
        dict(type="RandomResize", scale=square, ratio_range=jitter, keep_ratio=True),
        dict(type="RandomCrop", crop_size=square, allow_negative_crop=True),
        dict(type="LimitInstances", max_instances=100),
        dict(type="PackDetInputs"),
    ]
    test = [
        dict(type="LoadImageFromFile"),
        dict(type="Resize", scale=square, keep_ratio=True),
        dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
        dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
    ]
    return dict(side=side, train=train, test=test)


def heads(width, conv_width, hidden, num_classes):
    return [
        dict(
            type="NormFCBBoxHead",
            num_shared_convs=4,
            num_shared_fcs=1,
            in_channels=width,
            conv_out_channels=conv_width,
            fc_out_channels=hidden,
            roi_feat_size=7,
            num_classes=num_classes,
            reg_class_agnostic=True,
            # Box weights (10, 10, 5, 5) and (20, 20, 10, 10).
            bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0, 0.0, 0.0, 0.0], target_stds=stds),
            norm_cfg=official_norm,
            loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type="MeanHuberLoss", delta=1.0),
        )
        for stds in ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1])
    ]


official_norm = dict(type="SyncBN", eps=1e-3, momentum=0.01, requires_grad=True)  # TensorFlow's momentum .99
official_896 = pipelines(896, (0.1, 2.5))
official_640 = pipelines(640, (0.1, 2.5))
official_heads = heads(256, 256, 1024, 80)
# A region of IoU .5 to .6 is neither object nor background for the first stage. The second takes all that the first has
# sampled.
official_rcnn = [
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
]

official_192 = pipelines(192, (0.8, 1.25))
thin_official_heads = heads(64, 32, 128, 6)
