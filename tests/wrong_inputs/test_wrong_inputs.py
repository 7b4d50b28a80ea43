"""Every wrong input of the tables gets one message with what is wrong, exit code 2, and writes nothing."""

import importlib
import math
import os
import random
import re
from pathlib import Path

import pytest

pytest.importorskip("mmseg", reason="needs mmseg (pip install maxvit_dense[openmmlab])")

from mmengine.config import Config  # noqa: E402

from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.engine import prepare  # noqa: E402
from maxvit_dense.sample_data import write_sample_data  # noqa: E402
from tests import pretraining, small_detector, small_segmentor  # noqa: E402
from tests.class_folders import write_folders  # noqa: E402
from tests.wrong_inputs import cases  # noqa: E402
from tests.wrong_inputs.forked import Answer, run_forked  # noqa: E402

train = importlib.import_module("tools.train")
evaluate = importlib.import_module("tools.test")

FAMILIES = {
    "detector": (small_detector, cases.EVERY + cases.DETECTOR),
    "segmentor": (small_segmentor, cases.EVERY + cases.SEGMENTOR),
    "classifier": (pretraining, cases.EVERY + cases.CLASSIFIER),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Arguments of a training of each family that would work, but for its work dir."""
    root = tmp_path_factory.mktemp("families")
    write_sample_data(str(root / "sample"), train=4, val=2, size=80, seed=0)
    data = dict(
        detector=root / "sample" / "coco",
        segmentor=root / "sample" / "ade" / "ADEChallengeData2016",
        classifier=write_folders(root / "images"),
    )
    found = {}
    for family, (module, _) in FAMILIES.items():
        (root / family).mkdir()
        found[family] = [str(module.write_config(root / family)), "--data-root", str(data[family])]
        # Once here, so that what is forked has imported everything.
        prepare.prepare_training(found[family][0], data_root=found[family][2], work_dir=str(root / "work"))
    return found


def arguments_of(change: str) -> list[str]:
    return change.split(" ") if change.startswith("--") else ["--cfg-options", *change.split(" ")]


def answer_of(tool, arguments: list[str], folder: Path) -> Answer:
    """What a command says, up to the point where it would begin its work."""

    def act() -> int:
        tool.outcome = lambda *_: 0
        return tool.main(arguments)

    return run_forked(act, folder)


def fault(answer: Answer, words: str) -> str:
    """What is wrong with an answer to a wrong input; empty if nothing is."""
    if answer.code != 2:
        return f"exit code {answer.code}: {answer.said[-300:]}"
    if "Traceback" in answer.said:
        return f"a traceback: {answer.said[-300:]}"
    if answer.written:
        return f"wrote {answer.written}"
    if not re.search(words, answer.said, re.S):
        return f"said {answer.messages or answer.said[-300:]!r}, and not {words!r}"
    return "" if len(answer.said) < 6000 else f"said {len(answer.said)} characters"


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_wrong_input_of_a_training_is_said_and_nothing_written(family, places, tmp_path):
    wrong = {}
    for change, words in FAMILIES[family][1]:
        arguments = places[family] + ([] if "--work-dir" in change else ["--work-dir", "work"])
        problem = fault(answer_of(train, arguments + arguments_of(change), tmp_path), words)
        if problem:
            wrong[change] = problem
    assert not wrong, "\n".join(f"{change!r}: {problem}" for change, problem in wrong.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_change_each_training_would_begin(family, places, tmp_path):
    answer = answer_of(train, [*places[family], "--work-dir", "work"], tmp_path)
    assert answer.code == 0, answer.said
    assert (tmp_path / "work").is_dir()


@pytest.fixture(scope="module")
def trained(places, tmp_path_factory):
    """A detector's checkpoint of one epoch."""
    work_dir = tmp_path_factory.mktemp("trained")
    assert run_forked(lambda: train.main([*places["detector"], "--work-dir", "."]), work_dir).code == 0
    return work_dir / "epoch_1.pth"


@pytest.mark.timeout(1200)
def test_each_wrong_input_of_an_evaluation_is_said_and_nothing_written(places, trained, tmp_path):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file.json").touch()
    config, *rest = places["detector"]
    wrong = {}
    for change, words in cases.TEST:
        arguments = [config, str(trained), *rest] + ([] if "--work-dir" in change else ["--work-dir", "work"])
        problem = fault(answer_of(evaluate, arguments + arguments_of(change), tmp_path), words)
        if problem:
            wrong[change] = problem
    assert not wrong, "\n".join(f"{change!r}: {problem}" for change, problem in wrong.items())


@pytest.mark.parametrize("tool", cases.OTHERS)
def test_each_wrong_input_of_another_command_is_said_and_nothing_written(tool, tmp_path):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file.json").touch()
    command, wrong = importlib.import_module(f"tools.{tool}"), {}
    for arguments, words in cases.OTHERS[tool]:
        problem = fault(answer_of(command, arguments.split(" "), tmp_path), words)
        if problem:
            wrong[arguments] = problem
    assert not wrong, "\n".join(f"{arguments!r}: {problem}" for arguments, problem in wrong.items())


# Any one value of a config, in place of which stands something else.

VALUES = (None, -1, 0, 1.5, math.nan, "x", "", [], [None], {}, True, 2**40, "a\0b")


def leaves(node, key: str = "") -> list[str]:
    """Dotted keys of all values of a config."""
    if isinstance(node, dict) and node:
        return [leaf for name, child in node.items() for leaf in leaves(child, f"{key}.{name}" if key else name)]
    if isinstance(node, list) and node and isinstance(node[0], dict):
        return [leaf for i, child in enumerate(node) for leaf in leaves(child, f"{key}.{i}")]
    return [key]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("family", FAMILIES)
def test_any_other_value_is_taken_or_said(family, places, tmp_path):
    config, _, root = places[family]
    keys = leaves(Config.fromfile(config).to_dict())
    draw = random.Random(f"{family} {os.environ.get('SEED', 0)}")
    wrong = {}
    for number in range(int(os.environ.get("WRONG_INPUTS", 8))):
        change = {draw.choice(keys): draw.choice(VALUES)}
        folder = tmp_path / str(number)
        folder.mkdir()

        def act(change=change) -> int:
            try:
                cfg = prepare.prepare_training(config, overrides=change, data_root=root, work_dir="work")
                prepare.build_runner(cfg)
            except InputError as error:
                print(error)
                return 2
            return 0

        answer = run_forked(act, folder)
        if answer.code not in (0, 2) or "Traceback" in answer.said or (answer.code == 2 and answer.written):
            wrong[str(change)] = f"exit code {answer.code}, wrote {answer.written}: {answer.said[-600:]}"
    assert not wrong, "\n".join(f"{change}: {problem}" for change, problem in wrong.items())
