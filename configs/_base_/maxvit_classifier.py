# MaxViT-T as a classifier; stochastic depth of the ImageNet training (paper, table 12). The number of classes is read
# from the data.
model = dict(
    type="ImageClassifier",
    network=dict(model_name="maxvit_t", drop_path_rate=0.2),
    data_preprocessor=dict(
        type="ImageBatch",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        mixup=dict(mixup_alpha=0.8),
    ),
    label_smoothing=0.1,
)
