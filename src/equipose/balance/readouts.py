"""What each sensor says alone, in two ways: through the shared fusion with the others masked, or by a head of its own.

Both give poses in metres, camera frame. The slice of a concatenation's linear layer, which some papers use, is the
masked read-out of ``ConcatFusion`` but for a share of the bias.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equipose.nn.model import PoseModel


class Heads(nn.ModuleDict):
    """An auxiliary head per sensor: a linear layer from its feature to the pose's offset from the mean pose.

    For training only: the trained model is used without them.
    """

    def __init__(self, model: PoseModel) -> None:
        super().__init__({name: nn.Linear(model.width, 3 * model.num_joints) for name in model.modalities})

    def poses(self, model: PoseModel, features: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "batch joint 3"]]:
        """Modality -> pose read from that sensor's feature alone."""
        return {
            name: model.mean_pose + self[name](features[name]).reshape(-1, model.num_joints, 3)
            for name in model.modalities
        }


def alone(model: PoseModel, features: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "batch joint 3"]]:
    """Modality -> pose of the fusion with every other sensor masked."""
    reference = next(iter(features.values()))
    count = len(model.modalities)
    everywhere = torch.ones(reference.shape[0], count, dtype=torch.bool, device=reference.device)
    only = torch.eye(count, dtype=torch.bool, device=reference.device)
    poses = model.decode_coalitions(features, only, everywhere)
    return {name: poses[m] for m, name in enumerate(model.modalities)}


def detached(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same features, through which no gradient reaches the encoders."""
    return {name: feature.detach() for name, feature in features.items()}


def pose_errors(
    poses: Mapping[str, Float[Tensor, "batch joint 3"]], target: Float[Tensor, "batch joint 3"]
) -> dict[str, Float[Tensor, " batch"]]:
    """Modality -> MPJPE of each sample, metres."""
    return {name: torch.linalg.vector_norm(pose - target, dim=-1).mean(-1) for name, pose in poses.items()}
