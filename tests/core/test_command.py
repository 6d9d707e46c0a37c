"""`python -m infant_fer`: its commands, options, help and exit codes."""

import argparse
import contextlib
import os
import subprocess
import sys
from functools import partial
from importlib import import_module

import pytest

from infant_fer.__main__ import DELEGATED, main
from tests.conftest import EXAMPLES, ROOT
from tests.core.test_batch import Empty


@pytest.mark.parametrize("module", ["infant_fer.__main__", "app", "train"])
def test_threads_that_wait_do_not_spin(module, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with contextlib.suppress(SystemExit):
        import_module(module).main()
    assert os.environ["OMP_WAIT_POLICY"] == "passive"


def test_exit_codes(tmp_path, capsys):
    broken, empty = tmp_path / "broken.jpg", tmp_path / "empty"
    broken.write_bytes(b"nothing")
    empty.mkdir()
    assert main([str(broken)]) == 1
    assert main([str(tmp_path / "nowhere")]) == 1
    assert main([str(empty)]) == 1
    assert "No photo was found" in capsys.readouterr().err
    assert main([str(EXAMPLES / "smile.jpg"), "--checkpoint", str(empty)]) == 2


@pytest.mark.parametrize("module", ["evaluate", "explain.__main__", "trust.__main__", "export"])
def test_every_command_ends_with_one_sentence_when_it_is_interrupted(monkeypatch, capsys, module):
    def interrupt(options):
        raise KeyboardInterrupt

    command = import_module(f"infant_fer.{module}")
    parser = argparse.ArgumentParser()
    parser.set_defaults(target=None, versus=None)
    monkeypatch.setattr(command, "_parser", lambda: parser)
    for name in ("_evaluate", "_explain", "run", "_write_graphs"):
        if hasattr(command, name):
            monkeypatch.setattr(command, name, interrupt)
    assert command.main([]) == 130
    assert capsys.readouterr().err == "Interrupted.\n"


@pytest.mark.parametrize("arguments", [["read"], []])
def test_read_is_the_command_without_a_command(monkeypatch, tmp_path, arguments):
    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda *_: Empty())
    out = tmp_path / "out.csv"
    assert main([*arguments, "--csv", str(out), "0.jpg"]) == 0
    assert out.read_text().splitlines()[1].startswith("0.jpg,,no face")


def test_wrong_options_and_help(capsys):
    assert main(["0.jpg", "--nonsense"]) == 2
    assert main(["read"]) == 2
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for word in ("read", "evaluate", "audit", "trust", "export", "render"):
        assert word in shown


@pytest.mark.parametrize("command", ["evaluate", "audit", "trust", "export", "render"])
def test_other_commands_get_their_own_arguments(command, capsys):
    with pytest.raises(SystemExit) as end:
        import_module(DELEGATED[command][0]).main(["--help"])
    assert end.value.code == 0
    own = capsys.readouterr().out
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out == own
    assert main([command, "--nonsense"]) == 2


@pytest.mark.parametrize("module", [*(module for module, _ in DELEGATED.values()), "train"])
def test_an_option_of_several_values_that_is_repeated_loses_none(module):
    """Such an option has no default that the first value would be added to."""
    for option in import_module(module)._parser()._actions:
        if option.option_strings and option.nargs == "+":
            assert type(option).__name__ == "_ExtendAction", option.option_strings
            assert not option.default, option.option_strings


def test_groups_that_are_given_one_by_one_are_all_measured():
    from infant_fer.trust.__main__ import _parser, _sources

    words = ["--group", f"a={EXAMPLES}", "--group", f"b={EXAMPLES}", f"c={EXAMPLES}"]
    assert list(_sources(_parser().parse_args(["CHECKPOINT", "--table", "x", *words]).group)) == ["a", "b", "c"]
    assert _parser().parse_args(["CHECKPOINT", "--table", "x"]).group == []


NEEDS = [
    (["evaluate", "CHECKPOINT", "--data", "x"], "_evaluate", "sklearn", "train"),
    (["trust", "CHECKPOINT", "--table", "x"], "run", "sklearn", "train"),
    (["export", "CHECKPOINT", "--out", "x"], "_write_graphs", "onnxscript", "export"),
]


@pytest.mark.parametrize(("words", "work", "package", "extra"), NEEDS)
def test_a_package_of_an_extra_that_is_missing_is_one_sentence(words, work, package, extra, monkeypatch, capsys):
    def import_a_part(options):
        import_module(f"{package}.part")

    monkeypatch.setattr(import_module(DELEGATED[words[0]][0]), work, import_a_part)
    monkeypatch.setitem(sys.modules, package, None)
    for run in (partial(main, words), partial(import_module(DELEGATED[words[0]][0]).main, words[1:])):
        assert run() == 2
        assert capsys.readouterr().err == (
            f"This command needs {package}: pip install '.[{extra}]' in the project's folder\n"
        )


def test_a_module_that_no_extra_brings_is_a_fault_of_the_program(monkeypatch):
    monkeypatch.setattr("infant_fer.export._write_graphs", lambda _: import_module("infant_fer.nowhere"))
    with pytest.raises(ModuleNotFoundError, match=r"infant_fer\.nowhere"):
        main(["export", "CHECKPOINT", "--out", "x"])


WITHOUT_EXTRAS = (
    "import sys; sys.modules.update(dict.fromkeys(('sklearn', 'accelerate', 'tensorboard', 'onnx', 'onnxscript', 'av')));"
    "from infant_fer.__main__ import main; sys.exit(main(sys.argv[1:]))"
)


def run_without_extras(*words: str) -> subprocess.CompletedProcess:
    """Run a command as after `pip install .`."""
    command = [sys.executable, "-c", WITHOUT_EXTRAS, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
@pytest.mark.parametrize(("words", "_", "package", "extra"), NEEDS)
def test_commands_say_which_extra_they_need(words, _, package, extra, tmp_path):
    out = [str(tmp_path / "out") if word == "x" else word for word in words[2:]]
    run = run_without_extras(words[0], "checkpoints/infant-fer-mobile", *out)
    assert run.returncode == 2
    assert f"needs {package}: pip install '.[{extra}]' in the project's folder" in run.stderr.splitlines()[-1]


@pytest.mark.slow
def test_explaining_needs_no_extra(tmp_path):
    options = ["--checkpoints", "checkpoints/infant-fer-mobile", "--methods", "gradcam", "--out", str(tmp_path / "out")]
    run = run_without_extras("explain", str(EXAMPLES / "smile.jpg"), *options)
    assert run.returncode == 0, run.stderr


@pytest.mark.slow
def test_it_runs_as_a_module_and_prints_csv():
    run = subprocess.run(
        [sys.executable, "-m", "infant_fer", str(EXAMPLES / "cry.jpg")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("file,face,label,positive,neutral,negative")
    assert len(run.stdout.splitlines()) == 2
    assert "Traceback" not in run.stderr


def test_the_help_names_the_commands_and_the_options_of_reading(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for word in ("evaluate", "video", "PHOTO_OR_FOLDER", "--checkpoint", "--explain"):
        assert word in shown


@pytest.mark.parametrize(("command", "times"), [("read", 2), ("evaluate", 1)])
def test_the_help_warns_of_file_names_in_what_is_written(command, times, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.count("may name a child") == times


def test_a_port_in_the_environment_that_is_no_number_is_one_sentence(monkeypatch, capsys):
    import app

    monkeypatch.setenv("GRADIO_SERVER_PORT", "http")
    with pytest.raises(SystemExit):
        app._parser().parse_args([])
    assert "invalid int value: 'http'" in capsys.readouterr().err
    monkeypatch.setenv("GRADIO_SERVER_PORT", "7861")
    assert app._parser().parse_args([]).port == 7861
