"""Two thousand batches of five experiences, some samples of each set aside; prints what is kept on the way.

In a process of its own, where types are not checked at run time.
"""

import json
import sys
from pathlib import Path

import torch

from continual.world import linear_batch, linear_model
from equipose.config import load_settings
from equipose.train.learner import Learner
from equipose.train.live_recipe import LiveRecipe

OVERRIDES = (
    *("train.accelerator=cpu", "live.separate=false", "continual.settings={capacity: 20}", "live.window=20"),
    *("live.recent=12", "live.aside=4", "live.rows=30", "separation.calibration=40", "live.epoch=50"),
    *("balance.name=modality_dropout", "train.batch_size=8"),
)


def main(folder):
    """Sizes in bytes after 700 and after 1900 batches: of the buffers, and of what is saved."""
    learner = Learner.start(load_settings(LiveRecipe, None, OVERRIDES), linear_model(4))
    generator = torch.Generator().manual_seed(0)
    sizes = []
    for n in range(2000):
        x = torch.randn(2, 4, generator=generator) * (n % 5 != 0)
        learner.observe(linear_batch(x, 0.1 * x.repeat(1, 3)[:, :9]))
        if n % 400 == 399 and n < 1900:
            learner.begin_experience()
        if n in (700, 1900):
            learner.save(folder)
            saved = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            sizes.append([sum(learner.memory_bytes().values()), saved])
    print(json.dumps({"sizes": sizes, "rows": len(learner.log()), "batches": learner.summary()["batches"]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
