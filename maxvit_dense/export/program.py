"""One program of a network for images of any size: torch.export with batch, height and width left free."""

import inspect

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from ..errors import InputError

_MAX_SIDE = 65536  # pixels
_MAX_BATCH = 65536


def export_program(module: nn.Module, image: Tensor, *others: Tensor, free_batch: bool = True) -> ExportedProgram:
    """Exports a module whose first argument is a batch of images.

    The sizes are PyTorch's unbacked symbols (``ShapesSpec``). A ``Dim`` stands for two or more, and where the network
    asks in passing, at the memory layout of a convolution's input say, for more than that: with it no program serves
    images that the last stage sees as one position.

    Args:
        module: in evaluation mode.
        image: example (B, C, H, W); its sizes leave no trace in the program.
        others: further arguments, of fixed shape.
        free_batch: whether B is free, else it is the example's.

    Returns:
        A program for B from 1 to 65536 and H, W from 1 to 65536.

    Raises:
        InputError: this PyTorch has no such symbols.
    """
    try:
        from torch.fx.experimental.dynamic_spec import ParamsSpec, ShapesSpec, ShapeVar, TensorSpec
    except ImportError:
        raise InputError(
            f"PyTorch {torch.__version__} cannot leave all sizes of a program free (torch.fx.experimental.dynamic_spec "
            "is missing). Export with PyTorch 2.14 or newer; the files run without it."
        ) from None
    batch = ShapeVar("batch", min=1, max=_MAX_BATCH) if free_batch else image.shape[0]
    height, width = (ShapeVar(name, min=1, max=_MAX_SIDE) for name in ("height", "width"))
    names = list(inspect.signature(module.forward).parameters)
    shapes = {names[0]: TensorSpec([batch, image.shape[1], height, width])}
    with torch.no_grad():
        return torch.export.export(module, (image, *others), dynamic_shapes=ShapesSpec(params=ParamsSpec(shapes)))
