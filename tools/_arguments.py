"""What the command lines of train.py and test.py have in common. Imports no torch: --help answers at once."""

import argparse
import ast
import importlib.util
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from mmengine.config import DictAction

_RANK_VARIABLES = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")

CONFIG_HELP = "config file, or the name of one of the package's, for example maskrcnn_maxvit_t_coco"

_LONGEST = 120  # characters of an entry in a message
_HOLDS_DICT = re.compile(r"(^|[\[(,\s])(dict\(|\{)")
_UNREADABLE = "failed to load image: "  # of mmcv's LoadImageFromFile


class ConfigOverrides(DictAction):
    """mmengine's KEY=VALUE pairs, whose values may also hold dict(...) or {...} as in a config."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        for pair in values:
            key, equals, value = pair.partition("=")
            if not equals:
                raise argparse.ArgumentError(self, f"{pair!r} is not of the form KEY=VALUE")
            try:
                if _HOLDS_DICT.search(value):
                    given = getattr(namespace, self.dest, None) or {}
                    setattr(namespace, self.dest, {**given, key: _literal(ast.parse(value, mode="eval").body)})
                else:
                    super().__call__(parser, namespace, [pair], option_string)
            except (SyntaxError, ValueError, AssertionError, RecursionError):
                reason = f"{key}: {value!r} cannot be read; write it as in a config, in quotes for the shell"
                raise argparse.ArgumentError(self, reason) from None


def _literal(node: ast.expr) -> Any:
    """The value that an expression of a config stands for; a bare word, whose quotes a shell took, is text."""
    if isinstance(node, ast.Name | ast.Attribute):
        return ast.unparse(node)
    if isinstance(node, ast.List | ast.Tuple):
        values = [_literal(item) for item in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    if isinstance(node, ast.Dict):
        return {_literal(key): _literal(value) for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.Call) and not node.args and all(keyword.arg for keyword in node.keywords):
        if ast.unparse(node.func) != "dict":
            raise ValueError(ast.unparse(node))
        return {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
    return ast.literal_eval(node)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that mean the same in training and testing."""
    parser.add_argument("--work-dir", metavar="DIR", help="for logs and results (work_dirs/<config name>)")
    parser.add_argument(
        "--data-root",
        metavar="DIR",
        help="folder of the data, in place of the config's: COCO (annotations/, ...) or images/ and masks/",
    )
    add_label_arguments(parser)
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=ConfigOverrides,
        metavar="KEY=VALUE",
        help="entries of the config to replace, for example train_cfg.max_epochs=24 "
        'train_dataloader.batch_size=4 key=[a,b] key="[(a,b),(c,d)]" (no spaces)',
    )
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="what started the processes; pytorch means torchrun (%(default)s)",
    )
    # torch.distributed.launch passes this to each process; torchrun sets LOCAL_RANK instead.
    parser.add_argument("--local-rank", "--local_rank", type=int, default=0, help=argparse.SUPPRESS)


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``choice.choice_of``, which mean the same to training, the check and the converter."""
    parser.add_argument(
        "--classes",
        metavar="FILE|NAMES",
        help="the classes to keep, in the order of labels: person,car; or a file of all names, one a line or JSON, a "
        'list or for masks {"value": "name"}',
    )
    parser.add_argument(
        "--rename", metavar="FILE.json", help='classes to merge, rename or drop: {"bus": "vehicle", "sky": null}'
    )
    parser.add_argument("--boxes-as-masks", action="store_true", help="objects without a mask get their box as one")
    parser.add_argument(
        "--void",
        type=_byte_values,
        default=(),
        metavar="N[,N...]",
        help="values in masks that are ignored, beside 255 (CamVid has 11)",
    )


def share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no part between 0 and 1")
    return value


def _byte_values(text: str) -> tuple[int, ...]:
    values = text.split(",")
    if not all(value.isascii() and value.isdigit() and int(value) < 256 for value in values):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of values from 0 to 255, such as 11,255")
    return tuple(map(int, values))


def config_names() -> ModuleType:
    """The package's module of that name, loaded alone: the package brings torch, which takes seconds."""
    package = Path(importlib.util.find_spec("maxvit_dense").origin).parent
    spec = importlib.util.spec_from_file_location("config_names", package / "config_names.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(args: argparse.Namespace) -> str | None:
    """Settle what needs no torch: the config's file, the local rank, progress messages, and which files are there.

    Args:
        args: of a parser with ``config`` and ``add_run_arguments``, perhaps ``checkpoint``; ``config`` becomes a path.

    Returns:
        What is wrong, or None.
    """
    if args.launcher != "none":
        os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    for name in ("work_dir", "data_root", "show_dir", "out", "resume", "rename", "checkpoint"):
        if getattr(args, name, None) == "":
            return f"--{name.replace('_', '-')} is empty. Give a path, or leave it out."
    names = config_names()
    try:
        args.config = str(names.find_config(args.config))
    except names.UnknownConfig as error:
        return str(error)
    checkpoint = getattr(args, "checkpoint", None)
    if checkpoint and not os.path.isfile(checkpoint):
        return f"There is no checkpoint file {checkpoint}. Check the path."
    if args.classes and args.classes.endswith((".txt", ".json")) and not os.path.isfile(args.classes):
        return f"There is no class file {args.classes}. Check the path."
    if args.data_root and not os.path.isdir(args.data_root):
        return f"There is no data root {args.data_root}. Give the folder that holds the data set."
    if _is_first_process():
        logger = logging.getLogger("maxvit_dense")
        logger.handlers[:] = [logging.StreamHandler(sys.stderr)]
        logger.setLevel(logging.INFO)
    return None


def fail(tool: str, message: object, overrides: Mapping[str, Any] | None = None) -> int:
    """Print the one message of a usage mistake, once among all processes; the exit code to return.

    Args:
        overrides: entries of the config that the command line gave, told where the message names none of them.
    """
    given = [f"{key}={value!r}"[:_LONGEST] for key, value in (overrides or {}).items()]
    if given and not any(key in str(message) for key in overrides):
        message = f"{message} Given were {', '.join(given)}."
    if _is_first_process():
        print(f"{tool}: {message}", file=sys.stderr)
    return 2


def outcome(tool: str, action: Callable[[], object]) -> int:
    """Run ``action``; what ended it is said by whichever process met it, with its rank.

    Returns:
        0 done, 1 it stopped itself (``TrainingStopped``), 2 the data cannot be used; another failure raises.
    """
    from maxvit_dense.errors import InputError, TrainingStopped

    try:
        action()
    except TrainingStopped as error:
        code, message = 1, error
    except (InputError, AssertionError) as error:
        code, message = 2, _data_mistake(error)
        if message is None:
            raise
    else:
        return 0
    rank = next((os.environ[name] for name in _RANK_VARIABLES if name in os.environ), None)
    print(f"{tool}: {message}" if rank is None else f"{tool} (rank {rank}): {message}", file=sys.stderr, flush=True)
    return code


def _data_mistake(error: Exception) -> str | None:
    """The message of an ``InputError`` or of an image that cannot be read; None of any other error.

    Data workers hand their errors on with the traceback as text.
    """
    text = str(error)
    if type(error).__name__ == "InputError":
        return text.rpartition("InputError: ")[2].strip()
    if _UNREADABLE in text:
        path = text.rpartition(_UNREADABLE)[2].strip()
        return f"Image {path} cannot be read. Copy or export it again; maxvit-dense check-dataset lists all such files."
    return None


def _is_first_process() -> bool:
    return all(os.environ.get(name, "0") == "0" for name in _RANK_VARIABLES)
