import pytest
import torch

from equipose.metrics.pose import mpjpe, pa_mpjpe

streaming = pytest.importorskip("equipose.metrics.streaming")


@pytest.mark.parametrize(
    ("name", "function"), [("MeanPerJointPositionError", mpjpe), ("AlignedMeanPerJointPositionError", pa_mpjpe)]
)
def test_equals_the_function_over_all_frames(name, function):
    metric = getattr(streaming, name)()
    predicted, target = torch.randn(30, 17, 3), torch.randn(30, 17, 3)
    for part in torch.arange(30).split((1, 22, 7)):
        metric.update(predicted[part], target[part])
    assert metric.compute().dtype == torch.float64
    torch.testing.assert_close(metric.compute(), function(predicted, target).mean(), rtol=1e-12, atol=0)
    metric.reset()
    metric.update(predicted[:3], target[:3])
    torch.testing.assert_close(metric.compute(), function(predicted[:3], target[:3]).mean())


def test_states_add_over_processes():
    a, b, both = (streaming.MeanPerJointPositionError() for _ in range(3))
    predicted, target = torch.randn(9, 4, 3), torch.randn(9, 4, 3)
    a.update(predicted[:2], target[:2])
    b.update(predicted[2:], target[2:])
    both.update(predicted, target)
    merged = (a.error_sum + b.error_sum) / (a.frames + b.frames)
    torch.testing.assert_close(merged, both.compute())
