"""Runs what ``maxvit-dense export`` wrote: needs numpy, Pillow and ONNX Runtime or OpenVINO, and no PyTorch.

    model = maxvit_dense.runtime.load("detector.onnx")
    found = model([np.asarray(Image.open("photo.jpg").convert("RGB"))])[0]
"""

from .model import Model

load = Model

__all__ = ["Model", "load"]
