"""Signals before networks: who is to blame, what is set aside, and that clean data are left alone."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from equipose.config import ModelSettings
from equipose.data.corrupt.dataset import CorruptedDataset
from equipose.data.corrupt.plan import CorruptionPlan
from equipose.errors import UsageError
from equipose.nn.model import build_model
from equipose.separation.distances import consensus, reliability
from equipose.separation.integrity import dead
from equipose.separation.reasons import INTEGRITY, MASKED, Reason
from equipose.separation.separator import Separator, applied, spread
from equipose.separation.settings import SeparationSettings
from equipose.separation.signal import statistics_of
from equipose.separation.signal_verdict import (
    SignalVerdict,
    blame,
    judge_signals,
    readable,
    weighted_least,
    without,
)
from equipose.separation.verdict import Event, judge
from separation.toy import SENSORS, refused, toy, trusted_toy

FRAMES = SeparationSettings(in_time="off")
ASIDE = torch.tensor([0.3, -0.2, 0.0])
FAR = torch.tensor([0.6, -0.6, 0.6])


def said(readings, sensor=(), misfit=(), label=(), p_bad=0.001, offset=None):
    """Signals of which nothing is unusual but what is named, nor so usual that the network is overruled."""
    count, modalities = readings.present.shape

    def marked(cells, *shape):
        flags = torch.zeros(shape, dtype=torch.bool)
        for cell in cells:
            flags[cell] = True
        return flags, torch.where(flags, p_bad, 0.09).double()

    bad, p_sensor = marked(sensor, count, modalities)
    unfit, p_misfit = marked(misfit, count, modalities)
    wrong, p_label = marked(label, count)
    return SignalVerdict(
        sensor=bad,
        misfit=unfit,
        label=wrong,
        p_sensor=p_sensor,
        p_misfit=p_misfit,
        p_label=p_label,
        worst=torch.zeros(count, modalities, dtype=torch.long),
        offset=torch.zeros(count, modalities, readings.target.shape[1], 2) if offset is None else offset,
        alpha=torch.full((modalities,), 0.005, dtype=torch.float64),
        label_alpha=torch.tensor(0.005, dtype=torch.float64),
        shifted=torch.zeros(modalities + 1),
    )


# --- joining p-values -------------------------------------------------------------------------------------------


def test_joined_p_values_of_clean_cells_are_no_smaller_than_uniform():
    alphas = [torch.tensor(a, dtype=torch.float64) for a in (0.01, 0.005, 0.005)]
    ps = list(torch.rand(3, 2_000_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    joined = weighted_least(ps, alphas)
    for level in (0.002, 0.02, 0.1, 0.5):
        assert float((joined < level).double().mean()) <= level + 4 * (level / 2_000_000) ** 0.5
    expected = 1 - 0.99 * 0.995**2  # the union of three independent ones
    assert float((joined < 0.02).double().mean()) == pytest.approx(expected, rel=0.03)
    same = weighted_least([ps[0], ps[0], ps[0]], alphas)  # and of fully dependent ones
    assert float((same < 0.02).double().mean()) <= 0.02


def test_joined_p_values_are_small_where_and_only_where_one_is_below_its_threshold():
    generator = torch.Generator().manual_seed(1)
    alphas = [torch.tensor(a, dtype=torch.float64) for a in ([0.01, 0.02], [0.005, 0.0], [0.03, 0.01])]
    ps = [0.05 * torch.rand(4000, 2, dtype=torch.float64, generator=generator) for _ in range(3)]
    below = torch.stack([p < a for p, a in zip(ps, alphas, strict=True)]).any(0)
    joined = weighted_least(ps, alphas)
    assert torch.equal(joined < torch.stack(alphas).sum(0), below)
    assert 0 < int(below[:, 1].sum()) < len(below) and float(joined.max()) <= 1.0


def test_unknown_p_values_are_left_out():
    one = torch.tensor([0.004, torch.nan, torch.nan, 0.9])
    other = torch.tensor([torch.nan, 0.01, torch.nan, 0.8])
    joined = weighted_least([one.double(), other.double()], [torch.tensor(0.01), torch.tensor(0.01)])
    assert joined[:2].tolist() == pytest.approx([0.008, 0.02]) and joined[2].isnan() and joined[3] == 1.0
    nobody = weighted_least([one.double()], [torch.tensor(0.0)])
    assert nobody.isnan().all()


# --- blame ------------------------------------------------------------------------------------------------------


def image_moved(readings, sample, by=ASIDE):
    """2D joints of rgb that lie beside the label."""
    offset = torch.zeros(*readings.present.shape, readings.target.shape[1], 2)
    offset[sample, 0] = by[:2]
    return offset


def label_moved(readings, sample, by=ASIDE):
    """The label moves; the 2D joints are where they were."""
    target = readings.target.clone()
    target[sample] += by
    return replace(readings, target=target), image_moved(readings, sample, -by)


def test_displaced_joints_are_the_sensors_fault(clean):
    signals = said(clean, misfit=[(7, 0)], offset=image_moved(clean, 7))
    found = blame(signals, clean, reliability(clean))
    assert found.sensor.nonzero().tolist() == [[7, 0]] and not found.label.any()


def test_a_displaced_label_is_the_labels_fault(clean):
    moved, offset = label_moved(clean, 7)
    found = blame(said(clean, misfit=[(7, 0)], offset=offset), moved, reliability(clean))
    assert found.label.nonzero().tolist() == [[7]] and not found.sensor.any()


@pytest.mark.parametrize("others", ["dead", "misfit"])
def test_without_a_third_opinion_nobody_is_blamed(clean, others):
    integrity = clean.integrity.clone()
    misfit = [(7, 0)]
    if others == "dead":
        integrity[7, 1:] = int(Reason.STALE)
    else:
        misfit += [(7, 1), (7, 2), (7, 3)]
    moved, offset = label_moved(replace(clean, integrity=integrity), 7)
    offset[7, 1] = offset[7, 0]
    found = blame(said(clean, misfit=misfit, offset=offset), moved, reliability(clean))
    assert not found.sensor.any() and not found.label.any()


def test_a_dead_cell_does_not_misfit_and_a_bad_label_fits_nobody(clean):
    integrity = clean.integrity.clone()
    integrity[7, 0] = int(Reason.STALE)
    offset = image_moved(clean, 7) + image_moved(clean, 8)
    signals = said(clean, misfit=[(7, 0), (8, 0)], label=[8], offset=offset)
    found = blame(signals, replace(clean, integrity=integrity), reliability(clean))
    assert not found.sensor.any() and found.label.nonzero().tolist() == [[8]]


def with_lidar(readings):
    """The same readings, as if the third sensor were a LiDAR."""
    return replace(readings, modalities=("rgb", "infra1", "lidar", "wifi"))


def test_a_cloud_elsewhere_is_to_blame_if_the_image_fits(clean):
    readings = with_lidar(clean)
    found = blame(said(readings, misfit=[(7, 2)]), readings, reliability(clean))
    assert found.sensor.nonzero().tolist() == [[7, 2]] and not found.label.any()


def test_a_cloud_is_not_to_blame_for_a_label_that_an_image_does_not_fit_either(clean):
    moved, offset = label_moved(with_lidar(clean), 7)
    signals = said(moved, misfit=[(7, 0), (7, 2)], offset=offset)
    found = blame(signals, moved, reliability(clean))
    assert found.label.nonzero().tolist() == [[7]] and not found.sensor.any()


@pytest.mark.parametrize(("metres", "alone"), [(0.3, False), (0.02, False), (0.3, True)])
def test_a_label_moved_along_the_line_of_sight_is_to_blame_if_the_others_agree_with_the_cloud(clean, metres, alone):
    readings = with_lidar(clean)
    target, integrity, poses = (each.clone() for each in (readings.target, readings.integrity, readings.poses))
    target[7, :, 2] += metres  # the image sees next to nothing of it
    if alone:
        integrity[7, [1, 3]] = int(Reason.ZERO)
        poses[7, 0] = torch.nan
    moved = replace(readings, target=target, integrity=integrity, poses=poses)
    found = blame(said(moved, misfit=[(7, 2)]), moved, reliability(clean))
    by_others = metres > 0.1 and not alone
    assert found.label.nonzero().tolist() == ([[7]] if by_others else [])
    assert found.sensor.nonzero().tolist() == ([] if by_others else [[7, 2]])


def test_an_image_of_which_nothing_is_known_does_not_speak_against_a_cloud(clean):
    readings = with_lidar(clean)
    signals = said(readings, misfit=[(7, 2)])
    signals.p_misfit[7, :2] = torch.nan
    found = blame(signals, readings, reliability(clean))
    assert not found.sensor.any() and not found.label.any()


# --- setting cells aside ----------------------------------------------------------------------------------------


def test_without_leaves_the_fused_pose_of_the_others(clean):
    typical = reliability(clean)
    cells = torch.zeros_like(clean.present)
    cells[3, 0] = cells[4, 2] = cells[4, 3] = cells[5] = True
    left = without(clean, cells, Reason.SIGNAL, typical)
    assert (left.integrity[cells] == Reason.SIGNAL).all() and torch.equal(left.alive, clean.alive & ~cells)
    for row in (3, 4):
        one = slice(row, row + 1)
        expected = consensus(clean.poses[one], ~cells[one], typical)[0].float()
        torch.testing.assert_close(left.fused[row], expected)
    same = torch.ones(len(clean), dtype=torch.bool)
    same[[3, 4]] = False  # nobody is left in 5
    assert torch.equal(left.fused[same], clean.fused[same])
    again = without(left, cells, Reason.MISFIT, typical)
    assert torch.equal(again.integrity, left.integrity) and torch.equal(again.fused, left.fused)


def test_dead_cells_keep_their_reason(clean):
    integrity = clean.integrity.clone()
    integrity[3, 0] = int(Reason.STALE)
    cells = torch.zeros_like(clean.present)
    cells[3, :2] = True
    left = without(replace(clean, integrity=integrity), cells, Reason.SIGNAL, reliability(clean))
    assert left.integrity[3].tolist() == [Reason.STALE, Reason.SIGNAL, 0, 0]


# --- verdicts ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quiet(clean, trusted):
    """Readings, and a sample at which nothing is found."""
    verdict, _ = judge(clean, trusted, FRAMES)
    nothing = (verdict.reason == 0).all(1) & (verdict.label_reason == 0) & (verdict.p > 0.3).all(1)
    return clean, int((nothing & (verdict.label_p > 0.3)).nonzero()[0])


def test_signals_without_a_finding_change_nothing_but_the_scale_of_p(quiet, trusted):
    readings, _ = quiet
    plain, _ = judge(readings, trusted, FRAMES)
    same, events = judge(readings, trusted, FRAMES, said(readings))
    assert not events and torch.equal(plain.reason, same.reason) and torch.equal(plain.label_reason, same.label_reason)
    assert torch.equal(plain.consensus, same.consensus)
    flagged = torch.isin(plain.reason, torch.tensor([int(Reason.FAR), int(Reason.HARM), int(Reason.ODD)]))
    alphas = FRAMES.alpha + 2 * 0.005
    # in quarantine or on second look a cell may be below and not be flagged
    settled = (plain.label_reason == Reason.CLEAN)[:, None].expand_as(flagged)
    assert torch.equal((same.p < alphas)[settled], flagged[settled])


def test_a_sensor_that_fits_the_label_is_not_flagged_for_what_the_network_says_of_it(quiet, trusted):
    readings, i = quiet
    poses = readings.poses.clone()
    poses[i, 1] += FAR
    odd = refused(replace(readings, poses=poses))
    assert judge(odd, trusted, FRAMES, said(odd))[0].reason[i, 1] in MASKED
    for p, reason in ((0.11, Reason.CLEAN), (torch.nan, int(judge(odd, trusted, FRAMES)[0].reason[i, 1]))):
        signals = said(odd)
        signals.p_misfit[i, 1] = p
        verdict, _ = judge(odd, trusted, FRAMES, signals)
        assert verdict.reason[i, 1] == reason, "not known is no excuse"
        assert bool(verdict.p[i, 1] >= 0.1) == (reason == Reason.CLEAN)


def test_a_sensor_no_further_off_than_usual_for_the_person_is_not_flagged(quiet, trusted):
    readings, i = quiet
    poses, one_off = readings.poses.clone(), readings.poses.clone()
    near = readings.subject == readings.subject[i]
    poses[near, 1] += 0.5 * FAR
    one_off[i, 1] += 0.5 * FAR
    all_off, one_off = (refused(replace(readings, poses=each)) for each in (poses, one_off))
    share = [
        torch.isin(judge(all_off, trusted, FRAMES, signals)[0].reason[near, 1], torch.tensor(MASKED)).double().mean()
        for signals in (said(all_off), None)
    ]
    assert share[0] < 0.2 and share[1] > 0.9
    assert judge(one_off, trusted, FRAMES, said(one_off))[0].reason[i, 1] in MASKED
    few = all_off.select(near.nonzero()[:10, 0])
    verdict, _ = judge(few, trusted, FRAMES, said(few))
    assert torch.isin(verdict.reason[:, 1], torch.tensor(MASKED)).any(), "of a few nobody knows what is usual"


def test_a_bad_signal_is_masked_and_is_not_asked(quiet, trusted):
    readings, i = quiet
    verdict, events = judge(readings, trusted, FRAMES, said(readings, sensor=[(i, 1)]))
    assert verdict.reason[i].tolist() == [0, Reason.SIGNAL, 0, 0] and not events
    assert verdict.masked[i].tolist() == [False, True, False, False] == (~verdict.clean[i]).tolist()
    others = torch.tensor([[True, False, True, True]])
    expected = consensus(readings.poses[i : i + 1], others, reliability(trusted))[0]
    torch.testing.assert_close(verdict.consensus[i], expected.float())
    assert verdict.p[i, 1] == pytest.approx(0.001 * 0.02 / 0.005) and verdict.sensor_clean[i, 1] < 0.01
    assert verdict.p[i, [0, 2, 3]].min() > 0.1 and verdict.label_reason[i] == 0


def test_a_misfit_is_masked_where_the_sensor_is_to_blame(quiet, trusted):
    readings, i = quiet
    signals = said(readings, misfit=[(i, 0)], offset=image_moved(readings, i))
    verdict, _ = judge(readings, trusted, FRAMES, signals)
    assert verdict.reason[i].tolist() == [Reason.MISFIT, 0, 0, 0] and verdict.masked[i, 0]
    assert verdict.label_reason[i] == 0 and verdict.label_p[i] > 0.1 and verdict.p[i, 0] == pytest.approx(0.004)


def test_a_label_that_is_to_blame_is_replaced_by_what_the_sensors_say(quiet, trusted):
    readings, i = quiet
    data = toy()
    moved, offset = label_moved(readings, i, 0.1 * ASIDE)  # four centimetres: too little for the network alone
    moved = refused(moved)
    signals = said(moved, misfit=[(i, 0)], offset=offset)
    plain, _ = judge(moved, trusted, FRAMES)
    verdict, _ = judge(moved, trusted, FRAMES, signals)
    assert plain.label_reason[i] == 0 and verdict.label_reason[i] == Reason.LABEL
    assert not verdict.masked[i].any() and verdict.label_p[i] < 0.02 and verdict.p[i].min() > 0.02
    settings = SeparationSettings()
    batch, weight = applied(verdict.select(torch.tensor([i])), data.batch([i]), settings)
    torch.testing.assert_close(batch.target[0], verdict.consensus[i])
    assert (batch.target[0] - data.truth[i]).norm(dim=-1).mean() < 0.04 and 0.4 < weight[0] <= 0.5


def test_bones_of_somebody_else_are_a_bad_label(quiet, trusted):
    readings, i = quiet
    verdict, _ = judge(readings, trusted, FRAMES, said(readings, label=[i]))
    assert verdict.label_reason[i] == Reason.LABEL and verdict.bad_label[i]
    assert verdict.label_p[i] == pytest.approx(0.004) and verdict.label_clean[i] < 0.01
    assert not verdict.masked[i].any()


def test_a_label_known_to_be_bad_does_not_bring_bad_sensors_back(quiet, trusted):
    readings, i = quiet
    poses, target = readings.poses.clone(), readings.target.clone()
    for m, by in enumerate((FAR, -FAR, FAR.roll(1) * 2)):
        poses[i, m] += by
    target[i] += torch.tensor([0.0, 0.9, -0.9])
    readings = refused(replace(readings, poses=poses, target=target))
    plain, _ = judge(readings, trusted, FRAMES)
    assert plain.quarantined[i]  # nobody agrees with anybody
    integrity = readings.integrity.clone()
    integrity[i, 1] = int(Reason.STALE)
    lone = replace(readings, integrity=integrity)
    verdict, _ = judge(lone, trusted, FRAMES, said(readings, sensor=[(i, 0), (i, 2)], label=[i]))
    assert verdict.reason[i].tolist() == [Reason.SIGNAL, Reason.STALE, Reason.SIGNAL, 0]
    assert verdict.label_reason[i] == Reason.LABEL
    torch.testing.assert_close(verdict.consensus[i], readings.poses[i, 3])


def test_a_label_known_to_be_bad_does_not_unmask_what_the_network_flags(quiet, trusted):
    readings, i = quiet
    features, target, integrity = readings.features.clone(), readings.target.clone(), readings.integrity.clone()
    features[i, 1] += 5.0
    target[i] += FAR
    integrity[i, 2:] = int(Reason.ZERO)
    two = refused(replace(readings, features=features, target=target, integrity=integrity))
    plain, _ = judge(two, trusted, FRAMES)
    assert plain.quarantined[i]  # one sensor is left, and it says something else than the label
    verdict, _ = judge(two, trusted, FRAMES, said(two, label=[i]))
    assert verdict.reason[i].tolist() == [0, Reason.ODD, Reason.ZERO, Reason.ZERO]
    assert verdict.label_reason[i] == Reason.LABEL and verdict.clean[i].tolist() == [True, False, False, False]
    torch.testing.assert_close(verdict.consensus[i], two.poses[i, 0])


def test_a_sample_without_a_cell_left_waits(quiet, trusted):
    readings, i = quiet
    verdict, _ = judge(readings, trusted, FRAMES, said(readings, sensor=[(i, m) for m in range(4)]))
    assert (verdict.reason[i] == Reason.SIGNAL).all() and verdict.quarantined[i]
    batch, weight = applied(verdict.select(torch.tensor([i - 1, i])), toy().batch([i - 1, i]), SeparationSettings())
    assert weight.tolist()[1] == 0.0 and torch.equal(batch.target[1], toy().target[i])
    assert not verdict.clean[i].any()


def test_a_signal_that_changed_as_a_whole_is_an_event(quiet, trusted):
    readings, _ = quiet
    shifted = torch.tensor([0.0, 0.0, 0.0, 0.9, 0.8])
    _, events = judge(readings, trusted, FRAMES, replace(said(readings), shifted=shifted))
    assert [(e.kind, e.subject) for e in events] == [("signal shift", "wifi"), ("label shift", "label")]
    assert isinstance(events[0], Event) and events[0].share == pytest.approx(0.9)


# --- a room of simulated people ---------------------------------------------------------------------------------


def signals_of(data, trusted, settings=None):
    positions = spread(len(trusted), 300)
    return judge_signals(data, trusted, positions, data.modalities, settings or SeparationSettings())


def truth_of(data):
    return data.truth(np.arange(len(data)))


def test_nothing_wrong_is_next_to_nothing_found(room):
    found = signals_of(*room)
    assert found.sensor.double().mean(0).max() <= 0.02 and found.misfit.double().mean(0).max() <= 0.02
    assert found.label.double().mean() <= 0.02 and not found.shifted.any()
    assert found.alpha.tolist() == [0.005, 0.005, 0.01]  # WiFi has no place in space
    assert found.p_misfit[:, 2].isnan().all() and not found.p_sensor.isnan().any()


@pytest.mark.parametrize("severity", [1, 3])
def test_swapped_joints_of_labels_are_found(room, severity):
    data, trusted = room
    data = CorruptedDataset(data, CorruptionPlan(label_rate=0.2, severity=severity, labels=("joint_swap",), seed=2))
    found, truth = signals_of(data, trusted), truth_of(data)
    assert truth.label.double().mean() > 0.1
    assert found.label[truth.label].double().mean() > 0.95 and found.label[~truth.label].double().mean() < 0.02


def test_a_label_elsewhere_is_beside_the_image_and_the_points(room):
    data, trusted = room
    data = CorruptedDataset(data, CorruptionPlan(label_rate=0.2, severity=3, labels=("offset",), seed=2))
    found, truth = signals_of(data, trusted), truth_of(data)
    assert found.misfit[truth.label, 0].double().mean() > 0.6  # a body aside is still near its points
    assert found.p_misfit[truth.label, 1].median() < 0.1 < found.p_misfit[~truth.label, 1].quantile(0.1)
    assert (found.misfit[~truth.label].double().mean(0) < 0.02).all() and not found.label.any()
    step = found.offset[truth.label, 0].nanmean(1).norm(dim=-1)  # .2 m in any direction
    assert 0.05 < step.median() < 0.21 and found.offset[~truth.label, 0].nanmean(1).norm(dim=-1).median() < 0.03


@pytest.mark.parametrize(
    ("sensor", "fault", "column"),
    [
        ("rgb", "jitter", "sensor"),
        ("wifi", "awgn", "sensor"),
        ("lidar", "fog", "sensor"),
        ("rgb", "wrong_person", "misfit"),
    ],
)
def test_faults_of_a_sensor_are_found_in_its_own_column(room, sensor, fault, column):
    data, trusted = room
    data = CorruptedDataset(data, CorruptionPlan(sensor_rate=0.2, severity=3, sensors={sensor: (fault,)}, seed=2))
    found, truth = signals_of(data, trusted), truth_of(data)
    m = data.modalities.index(sensor)
    flags = getattr(found, column)
    assert flags[truth.sensor[:, m], m].double().mean() > 0.9
    assert flags[~truth.touched[:, m], m].double().mean() < 0.02
    others = [k for k in range(3) if k != m]
    assert found.sensor[:, others].double().mean() < 0.02 and found.misfit[:, others].double().mean() < 0.02
    i = int((found.sensor[:, m]).nonzero()[0]) if column == "sensor" else -1
    assert i < 0 or found.statistic(i, m, sensor) in [s.name for s in statistics_of(sensor)]
    clean = int((~found.sensor[:, m]).nonzero()[0])
    assert found.statistic(clean, m, sensor) is None


def test_a_sensor_of_which_most_would_be_flagged_is_an_event_and_keeps_its_cells(room):
    data, trusted = room
    data = CorruptedDataset(data, CorruptionPlan(sensor_rate=0.25, severity=3, sensors={"rgb": ("jitter",)}, seed=2))
    found = signals_of(data, trusted, SeparationSettings(shift=0.15))
    assert 0.15 < found.shifted[0] < 0.4 and not found.sensor[:, 0].any()
    assert not found.shifted[1:].any()


def test_the_order_of_samples_does_not_matter(room):
    data, trusted = room
    plan = CorruptionPlan(sensor_rate=0.2, label_rate=0.1, severity="mixed", seed=4)
    data = CorruptedDataset(data, plan)
    order = np.random.default_rng(0).permutation(len(data))
    one, other = signals_of(data, trusted), signals_of(data.subset(order), trusted)
    for name in ("sensor", "misfit", "label"):
        assert torch.equal(getattr(one, name)[order], getattr(other, name)) and getattr(one, name).any()
    torch.testing.assert_close(one.p_sensor[order], other.p_sensor, equal_nan=True)


def test_what_cannot_be_judged_is_not(room):
    data, trusted = room
    assert signals_of(data, trusted, SeparationSettings(signal_alpha=0.0)) is None
    settings = SeparationSettings()
    assert judge_signals(data, trusted, np.arange(99), data.modalities, settings) is None
    assert judge_signals(data, trusted, np.arange(100), data.modalities, settings) is not None
    assert readable(data) and not readable(toy(1)) and not readable(None)


# --- the separator ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noisy(room):
    """Training data with jitter, held frames, noise on the channel, and joints of labels exchanged."""
    plan = CorruptionPlan(
        sensor_rate=0.2,
        label_rate=0.15,
        severity=3,
        sensors={"rgb": ("jitter", "stuck"), "wifi": ("awgn",)},
        labels=("joint_swap",),
        seed=4,
    )
    return CorruptedDataset(room[0], plan)


@pytest.fixture(scope="module")
def small(room):
    data = room[0]
    mean = data.batch(np.arange(len(data))).target.mean(0)
    return build_model(ModelSettings(width=16), data.modalities, 17, 0, mean, data.settings.windows)


@pytest.fixture(scope="module")
def before(small, noisy, room):
    """State of a separator at the beginning of an experience."""
    separator = Separator(SeparationSettings(), noisy.modalities)
    assert separator.update(small, noisy, room[1], 0) == () and separator.verdict is None
    return separator.state_dict()


@pytest.fixture
def begun(before, noisy):
    separator = Separator(SeparationSettings(), noisy.modalities)
    separator.load_state_dict(before)
    return separator


def everything(data):
    return data.batch(np.arange(len(data)))


def test_signals_are_read_before_the_first_epoch_and_kept_out_of_it(begun, noisy, room):
    signals = SignalVerdict.from_tensors(begun.state_dict()["signals"])
    expected = signals_of(noisy, room[1])
    assert torch.equal(signals.sensor, expected.sensor) and torch.equal(signals.label, expected.label)
    batch = everything(noisy)
    kept, weight = begun.apply(batch)
    truth = truth_of(noisy)
    assert torch.equal(kept.present, batch.present & ~dead(batch) & ~signals.sensor)
    assert (kept.present & truth.sensor).double().sum() < 0.1 * truth.sensor.sum()
    assert torch.equal(weight == 0, signals.label | ~kept.present.any(1))
    assert (weight[truth.label] == 0).double().mean() > 0.95 and (weight[~truth.label] == 1).double().mean() > 0.95
    assert torch.equal(kept.target, batch.target)
    part, some = begun.apply(noisy.batch(np.array([300, 5])))
    assert torch.equal(part.present, kept.present[[300, 5]]) and torch.equal(some, weight[[300, 5]])


def test_samples_of_other_data_are_refused_before_the_first_scoring(begun, noisy):
    batch = noisy.batch(np.array([3]))
    for strange in (len(noisy), -4):
        replayed = replace(batch, meta=replace(batch.meta, sample=torch.tensor([strange])))
        with pytest.raises(UsageError, match="replayed"):
            begun.apply(replayed)


def test_the_first_scoring_sets_signals_aside_and_says_which(begun, small, noisy, room):
    begun.update(small, noisy, room[1], 1)
    verdict, truth = begun.verdict, truth_of(noisy)
    assert (verdict.reason == Reason.SIGNAL).any() and verdict.masked[truth.sensor].double().mean() > 0.9
    assert verdict.bad_label[truth.label].double().mean() > 0.95
    assert verdict.masked[~truth.touched].double().mean() < 0.06
    named = {row["statistic"] for row in begun.log() if row["reason"] == "signal"}
    assert None not in named and named <= {s.name for name in ("rgb", "lidar", "wifi") for s in statistics_of(name)}
    assert all(row["statistic"] is None for row in begun.log() if row["reason"] != "signal")
    signals = SignalVerdict.from_tensors(begun.state_dict()["signals"])
    assert (signals.sensor & (verdict.reason == Reason.STALE)).any()  # seen in both ways: the plain one is named
    kept, weight = begun.apply(everything(noisy))
    alone = ~kept.present & ~verdict.masked & everything(noisy).present
    assert not alone.any() and (weight[verdict.bad_label] <= 0.5).all()


def test_state_round_trip_is_exact(begun, small, noisy, room):
    separators = [begun, Separator(SeparationSettings(), noisy.modalities)]
    for epoch in (1, 3):
        stored = io.BytesIO()
        torch.save(separators[0].state_dict(), stored)
        stored.seek(0)
        separators[1].load_state_dict(torch.load(stored, weights_only=True))
        for name, tensor in separators[0].state_dict()["signals"].items():
            other = separators[1].state_dict()["signals"][name]
            assert torch.equal(tensor.nan_to_num(-1), other.nan_to_num(-1)) and tensor.dtype == other.dtype
        (batch, weight), (same, same_weight) = (s.apply(everything(noisy)) for s in separators)
        assert torch.equal(batch.present, same.present) and torch.equal(weight, same_weight)
        for each in separators:
            each.update(small, noisy, room[1], epoch)
        assert separators[0].log() == separators[1].log()


def test_new_data_are_read_again_and_others_not_at_all(begun, small, noisy, room):
    begun.update(small, room[0], room[1], 0)
    signals = SignalVerdict.from_tensors(begun.state_dict()["signals"])
    assert signals.sensor.double().mean() < 0.02 and not signals.label.any()
    begun.begin_experience()
    assert begun.state_dict()["signals"] is None
    for settings, trusted in ((SeparationSettings(method="z3"), room[1]), (SeparationSettings(), None)):
        separator = Separator(settings, noisy.modalities)
        separator.update(small, noisy, trusted, 0)
        assert separator.state_dict()["signals"] is None


def test_data_that_do_not_say_how_they_are_made_are_judged_as_before(model):
    separator = Separator(SeparationSettings(), SENSORS)
    data, reference = toy(3), trusted_toy()
    for epoch in (0, 1):
        separator.update(model, data, reference, epoch)
    assert separator.state_dict()["signals"] is None and not (separator.verdict.reason == Reason.SIGNAL).any()


def test_a_frame_that_is_missing_from_its_window_is_kept_out(small, room):
    data, trusted = room
    plan = CorruptionPlan(sensor_rate=0.2, sensors={"rgb": ("dead",)}, timing="frame", seed=5)
    data = CorruptedDataset(data, plan)
    truth = truth_of(data)
    separator = Separator(SeparationSettings(), data.modalities)
    separator.update(small, data, trusted, 0)
    lost = truth.sensor[:, 0] & everything(data).present[:, 0]  # the frames around it are there
    assert lost.any() and Reason.UNRECORDED in INTEGRITY
    assert not separator.apply(everything(data))[0].present[lost, 0].any()
    separator.update(small, data, trusted, 1)
    assert (separator.verdict.reason[lost, 0] == Reason.UNRECORDED).all() and separator.verdict.masked[lost, 0].all()
    assert not (separator.verdict.reason[~truth.sensor[:, 0], 0] == Reason.UNRECORDED).any()
