"""Signals before networks: who is to blame, what is set aside, and that clean data are left alone."""

from dataclasses import replace

import pytest
import torch

from equipose.separation.distances import consensus, reliability
from equipose.separation.reasons import MASKED, Reason
from equipose.separation.separator import applied
from equipose.separation.settings import SeparationSettings
from equipose.separation.signal_verdict import (
    SignalVerdict,
    blame,
    weighted_least,
    without,
)
from equipose.separation.verdict import Event, judge
from separation.toy import refused, toy

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


def test_signals_without_a_finding_change_nothing_but_the_scale_of_p(quiet, trusted, monkeypatch):
    monkeypatch.setattr("equipose.separation.verdict._pardoned", lambda evidence, *_: evidence)
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
