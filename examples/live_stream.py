"""Follow a stream of three sensors, on synthetic data: one goes wrong for a while, then all move to another room.

python examples/live_stream.py [continual strategy]
"""

import sys

import torch
from torch import nn

from equipose.nn.foreign_batch import as_batch
from equipose.nn.fusion import ConcatFusion
from equipose.nn.model import PoseModel

SENSORS = ("camera", "lidar", "radar")


class Encoder(nn.Sequential):
    def forward(self, window):
        return super().forward(window.values.flatten(1))


def moments(count=200, size=16):
    """Batches in the order of time; each sensor sees the five joints its own way, and another way in room 2."""
    generator = torch.Generator().manual_seed(0)
    views = torch.randn(2, len(SENSORS), 15, 20, generator=generator)
    for number in range(count):
        joints = 0.3 * torch.randn(size, 5, 3, generator=generator)
        noise = 0.05 * torch.randn(len(SENSORS), size, 20, generator=generator)
        seen = [joints.flatten(1) @ views[int(number >= 160), m] + noise[m] for m in range(len(SENSORS))]
        if 120 <= number < 130:  # a third of the camera's frames show somebody else
            seen[0][::3] = seen[0].roll(5, 0)[::3]
        yield as_batch(dict(zip(SENSORS, seen, strict=True)), joints, torch.ones(size, len(SENSORS), dtype=torch.bool))


def main(strategy="er"):
    """Observe, and print what was found."""
    torch.manual_seed(0)
    encoders = {name: Encoder(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 16)) for name in SENSORS}
    model = PoseModel(SENSORS, encoders, ConcatFusion(SENSORS, 16, 15), torch.zeros(5, 3), 16)

    # From here on: all that equipose asks of you.
    from equipose.config import load_settings
    from equipose.train.learner import Learner
    from equipose.train.live_recipe import LiveRecipe

    recipe = load_settings(LiveRecipe, None, [f"continual.name={strategy}", "train.learning_rate=0.003"])
    learner = Learner.start(recipe, model)
    for batch in moments():
        report = learner.observe(batch)
        if report.batch % 10 == 5 or report.events:
            flags = dict(zip(SENSORS, report.flagged.sum(0).tolist(), strict=True))
            print(f"batch {report.batch}: {report.error_mm:.0f} mm before learning, flagged {flags}", *report.notes)
    print("set aside:", learner.summary()["set_aside"])
    print("events:", [(event["kind"], event["subject"]) for event in learner.events()])


if __name__ == "__main__":
    main(*sys.argv[1:2])
