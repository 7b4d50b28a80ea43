"""What tests look at of a command's run."""


def log_of(work_dir):
    """The text of a work dir's last log."""
    return max(work_dir.glob("*/*.log")).read_text()


def refused(main, arguments, capsys, tmp_path):
    """Run a command that must refuse; its one message. Nothing may have been written."""
    before = sorted(tmp_path.rglob("*"))
    code, after = main(arguments), sorted(tmp_path.rglob("*"))
    lines = capsys.readouterr().err.splitlines()
    tool = main.__module__.rpartition(".")[2]
    messages = [line for line in lines if line.startswith(f"{tool}: ")]
    assert (code, after) == (2, before), (code, after)  # told here: pytest explains asserts of test files alone
    assert len(messages) == 1 and "Traceback" not in "".join(lines), lines
    return "\n".join(lines[lines.index(messages[0]) :])
