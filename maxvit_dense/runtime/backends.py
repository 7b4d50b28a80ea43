"""The libraries that run a program: each is a function of arrays."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import InputError

Program = Callable[[dict[str, np.ndarray]], list[np.ndarray]]
Size = tuple[int, int]


def _missing(library: str) -> InputError:
    return InputError(f"This needs {library}, which is not installed: pip install {library}")


def _onnxruntime(path: Path, precision: str, threads: int, size: Size | None) -> Program:
    try:
        import onnxruntime
    except ImportError:
        raise _missing("onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=onnxruntime.get_available_providers())
    except Exception as error:  # its exceptions have no common class but this
        raise InputError(f"onnxruntime cannot read {path}: {error}") from error
    return lambda inputs: session.run(None, inputs)


def _openvino(path: Path, precision: str, threads: int, size: Size | None) -> Program:
    try:
        import openvino
    except ImportError:
        raise _missing("openvino") from None
    # Told, or its plugin would choose by the processor. What is not 8 bits of an int8 program runs faster in bf16.
    hint = "f32" if precision == "fp32" else "bf16"
    config = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    core = openvino.Core()
    try:
        model = core.read_model(str(path))
        if size:  # arithmetic on sizes and the windows' masks become constants: bf16 MaxViT-T 1.5x as fast at 224
            model.reshape({"image": [1, 3, *size]})
        compiled = core.compile_model(model, "CPU", config)
    except RuntimeError as error:
        raise InputError(f"openvino cannot read {path}: {error}") from error

    def run(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        found = compiled(inputs)
        return [found[output] for output in compiled.outputs]

    return run


def _torch(path: Path, precision: str, threads: int, size: Size | None) -> Program:
    try:
        import torch
        import torchvision  # noqa: F401  its operators: NMS, RoIAlign
    except ImportError:
        raise _missing("torch and torchvision") from None
    try:
        module = torch.export.load(path).module()
    except Exception as error:  # a broken archive raises one of many
        raise InputError(f"torch cannot read {path}: {error}") from error

    @torch.no_grad()
    def run(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        found = module(*map(torch.from_numpy, inputs.values()))
        return [value.numpy() for value in (found if isinstance(found, tuple | list) else [found])]

    return run


# By name: what opens a program, and suffixes of the files that it runs, its own first.
RUNTIMES = dict(
    onnxruntime=(_onnxruntime, (".onnx",)), openvino=(_openvino, (".xml", ".onnx")), torch=(_torch, (".pt2",))
)


def open_program(
    path: Path, runtime: str | None, precision: str = "fp32", threads: int = 0, size: Size | None = None
) -> Program:
    """A program ready to run.

    Args:
        path: NAME.onnx, NAME.xml of OpenVINO, or NAME.pt2 of torch.export.
        runtime: one of ``RUNTIMES``; None for the one that the file was written for.
        precision: fp32, bf16 or int8: what the file was exported for.
        threads: how many to use; 0 for ``default_threads``.
        size: height and width of every image, if all have one size and come one by one.

    Raises:
        InputError: no such runtime, it is not installed, or it does not read the file.
    """
    own = next(name for name, (_, suffixes) in RUNTIMES.items() if suffixes[0] == path.suffix)
    if (runtime or own) not in RUNTIMES:
        raise InputError(f"No runtime {runtime!r}; there are {', '.join(RUNTIMES)}.")
    opener, suffixes = RUNTIMES[runtime or own]
    if path.suffix not in suffixes:
        raise InputError(f"{runtime} runs {' and '.join(suffixes)} files, not {path.name}. Give --runtime {own}.")
    return opener(path, precision, threads or default_threads(), size)


def default_threads() -> int:
    """OMP_NUM_THREADS if that is set, else 0, the library's choice."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() else 0
