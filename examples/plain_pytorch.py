"""Measure and balance somebody else's network in a plain PyTorch loop, on synthetic data; takes seconds.

python examples/plain_pytorch.py [strategy]
"""

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class TwoSensors(nn.Module):
    """Stands for a network that knows nothing of equipose: two encoders and a head."""

    def __init__(self):
        super().__init__()
        self.camera = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32))
        self.radar = nn.Sequential(nn.Conv1d(4, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 14, 24))
        self.head = nn.Linear(32 + 24, 5 * 3)

    def fuse(self, features):
        joined = torch.cat([features["camera"], features["radar"]], dim=1)
        return self.head(joined).reshape(-1, 5, 3)

    def forward(self, camera, radar):
        return self.fuse({"camera": self.camera(camera), "radar": self.radar(radar)})


def synthetic_data(samples=512):
    """5 joints of which the camera sees all but depth, clearly, and the radar depth alone, in noise."""
    generator = torch.Generator().manual_seed(0)
    joints = torch.randn(samples, 5, 3, generator=generator)
    clear = joints[..., :2].flatten(1) @ torch.randn(10, 20, generator=generator)
    noisy = joints[..., 2] @ torch.randn(5, 64, generator=generator)
    noisy = noisy + 2.0 * torch.randn(samples, 64, generator=generator)
    return TensorDataset(clear, noisy.reshape(samples, 4, 16), joints)


def main(strategy="awc", epochs=5):
    """Train, and print the contributions before and after."""
    torch.manual_seed(0)
    net = TwoSensors()
    loader = DataLoader(synthetic_data(), batch_size=32, shuffle=True)

    # From here on: all that equipose asks of you.
    from equipose.balance.balancer import Balancer
    from equipose.nn.foreign import adapt

    def read(batch):
        camera, radar, joints = batch
        return {"camera": camera, "radar": radar}, joints

    model = adapt(net, {"camera": net.camera, "radar": net.radar}, net.fuse, read, loader)
    balancer = Balancer(strategy, model, loader, epochs)
    optimizer = torch.optim.Adam([*net.parameters(), *balancer.parameters()], lr=1e-3)
    for _ in range(epochs):
        balancer.begin_epoch(optimizer)
        for batch in loader:
            optimizer.zero_grad()
            balancer.backward(balancer.loss(batch))
            optimizer.step()
            balancer.after_step()
        balancer.end_epoch()
    print("before:", balancer.history[0])
    print("after: ", balancer.contribution)


if __name__ == "__main__":
    main(*sys.argv[1:2])
