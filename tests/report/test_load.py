"""Reading run folders: what is there is read, what is missing is named, what is damaged is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from equipose.errors import DataError
from equipose.report.load import CONTRIBUTIONS_FORMAT, load_run


def test_whole_folder(joint_run):
    run = load_run(joint_run)
    stored = json.loads((joint_run / "metrics.json").read_text())
    assert run.strategy == "joint" and run.seed == 0 and run.missing == ()
    assert len(run.epochs) == 20 and len(run.scenes) == 3
    full = run.metrics.coalition(("wifi", "rgb", "lidar", "mmwave"))
    assert full is not None and full.mpjpe_mm == stored["coalitions"][-1]["mpjpe_mm"]
    assert run.contributions is not None and list(run.contributions.share) == ["rgb", "lidar", "mmwave", "wifi"]
    assert run.predictions is not None and run.predictions.joints.shape == (1120, 17, 3)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("contributions.npz", "equipose contributions"),
        ("scenes.npz", "equipose evaluate"),
        ("predictions.npz", "equipose evaluate"),
        ("metrics.jsonl", "equipose train"),
        ("env.json", "equipose train"),
    ],
)
def test_missing_optional_file_is_named_with_its_command(make_run, name, command):
    run = load_run(make_run(omit=(name,), frames=2))
    assert len(run.missing) == 1 and name in run.missing[0] and command in run.missing[0]


def test_no_folder(tmp_path):
    with pytest.raises(DataError, match=r"found no folder at .*expected a run folder.*equipose train"):
        load_run(tmp_path / "nothing")


def test_other_folder(tmp_path):
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(DataError, match=r"found holiday.jpg in it, expected config.yaml.*equipose train"):
        load_run(tmp_path)


def test_not_evaluated(make_run):
    folder = make_run(omit=("metrics.json",), frames=2)
    with pytest.raises(DataError, match=r"found no metrics.json.*equipose evaluate"):
        load_run(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", b"{broken"),
        ("metrics.json", b'{"samples": "many"}'),
        ("metrics.json", b"[" * 100_000),
        ("config.yaml", b"a: [1, 2"),
        ("config.yaml", b"just text"),
        ("config.yaml", b"!!python/object/apply:os.system ['true']"),
        ("env.json", b"[1]"),
        ("metrics.jsonl", b'not json\n{"epoch": 1}\n'),
        ("predictions.npz", b"not a zip file"),
        ("scenes.npz", b"PK\x03\x04 cut off"),
        ("contributions.npz", b""),
    ],
)
def test_damaged_file_says_which_and_what_to_do(make_run, name, content):
    folder = make_run(frames=2)
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} is damaged: .*with: equipose"):
        load_run(folder)


def test_pickled_array_is_refused(make_run):
    folder = make_run(frames=2)
    np.savez(folder / "predictions.npz", joints=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match=r"predictions.npz is damaged"):
        load_run(folder)


def test_wrong_shape_is_refused(make_run):
    folder = make_run(frames=2)
    with np.load(folder / "predictions.npz") as stored:
        arrays = dict(stored)
    np.savez(folder / "predictions.npz", **{**arrays, "target": arrays["target"][:-1]})
    with pytest.raises(DataError, match=r"target is float32 .*expected numbers"):
        load_run(folder)


def test_last_line_being_written_is_left_out(make_run):
    folder = make_run(frames=2, epochs=3)
    with (folder / "metrics.jsonl").open("a") as stream:
        stream.write('{"epoch": 3, "sec')
    assert [e.epoch for e in load_run(folder).epochs] == [0, 1, 2]


def test_not_finite_numbers_are_missing_numbers(make_run):
    folder = make_run(frames=2)
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["coalitions"][-1].update(mpjpe_mm=float("nan"), interval=[None, None])
    (folder / "metrics.json").write_text(json.dumps(metrics))
    row = load_run(folder).metrics.coalition(("rgb", "lidar", "mmwave", "wifi"))
    assert row is not None and row.mpjpe_mm is None and row.interval is None


def test_agrees_with_the_file_the_contribution_package_writes(tmp_path, make_run):
    pytest.importorskip("torch")
    from equipose.contribution import result
    from equipose.contribution.imbalance import COLLAPSE_ALARM
    from equipose.report.findings import IGNORED_BELOW

    assert result.FORMAT == CONTRIBUTIONS_FORMAT
    assert COLLAPSE_ALARM == IGNORED_BELOW
    rng = np.random.default_rng(0)
    measured = result.Contributions(
        modalities=("rgb", "wifi"), profit="pearson", unit="sum of correlations", baseline="zero", samples=10,
        resamples=20, values=rng.normal(size=4), phi=np.array([2.0, 1.0]),
        phi_interval=np.array([[1.5, 2.5], [0.5, 1.5]]),
        share=np.array([2 / 3, 1 / 3]), share_interval=np.full((2, 2), np.nan), per_joint=rng.normal(size=(2, 17)),
        subjects=(1, 2), per_subject=rng.normal(size=(2, 2)), actions=(3,), per_action=rng.normal(size=(2, 1)),
        environments=(1,), per_environment=rng.normal(size=(2, 1)), interaction_index="SII",
        interactions=np.array([[1.0, -0.25], [-0.25, 1.0]]), collapse={"rgb": 0.9, "wifi": 0.05}, entropy=0.9,
        effective_number=1.8, alarms=("wifi has collapsed",), profits=("pearson", "mpjpe"),
        phi_by_profit=np.array([[2.0, 1.0], [1.0, 3.0]]),
    )  # fmt: skip
    folder = make_run(frames=2, modalities=("rgb", "wifi"))
    result.save_npz(folder / "contributions.npz", measured)
    found = load_run(folder).contributions
    assert found is not None
    assert found.phi["rgb"].value == 2.0 and found.phi["rgb"].interval == (1.5, 2.5)
    assert found.share["wifi"].interval is None
    assert found.interactions == {("rgb", "wifi"): -0.25}
    assert found.phi_by_profit["mpjpe"] == {"rgb": 1.0, "wifi": 3.0}
