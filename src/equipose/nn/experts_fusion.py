"""Every sensor is an expert with an answer and a confidence; together they may correct the weighted mean.

The base is the product of the experts' Gaussians: the mean of their answers, weighted per joint by precision, so that
a sensor that knows little changes little. What sensors know only together is a correction on top, zero at first.
A sensor alone is answered by its own expert, and the correction is off.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equipose.nn.decision_fusion import head
from equipose.nn.fusion import Fusion, add_in_order

_LARGEST = 8.0  # of the log precision, either sign: weights between sensors within a factor of 9 million


class ExpertsFusion(Fusion):
    """Precision-weighted mean of a head per sensor, and a learned correction where two or more sensors are there.

    With mu_m the answer and s_m,j the log precision of sensor m for joint j, and S the sensors that are there::

        y_j = sum_m exp(s_m,j) mu_m,j / sum_m exp(s_m,j) + [|S| > 1] C(sum_m W_m f_m + b_S)_j,    m in S

    C is a perceptron whose last layer starts at zero, b_S a bias per coalition. Products of experts for missing
    sensors: Wu and Goodman, *Multimodal generative models for scalable weakly-supervised learning*, NeurIPS 2018.

    In evaluation mode a trust is laid over this: per coalition S an offset o_S,m of every log precision, a gate g_S,m
    of every sensor's share W_m f_m, and a gate of the whole correction. It starts neutral and no gradient of the
    training reaches it; see ``balance.held_out_trust``.
    """

    offset: Tensor
    gate: Tensor

    def __init__(self, modalities: Sequence[str], width: int, outputs: int) -> None:
        super().__init__(modalities, width, outputs)
        self.outputs, self.joints = outputs, outputs // 3
        self.heads = nn.ModuleDict({name: head(width, outputs) for name in modalities})
        self.confidence = nn.ModuleDict({name: nn.Linear(width, self.joints) for name in modalities})
        self.weights = nn.ModuleDict({name: nn.Linear(width, 2 * width, bias=False) for name in modalities})
        self.coalition = nn.Embedding(2 ** len(self.modalities), 2 * width)
        self.out = nn.Linear(2 * width, outputs)
        for parameter in self.confidence.parameters():
            nn.init.zeros_(parameter)
        nn.init.zeros_(self.coalition.weight)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        count = len(self.modalities)
        self.register_buffer("offset", torch.zeros(2**count, count))
        self.register_buffer("gate", torch.ones(2**count, count + 1))

    def expert(
        self, modality: str, feature: Float[Tensor, "batch width"]
    ) -> tuple[Float[Tensor, "batch output"], Float[Tensor, "batch joint"]]:
        """A sensor's answer (offset from the mean pose, metres) and its log precision per joint (metres^-2)."""
        return self.heads[modality](feature), self.log_precision(modality, feature)

    def log_precision(self, modality: str, feature: Float[Tensor, "batch width"]) -> Float[Tensor, "batch joint"]:
        """How sure a sensor is of each joint; its feature is not bent by it."""
        return _LARGEST * torch.tanh(self.confidence[modality](feature.detach()) / _LARGEST)

    def part(self, modality: str, feature: Float[Tensor, "batch width"]) -> Float[Tensor, "batch part"]:
        """Answer, precision, share of the correction's hidden layer, and the sensor's bit in the coalition."""
        answer, precision = self.expert(modality, feature)
        bit = torch.full_like(answer[:, :1], float(2 ** self.modalities.index(modality)))
        return torch.cat([answer, precision.exp(), self.weights[modality](feature), bit], 1)

    def read(
        self, part: Float[Tensor, "batch part"]
    ) -> tuple[Float[Tensor, "batch output"], Float[Tensor, "batch joint"]]:
        """What ``expert`` says, out of a part."""
        return part[:, : self.outputs], part[:, self.outputs : self.outputs + self.joints].log()

    def absent(self, modality: str, feature: Float[Tensor, "batch width"]) -> Float[Tensor, "batch part"]:
        """Nothing: precision zero, bit zero."""
        return torch.zeros_like(self.part(modality, feature))

    def combine(
        self, parts: Sequence[Float[Tensor, "batch part"]], members: Sequence[int] | None = None
    ) -> Float[Tensor, "batch output"]:
        """Weighted mean and correction; zero (the mean pose) without any sensor.

        Args:
            parts: from ``part`` and ``absent``.
            members: which of ``modalities`` they are of; all of them, in order, where None.
        """
        n, j = self.outputs, self.joints
        members = range(len(parts)) if members is None else members
        bits = [part[:, -1:] for part in parts]
        several = add_in_order([(bit > 0).to(bit.dtype) for bit in bits]) > 1
        code = add_in_order(bits)[:, 0].long()
        precision = [part[:, n : n + j] for part in parts]
        shares = [part[:, n + j : -1] for part in parts]
        if not self.training:
            trust, gate = self.offset[code].exp(), self.gate[code]
            precision = [each * trust[:, m, None] for m, each in zip(members, precision, strict=True)]
            shares = [each * gate[:, m, None] for m, each in zip(members, shares, strict=True)]
        weighted = [
            part[:, :n].reshape(-1, j, 3) * weight[..., None] for part, weight in zip(parts, precision, strict=True)
        ]
        # The smallest precision of a sensor that is there is exp(-8), and trust takes little of it.
        mean = add_in_order(weighted) / add_in_order(precision).clamp(min=1e-6)[..., None]
        correction = self.out(torch.relu(add_in_order(shares) + self.coalition(code)))
        if not self.training:
            correction = correction * self.gate[code][:, -1:]
        return mean.flatten(1) + torch.where(several, correction, torch.zeros_like(correction))
