import pytest
import torch

from balance.short_training import loss, setup_of
from equipose.balance.base import Probe
from equipose.balance.modality_dropout import ModalityDropout, ModalityDropoutSettings


def dropout(model, batches, rate=0.5, epoch=0):
    strategy = ModalityDropout(ModalityDropoutSettings(rate=rate), model.modalities)
    strategy.setup(model, setup_of(batches))
    strategy.begin_epoch(model, Probe(epoch, lambda: iter(batches), loss))
    return strategy


def pose_term(strategy, model, features, batch):
    output = model.decode(features, batch.present)
    return strategy.objective(model, features, output, batch, loss(output, batch).mean()).terms["pose"]


def test_the_loss_is_that_of_some_coalition_of_each_sample(make_model, make_batch):
    """Sample by sample, the loss must be one of those of the seven coalitions that are not empty."""
    model, batch = make_model().eval(), make_batch(12)
    with torch.no_grad():
        features = model.encode(batch)
        strategy = dropout(model, [batch])
        seen = set()
        for i in range(12):
            one = batch.select(torch.tensor([i]))
            mine = {name: f[i : i + 1] for name, f in features.items()}
            value = float(pose_term(strategy, model, mine, one))
            possible = {}
            for code in range(1, 8):
                inside = torch.tensor([[code >> m & 1 == 1 for m in range(3)]])
                possible[code] = float(loss(model.decode(mine, inside), one))
            code = min(possible, key=lambda c: abs(possible[c] - value))
            assert possible[code] == pytest.approx(value, rel=1e-6)
            seen.add(code)
    assert len(seen) > 3


def test_a_dropped_sensor_gets_no_gradient_from_the_sample(make_model, make_batch):
    model, batch = make_model().eval(), make_batch(64)
    features = {name: f.detach().requires_grad_() for name, f in model.encode(batch).items()}
    pose_term(dropout(model, [batch]), model, features, batch).backward()
    dropped = torch.stack([(f.grad == 0).all(1) for f in features.values()], 1)
    # dropped at 0.5, but for the one of the three that is kept in the eighth that lost all
    assert dropped.float().mean() == pytest.approx(0.5 - 0.125 / 3, abs=0.1)
    assert not dropped.all(1).any()


def test_every_epoch_drops_anew_and_every_run_the_same(make_model, make_batch):
    model, batch = make_model().eval(), make_batch(32)
    with torch.no_grad():
        features = model.encode(batch)
        values = [float(pose_term(dropout(model, [batch], epoch=e), model, features, batch)) for e in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
