"""Training end to end on a tiny data set."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from equipose.data.dataset import datasets
from equipose.errors import DataError, UsageError
from equipose.train import fit
from equipose.train.build import build_session
from equipose.train.checkpoint import load_weights
from equipose.train.evaluate import evaluate, load_model
from equipose.train.loop import batches_per_epoch
from equipose.train.run_dir import RunDir
from equipose.train.schedule import learning_rate


def weights(run):
    return load_file(run.checkpoint("last") / "model.safetensors")


def test_awc_with_zero_strength_is_joint_training_bit_for_bit(packed, recipe, tmp_path):
    joint = fit.train(recipe(), packed, tmp_path, "joint")
    zero = fit.train(
        recipe("balance.name=awc", "balance.settings={alpha_superior: 0.0, alpha_inferior: 0.0}"),
        packed,
        tmp_path,
        "zero",
    )
    a, b = weights(joint), weights(zero)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_awc_with_strength_changes_the_encoders(packed, recipe, tmp_path):
    joint = fit.train(recipe(), packed, tmp_path, "joint")
    awc = fit.train(recipe("balance.name=awc"), packed, tmp_path, "awc")
    a, b = weights(joint), weights(awc)
    assert any(not torch.equal(a[name], b[name]) for name in a if name.startswith("encoders"))
    log = awc.epochs()[0]["balance"]
    assert log["window_open"] is True
    assert set(log["groups"].values()) <= {"superior", "inferior"}


@pytest.mark.parametrize("fusion", ["concat", "mlp", "attention"])
@pytest.mark.parametrize("modalities", [["wifi"], ["rgb", "lidar"], ["rgb", "lidar", "mmwave", "wifi"]])
def test_any_fusion_trains_on_any_sensors(fusion, modalities, packed, recipe, tmp_path):
    settings = recipe(f"model.fusion={fusion}", f"data.modalities={modalities}", "train.epochs=1")
    run = fit.train(settings, packed, tmp_path, "run")
    metrics = evaluate(run)
    assert metrics["modalities"] == modalities
    assert len(metrics["coalitions"]) == 2 ** len(modalities)
    assert all(np.isfinite(row["mpjpe_mm"]) for row in metrics["coalitions"])
    assert set(run.epochs()[0]["contribution"]) == set(modalities)


def test_training_lowers_the_error(packed, recipe, tmp_path):
    run = fit.train(recipe("train.epochs=12"), packed, tmp_path, "run")
    lines = run.epochs()
    assert len(lines) == 12
    assert lines[-1]["train_mpjpe_mm"] < 0.8 * lines[0]["train_mpjpe_mm"]


def test_the_same_seed_gives_the_same_run_and_the_callers_random_state_stays(packed, recipe, tmp_path):
    before = torch.get_rng_state()
    a = fit.train(recipe("train.epochs=1"), packed, tmp_path, "a")
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    b = fit.train(recipe("train.epochs=1"), packed, tmp_path, "b")
    c = fit.train(recipe("train.epochs=1", "train.seed=1"), packed, tmp_path, "c")
    same, other = weights(a), weights(c)
    assert all(torch.equal(v, weights(b)[k]) for k, v in same.items())
    assert any(not torch.equal(v, other[k]) for k, v in same.items())


def test_the_best_checkpoint_is_the_best_on_validation(packed, recipe, tmp_path):
    run = fit.train(recipe("train.epochs=4", "train.learning_rate=0.01"), packed, tmp_path, "run")
    best = min(line["validation_mpjpe_mm"] for line in run.epochs())
    splits = datasets(packed, run.recipe.data)
    session = build_session(run.recipe, splits["train"], fit.launch(run.recipe.train))
    load_weights(run.checkpoint("best"), session.model)
    assert fit.validation_error(session, splits["validation"]) == best


def test_a_run_is_never_overwritten(packed, recipe, tmp_path):
    fit.train(recipe("train.epochs=1"), packed, tmp_path, "run")
    with pytest.raises(UsageError, match="equipose resume"):
        fit.train(recipe("train.epochs=1"), packed, tmp_path, "run")


def test_a_moved_run_is_evaluated_and_says_when_its_data_moved(packed, recipe, tmp_path):
    run = fit.train(recipe("train.epochs=1"), packed, tmp_path, "run")
    first = evaluate(run)
    moved = RunDir.open((tmp_path / "run").rename(tmp_path / "elsewhere"))
    again = evaluate(moved, data=packed)
    assert again["coalitions"] == first["coalitions"]
    moved.set_status(data=str(tmp_path / "gone"))
    with pytest.raises(DataError, match="--data"):
        evaluate(moved)


def test_other_data_than_its_own_are_refused(packed, recipe, tmp_path):
    """Errors on other people would stand in the run's folder as if they were those of its test split."""
    from equipose.data.packed import pack
    from equipose.simulate.mmfi_writer import write_mmfi

    write_mmfi(tmp_path / "mmfi", subjects=(1, 2, 3, 4, 5, 11), actions=(13, 12), frames=6, seed=1, jobs=1)
    pack(tmp_path / "mmfi", tmp_path / "other", jobs=1)
    run = fit.train(recipe("train.epochs=1"), packed, tmp_path, "run")
    for ask in (evaluate, fit.resume):
        with pytest.raises(UsageError, match=r"was trained on .*--data"):
            ask(run, tmp_path / "other")
    assert not (run.path / "metrics.json").exists()
    values = {key: value for key, value in run.status.items() if key != "data_digest"}
    run.write_json("status.json", values)
    assert evaluate(run, tmp_path / "other")["samples"] > 0, "a run of an earlier version does not know its data"


def test_every_subset_is_evaluated_as_a_full_forward_would(packed, recipe, tmp_path):
    run = fit.train(recipe("train.epochs=1"), packed, tmp_path, "run")
    metrics = evaluate(run)
    test = datasets(packed, run.recipe.data)["test"]
    model = load_model(run, test)
    batch = test.batch(np.arange(len(test)), None)
    for row in (1, 6, 15):
        coalition = torch.tensor([[bool(row >> m & 1) for m in range(4)]]).expand(len(batch), 4)
        with torch.no_grad():
            joints = model(batch, coalition).joints.double()
        error = 1000 * torch.linalg.vector_norm(joints - batch.target.double(), dim=-1).mean()
        assert metrics["coalitions"][row]["mpjpe_mm"] == pytest.approx(float(error), abs=1e-6)


def test_a_strategy_without_what_it_needs_is_refused_before_anything_is_written(packed, recipe, tmp_path):
    settings = recipe("balance.name=awc", "contribution.samples_per_epoch=0")
    with pytest.raises(UsageError, match="samples_per_epoch"):
        fit.train(settings, packed, tmp_path, "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("balance.settings={alpha: 1}", "balance.settings"),
        ("model.fusion=conct", "Did you mean 'concat'"),
        ("contribution.profit=person", "Did you mean 'pearson'"),
        ("model.encoders={wifi: temporal_conv}", "temporal_conv"),
    ],
)
def test_a_wrong_name_is_refused_before_anything_is_written(override, expected, packed, recipe, tmp_path):
    with pytest.raises(UsageError, match=expected):
        fit.train(recipe("balance.name=awc", override), packed, tmp_path, "run")
    assert not (tmp_path / "run").exists()


def test_awc_without_groups_needs_no_contribution(packed, recipe, tmp_path):
    settings = recipe(
        "balance.name=awc", "balance.settings={groups: none}", "contribution.samples_per_epoch=0", "train.epochs=1"
    )
    assert fit.train(settings, packed, tmp_path, "run").epochs()[0]["balance"]["window_open"] is False


def test_bfloat16_trains_and_is_evaluated_in_float32(packed, recipe, tmp_path):
    settings = recipe("balance.name=awc", "train.precision=bf16-mixed", "train.epochs=1", "model.fusion=attention")
    run = fit.train(settings, packed, tmp_path, "half")
    full = fit.train(settings.model_copy(update={"train": recipe("train.epochs=1").train}), packed, tmp_path, "full")
    a, b = weights(run), weights(full)
    assert all(value.dtype == torch.float32 for value in a.values())
    assert any(not torch.equal(a[name], b[name]) for name in a), "the precision changed nothing"
    error, reference = run.epochs()[0]["train_mpjpe_mm"], full.epochs()[0]["train_mpjpe_mm"]
    assert error == pytest.approx(reference, rel=0.05)
    assert evaluate(run)["device"] == "cpu"


def test_a_diverged_run_says_so(packed, recipe, tmp_path):
    with pytest.raises(UsageError, match="diverged"):
        fit.train(recipe("train.optimizer=sgd", "train.learning_rate=1e30"), packed, tmp_path, "run")
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "failed"


def test_schedules():
    settings = fit.Recipe().train
    step = [learning_rate(settings, i, 100) for i in range(100)]
    assert step[59] == 1e-3 and step[60] == pytest.approx(1e-4)
    cosine = [learning_rate(settings.model_copy(update={"schedule": "cosine"}), i, 100) for i in range(100)]
    assert cosine[0] < cosine[4] and max(cosine) == pytest.approx(1e-3) and cosine[-1] < 2e-5
    assert batches_per_epoch(3, 8) == 1 and batches_per_epoch(17, 8) == 2
