# Box heads of Cascade Mask R-CNN, as variables: mmdetection configs/convnext (and configs/swin before it). Three
# stages of ever finer boxes, each with four normed convolutions, one hidden layer and GIoU on decoded boxes.
#
#   roi_head=dict(bbox_head={{_base_.cascade_heads}})


def stages(width, conv_width, hidden, num_classes):
    return [
        dict(
            type="Shared4Conv1FCBBoxHead",
            in_channels=width,
            conv_out_channels=conv_width,
            fc_out_channels=hidden,
            roi_feat_size=7,
            num_classes=num_classes,
            bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0, 0.0, 0.0, 0.0], target_stds=stds),
            reg_class_agnostic=False,
            reg_decoded_bbox=True,
            norm_cfg=dict(type="SyncBN", requires_grad=True),
            loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type="GIoULoss", loss_weight=10.0),
        )
        for stds in ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067])
    ]


cascade_heads = stages(256, 256, 1024, 80)
thin_cascade_heads = stages(64, 32, 128, 6)  # for the demo on the drawn sample data
