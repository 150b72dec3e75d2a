"""Where a 2D joint's viewing ray meets the point cloud: depth that neither sensor has alone.

A joint in the image is a ray from the camera, and a cloud holds the distance of what lies along it, but nothing in the
cloud says which points are an elbow's. A network that sees a vector per sensor cannot put the two together; this does,
with no parameter but the width of the rays.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from equipose.modality import FOCAL_LENGTH, PRINCIPAL_POINT
from equipose.types import Cloud, Dense

_WIDTHS = (0.012, 0.03)
"""At the start, in units of x / z: 4 and 10 cm at 3 m, an arm and a trunk."""
_NEAREST = 0.5
"""Metres; a point closer to the camera is moved there, so that its ray stays finite."""
_FARTHEST = 0.2
"""Distance of a ray to its nearest point beyond which it counts the same, in units of x / z."""


class RayLift(nn.Module):
    """Lift 2D joints with a cloud, and mix that with both sensors' features.

    For joint j with ray (u_j, v_j, 1) and points (x_i, y_i, z_i), at two widths sigma::

        w_ij = softmax_i( -|(x_i, y_i) / z_i - (u_j, v_j)|^2 / 2 sigma_j^2 )
        d_j  = sum_i w_ij z_i,   lifted joint: d_j (u_j, v_j, 1)

    and, as a measure of trust, the spread of z_i under w_ij and the distance of the ray to its nearest point.

    Assumes that the cloud is given in the camera's frame (``data.extrinsics``) and the camera's focal length; an
    error of either is learned by the layers behind it as far as it is constant.

    Args:
        joints: of the image.
        mean_pose: (joint of the target, 3) metres; its middle is subtracted from the lifted joints.
        width: length of every feature.
    """

    centre: Tensor

    def __init__(self, joints: int, mean_pose: Float[Tensor, "target_joint 3"], width: int) -> None:
        super().__init__()
        self.register_buffer("centre", mean_pose.detach().mean(0).clone())
        self.log_width = nn.Parameter(torch.tensor(_WIDTHS).log()[:, None].repeat(1, joints))
        numbers = (4 * len(_WIDTHS) + 1) * joints
        self.skip = nn.Linear(numbers, width, bias=False)  # lifted joints are an answer already
        self.mix = nn.Sequential(nn.Linear(numbers + 2 * width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))

    def forward(
        self,
        dense: Dense,
        cloud: Cloud,
        joints_feature: Float[Tensor, "batch width"],
        cloud_feature: Float[Tensor, "batch width"],
    ) -> Float[Tensor, "batch width"]:
        """Pixels (batch, time, joint, 2), points in the camera frame and the sensors' features -> a feature."""
        now = dense.values.shape[1] // 2  # the sample's own frame
        rays = (dense.values[:, now] - dense.values.new_tensor(PRINCIPAL_POINT)) / FOCAL_LENGTH
        valid = dense.valid[:, now]
        found = self.lift(torch.where(valid[:, None, None], rays, 0.0), cloud.points[..., :3], cloud.mask)
        usable = valid & cloud.mask.any(1)
        geometry = torch.where(usable[:, None], found, 0.0)
        return self.skip(geometry) + self.mix(torch.cat([geometry, joints_feature, cloud_feature], 1))

    def lift(
        self,
        rays: Float[Tensor, "batch joint 2"],
        points: Float[Tensor, "batch point 3"],
        mask: Bool[Tensor, "batch point"],
    ) -> Float[Tensor, "batch number"]:
        """Lifted joints, spreads and distances, scaled to about one; nothing useful for a cloud without a point.

        Args:
            rays: (x / z, y / z) of each joint.
            points: metres, camera frame.
            mask: real points.
        """
        depth = points[..., 2].clamp_min(_NEAREST)
        place = points[..., :2] / depth[..., None]
        # No matrix products: mixed precision would round them to three digits.
        across, down = (place[:, None, :, i] - rays[:, :, None, i] for i in (0, 1))
        distance = torch.where(mask[:, None], across.square() + down.square(), 1e3)
        behind = (depth - self.centre[2])[:, None]
        numbers = []
        for log_width in self.log_width:
            weight = (-0.5 * distance * torch.exp(-2 * log_width)[:, None]).softmax(-1)
            mean = (weight * behind).sum(-1)
            spread = (weight * behind.square()).sum(-1) - mean.square()
            joint = torch.cat([rays * (mean + self.centre[2])[..., None] - self.centre[:2], mean[..., None]], -1)
            numbers += [3.0 * joint.flatten(1), 5.0 * spread.clamp_min(1e-6).sqrt()]
        nearest = distance.amin(-1).clamp(1e-8, _FARTHEST**2).sqrt()
        return torch.cat([*numbers, 20.0 * nearest], 1)
