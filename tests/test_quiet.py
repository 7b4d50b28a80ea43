"""The terminal shows what people can act on; the file of a run has everything."""

import logging

import pytest

pytest.importorskip("mmengine")

from mmengine.logging import MMLogger  # noqa: E402

from maxvit_dense.openmmlab.engine.own_files import quieten  # noqa: E402


def test_long_messages_go_to_the_file_alone(tmp_path, capsys):
    logger = MMLogger(name="quiet", log_file=str(tmp_path / "run.log"), log_level="INFO")
    (shown,) = [handler for handler in logger.handlers if not isinstance(handler, logging.FileHandler)]
    quieten(logger)
    quieten(logger)
    assert len(shown.filters) == len({id(f) for f in shown.filters})
    logger.info("Config:\nmodel = dict()")
    logger.info("\n------\nSystem environment:\n    python")
    logger.info("\nper class results:\n+---+")
    logger.info("Epoch(train) [1][3/3]  loss: 1")
    captured = capsys.readouterr()
    said = captured.err + captured.out
    assert "per class results" in said and "loss: 1" in said
    assert "model = dict()" not in said and "System environment" not in said
    text = (tmp_path / "run.log").read_text()
    assert "model = dict()" in text and "System environment" in text and "loss: 1" in text
