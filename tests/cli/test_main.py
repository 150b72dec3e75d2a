"""The command line as a user meets it."""

import errno
import subprocess
import sys
import time

import pytest

from equipose.cli.main import VERBS, main


def run(*words):
    return subprocess.run(
        [sys.executable, "-m", "equipose.cli", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_names_every_verb_and_is_quick_without_torch():
    code = (
        "import sys; from equipose.cli.main import main; main(['--help']);"
        "assert not {'torch', 'numpy', 'scipy', 'plotly', 'lightning_fabric'} & set(sys.modules), 'heavy import'"
    )
    times = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - start)
    for verb in VERBS:
        assert verb in done.stdout
    assert min(times) <= 0.3


def test_importing_the_package_imports_no_torch():
    code = "import sys, equipose; assert 'torch' not in sys.modules; equipose.load_recipe(None)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_explains_itself(verb, capsys):
    assert main([*verb.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert "usage: equipose" in text and len(text) > 200


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["trian"], 2, "Did you mean 'train'?"),
        (["data", "chek", "x"], 2, "Did you mean 'check'?"),
        (["train", "nowhere"], 3, "nowhere"),
        (["train", "nowhere", "--set", "train.epoch=3"], 2, "Did you mean train.epochs?"),
        (["train", "nowhere", "--epochs", "0"], 2, "train.epochs"),
        (["train", "nowhere", "--recipe", "none.yaml"], 2, "none.yaml"),
        (["evaluate", "nowhere"], 3, "expected a run folder"),
        (["resume", "nowhere"], 3, "expected a run folder"),
        (["report", "nowhere"], 3, "nowhere"),
        (["data", "check", "nowhere"], 3, "nowhere"),
        (["data", "pack", "nowhere", "out"], 3, "nowhere"),
        (["list", "fusio"], 2, "Did you mean 'fusion'?"),
        (["describe", "acw"], 2, "Did you mean 'awc'?"),
        (["config", "check", "--set", "model.fusion=concta"], 2, "Did you mean 'concat'?"),
        (["config", "check", "--set", "balance.name=acw"], 2, "Did you mean 'awc'?"),
        (["config", "check", "--set", "epochs"], 2, "KEY=VALUE"),
        (["config", "check", "--set", "data.modalities=[rbg]"], 2, "Did you mean 'rgb'?"),
        (["config", "check", "--set", "data.modalities=[rgb, rgb]"], 2, "named twice"),
        (["config", "check", "--set", "data.windows=1"], 2, "--set data.windows.rgb="),
        (["config", "check", "--set", "data.windows.rbg=3"], 2, "Did you mean 'rgb'?"),
        (["config", "check", "--set", "data.points.rgb=3"], 2, "only lidar, mmwave have"),
        (["config", "check", "--set", "data.crop.lidar=[1, -1, 0, 1, 0, 1]"], 2, "the box of lidar is empty"),
        (["config", "check", "--set", "model.encoders.rbg=temporal_conv"], 2, "Did you mean 'rgb'?"),
        (["config", "check", "--set", "model.width=100000"], 2, "8192"),
        (["config", "check", "--set", "train.seed=-1"], 2, "train.seed"),
        (["config", "check", "--set", "data.split_seed=-1"], 2, "data.split_seed"),
        (["config", "check", "--set", "balance.settings.alpha=3"], 2, "There are none here."),
        (["config", "check", "--set", "balance={name: awc, settings: {windw: 3}}"], 2, "Did you mean window?"),
        (["train", "nowhere", "--balance", "acw"], 2, "Did you mean 'awc'?"),
        (["train", "nowhere", "--modalities"], 2, "no sensor is named"),
        (["train", "nowhere", "--name", "{foo}"], 2, "{strategy}"),
        (["train", "nowhere", "--name", "{"], 2, "{strategy}"),
        (["quickstart", "--epochs", "0"], 2, "train.epochs"),
        (["quickstart", "--jobs", "0"], 2, "--jobs: found 0"),
        (["simulate", "out", "--jobs", "0"], 2, "--jobs: found 0"),
    ],
)
def test_a_wrong_word_gets_a_helpful_answer(words, code, expected, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == code
    error = capsys.readouterr().err
    assert expected in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir()), "a refused command wrote something"


def test_debug_shows_where_an_error_came_from(tmp_path):
    done = run("evaluate", str(tmp_path), "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_a_recipe_that_is_no_text_is_refused(tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_bytes(b"\xff\xfe\x00\x81")
    assert main(["config", "check", str(recipe)]) == 2
    assert "is not valid YAML" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["config", "show"], ["describe", "awc"]])
def test_a_reader_that_has_gone_is_no_error(words):
    with subprocess.Popen(
        [sys.executable, "-m", "equipose.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x.npy"), 3, "The disk is full: make room"),
        (PermissionError(errno.EACCES, "Permission denied", "x.npy"), 3, "x.npy: Permission denied"),
        (MemoryError(), 1, "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 1, "smaller --batch-size"),
        (RuntimeError("odd"), 1, "fault of the program"),
    ],
)
def test_what_the_system_refuses_is_explained(error, code, expected, monkeypatch, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr("equipose.cli.main._run", fail)
    assert main(["list"]) == code
    assert expected in capsys.readouterr().err


def test_list_and_describe_cover_the_registries(capsys):
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    for name in ("awc", "concat", "pearson", "mmwave", "demo"):
        assert name in text
    assert main(["describe", "awc"]) == 0
    assert "alpha" in capsys.readouterr().out
    assert main(["describe", "lidar.fog"]) == 0
    assert "50 / 20 / 10 m visibility" in capsys.readouterr().out


def test_config_show_is_a_recipe(tmp_path, capsys):
    assert main(["config", "show", "--set", "train.epochs=3"]) == 0
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(capsys.readouterr().out)
    assert main(["config", "check", str(recipe)]) == 0
    assert "epochs: 3" in recipe.read_text()
