"""Measure and balance a LightningModule with one callback, on synthetic data; takes seconds.

pip install 'equipose[lightning]'
python examples/lightning_callback.py [strategy]
"""

import sys

import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from plain_pytorch import TwoSensors, synthetic_data


class Module(LightningModule):
    """Stands for a module that knows nothing of equipose."""

    def __init__(self):
        super().__init__()
        self.net = TwoSensors()

    def training_step(self, batch, batch_idx):
        camera, radar, joints = batch
        return torch.linalg.vector_norm(self.net(camera, radar) - joints, dim=-1).mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main(strategy="awc", epochs=5):
    """Fit, and print the contributions before and after."""
    torch.manual_seed(0)
    module = Module()
    net = module.net
    loader = DataLoader(synthetic_data(), batch_size=32, shuffle=True)

    # From here on: all that equipose asks of you.
    from equipose.balance.lightning_callback import balance_callback
    from equipose.nn.foreign import adapt

    def read(batch):
        camera, radar, joints = batch
        return {"camera": camera, "radar": radar}, joints

    model = adapt(module, {"camera": net.camera, "radar": net.radar}, net.fuse, read, loader)
    callback = balance_callback(strategy, model, loader)
    trainer = Trainer(
        max_epochs=epochs,
        callbacks=[callback],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader)
    print("before:", callback.balancer.history[0])
    print("after: ", callback.balancer.contribution)


if __name__ == "__main__":
    main(*sys.argv[1:2])
