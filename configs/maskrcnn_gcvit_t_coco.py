# Mask R-CNN with GC ViT-T on COCO, 1x schedule, images within 1333x800: a peer of MaxViT-T.
#
# Recipe:   as maskrcnn_maxvit_t_coco.py; backbone through timm, with the drop path rate of GC ViT's own detector and
#           its LayerNorm on each map, not in the weights of ImageNet (NVlabs/GCVit detection/). Windows of 24 tokens at
#           every stage (768 / 32), maps extended to whole windows and the global query resized to one, as in that
#           detector; tables of biases are resized from 7, 7, 14, 7.
# Command:  python tools/train.py configs/maskrcnn_gcvit_t_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. Published, 3x at many scales: box AP 47.9, mask AP 43.2.
_base_ = "./maskrcnn_maxvit_t_coco.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="TimmFeatures",
        model_name="gcvit_tiny.in1k",
        img_size=768,
        window_ratio=32,
        out_norm=True,
        drop_path_rate=0.2,
        init_cfg=dict(type="Pretrained", checkpoint="in1k", missing_ok=True),
    ),
)
