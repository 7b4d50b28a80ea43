# Registers MaxViT, its optimizer rules and mmcv's operators; refuses to start if that fails.
_base_ = "mmdet::_base_/default_runtime.py"

custom_imports = dict(imports=["maxvit_dense.openmmlab"], allow_failed_imports=False)
