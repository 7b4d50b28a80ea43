"""MaxViT for dense prediction: any image size, in timm and in OpenMMLab.

Importing this package registers the ``maxvit_*`` names with timm, an operator for PyTorch's compiler and functions that
fx calls whole, and reads the environment variable MAXVIT_DENSE_ATTENTION; nothing else.
``import maxvit_dense.openmmlab`` (or ``custom_imports`` in a config) registers the backbone there.
"""

from . import variants

__version__ = "0.1.0"
__all__ = ["__version__", "variants"]
