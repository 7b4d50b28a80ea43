"""MaxViT for dense prediction: any image size, in timm and in OpenMMLab.

Importing this package registers the ``maxvit_*`` names with timm, an operator for PyTorch's compiler and functions that
fx calls whole, and reads the environment variable MAXVIT_DENSE_ATTENTION; nothing else. Where there is no PyTorch,
``maxvit_dense.runtime`` alone works.
``import maxvit_dense.openmmlab`` (or ``custom_imports`` in a config) registers the backbone there.
"""

import importlib.util

__version__ = "0.1.0"
__all__ = ["__version__", "variants"]

if importlib.util.find_spec("torch") is not None:
    from . import variants
else:  # a machine that runs exported models only

    def __getattr__(name: str):
        if name == "variants":
            raise ImportError("maxvit_dense's networks need PyTorch and timm: pip install torch torchvision timm")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
