"""A module written as a program: ONNX, torch.export's .pt2, OpenVINO's .xml with .bin."""

import importlib.metadata
import importlib.util
import io
import logging
import sys
import warnings
from collections.abc import Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from .program import export_program

SUFFIXES = dict(onnx=".onnx", torch=".pt2", openvino=".xml")
_OPSET = 18  # with antialiased Resize, GroupNorm and ReduceSum over given axes; ONNX Runtime reads it since 1.14
_PACKAGES = dict(onnx=("onnx", "onnxscript"), torch=(), openvino=("onnx", "onnxscript", "openvino"))


@dataclass
class Graph:
    """A module to export.

    Attributes:
        module: in evaluation mode; takes ``example``.
        example: arrays by name, images first; no size of theirs is fixed but the channels, and the batch if told.
        outputs: names.
        free_batch: whether it takes several images at once.
    """

    module: nn.Module
    example: dict[str, Tensor]
    outputs: Sequence[str]
    free_batch: bool = True


def check_packages(form: str, precision: str) -> None:
    """Raises InputError naming what is not installed for this format."""
    missing = [name for name in _needed(form, precision) if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"--format {form} needs {' and '.join(missing)}: pip install {' '.join(missing)}")
    if precision != "fp32" and form != "openvino":
        raise InputError(f"--precision {precision} is of OpenVINO: add --format openvino")


def write_program(graph: Graph, form: str, path: Path) -> None:
    """Writes a module at full precision.

    Args:
        graph: the module with its example.
        form: a key of ``SUFFIXES``.
        path: file to write, with that suffix.
    """
    with _quiet():
        program = export_program(graph.module, *graph.example.values(), free_batch=graph.free_batch)
        if form == "torch":
            content = io.BytesIO()  # torch's own writer ends the process where the disk is full
            torch.export.save(program, content)
            path.write_bytes(content.getbuffer())
            return
        onnx_path = path.with_suffix(".onnx")
        torch.onnx.export(
            program,
            tuple(graph.example.values()),
            dynamo=True,
            opset_version=_OPSET,
            input_names=list(graph.example),
            output_names=list(graph.outputs),
            verbose=False,
        ).save(onnx_path)
    if form == "openvino":
        import openvino

        openvino.save_model(openvino.convert_model(str(onnx_path)), path, compress_to_fp16=False)
        onnx_path.unlink()


def quantize(path: Path, inputs: Sequence[dict[str, np.ndarray]]) -> None:
    """Puts 8-bit weights and activations in the place of an OpenVINO program's, calibrated on inputs."""
    import nncf
    import openvino

    model = openvino.Core().read_model(str(path))
    with redirect_stdout(sys.stderr):  # its progress
        quantized = nncf.quantize(
            model,
            nncf.Dataset(inputs),
            preset=nncf.QuantizationPreset.PERFORMANCE,  # symmetric
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(inputs),
            ignored_scope=nncf.IgnoredScope(**_left_as_it_is(model.get_ops()), validate=False),
        )
    del model  # it maps the file that is written over
    partial = path.with_name(f"int8-{path.name}")
    openvino.save_model(quantized, partial, compress_to_fp16=False)
    partial.with_suffix(".bin").replace(path.with_suffix(".bin"))
    partial.replace(path)


def _left_as_it_is(nodes: Sequence[Any]) -> dict[str, list[str]]:
    """Types and names of what is not quantized: of a network with attention, all but the layers with linear weights.

    With convolutions and element-wise work in 8 bits too it was no faster, and agreed with fp32's first class on 97.0%
    of 2,000 images in place of 99.6% (MaxViT-mini trained on CIFAR-10, docs/export.md).
    """
    types = {node.get_type_name() for node in nodes}
    products = [node for node in nodes if node.get_type_name() == "MatMul"]
    attention = [node.get_friendly_name() for node in products if not _has_weights(node)]
    if not attention and "ScaledDotProductAttention" not in types:
        return {}
    return dict(types=sorted(types - {"MatMul"}), names=attention)


def _has_weights(node: Any) -> bool:
    return any(part.get_source_output().get_node().get_type_name() == "Constant" for part in node.inputs())


def _needed(form: str, precision: str) -> list[str]:
    return [*_PACKAGES[form], *(["nncf"] if precision == "int8" else [])]


def versions(form: str, precision: str) -> dict[str, str]:
    """Of the libraries that write a format."""
    return {name: importlib.metadata.version(name) for name in ("maxvit_dense", "torch", *_needed(form, precision))}


@contextmanager
def _quiet() -> Any:
    """Without the exporters' progress and warnings, which are about themselves."""
    before = logging.root.manager.disable  # the caller's own
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
