"""Where 2D joints meet a point cloud: depth along each joint's ray, then the cloud around each joint's place.

A joint in the image is a ray from the camera, and a cloud holds the distance of what lies along it, but nothing in the
cloud says which points are an elbow's. A network that sees a vector per sensor cannot put the two together; this does,
in two looks, with few parameters but the widths of the rays and the radii.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from equipose.modality import FOCAL_LENGTH, PRINCIPAL_POINT
from equipose.types import Cloud, Dense

_WIDTHS = (0.012, 0.03)
"""At the start, in units of x / z: 4 and 10 cm at 3 m, an arm and a trunk."""
_RADII = (0.08, 0.2)
"""At the start, metres."""
_NEAREST = 0.5
"""Metres; a point closer to the camera is moved there, so that its ray stays finite."""
_FARTHEST = 0.2
"""Distance of a ray to its nearest point beyond which it counts the same, in units of x / z."""
_FAR_AWAY = 1.0
"""Metres from a joint's place to its nearest point beyond which it counts the same."""
_STEP = 0.3
"""Metres that a joint's place moves from its lifted joint for an answer of one."""
_NO_POINT = 1e3
"""Squared distance of padding."""


class RayLift(nn.Module):
    """Lift 2D joints with a cloud, look again around the joints' places, and mix that with both sensors' features.

    First look. For joint j with ray (u_j, v_j, 1) and points (x_i, y_i, z_i), at two widths sigma::

        w_ij = softmax_i( -|(x_i, y_i) / z_i - (u_j, v_j)|^2 / 2 sigma_j^2 )
        d_j  = sum_i w_ij z_i,   lifted joint: d_j (u_j, v_j, 1)

    and, as a measure of trust, the spread of z_i under w_ij and the distance of the ray to its nearest point. Both
    features and these numbers together say where the joint is rather, p_j = lifted joint + step: detectors err by
    pixels, and what a ray meets is the skin of whatever body part is in front.

    Second look. Around p_j, at two radii tau::

        w_ij = softmax_i( -|(x_i, y_i, z_i) - p_j|^2 / 2 tau_j^2 ),   m_j = sum_i w_ij (x_i, y_i, z_i) - p_j

    the spread under w_ij, the distance to the nearest point, p_j itself and how far its ray is from the detected one.
    The steps are learned through what they do to the answer; they start at zero.

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
        self.mix = _perceptron(numbers + 2 * width, width)
        self.step = nn.Linear(width, 3 * joints)
        nn.init.zeros_(self.step.weight)
        nn.init.zeros_(self.step.bias)
        self.log_radius = nn.Parameter(torch.tensor(_RADII).log()[:, None].repeat(1, joints))
        numbers = (4 * len(_RADII) + 6) * joints
        self.near_skip = nn.Linear(numbers, width, bias=False)
        self.near_mix = _perceptron(numbers + width, width)

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
        rays = torch.where(valid[:, None, None], rays, 0.0)
        points, usable = cloud.points[..., :3], (valid & cloud.mask.any(1))[:, None]
        found, lifted = self.lift(rays, points, cloud.mask)
        found = torch.where(usable, found, 0.0)
        first = self.skip(found) + self.mix(torch.cat([found, joints_feature, cloud_feature], 1))
        place = lifted + _STEP * self.step(first).reshape(lifted.shape)
        near = torch.where(usable, self.look_around(place, rays, points, cloud.mask), 0.0)
        return first + self.near_skip(near) + self.near_mix(torch.cat([near, first], 1))

    def lift(
        self,
        rays: Float[Tensor, "batch joint 2"],
        points: Float[Tensor, "batch point 3"],
        mask: Bool[Tensor, "batch point"],
    ) -> tuple[Float[Tensor, "batch number"], Float[Tensor, "batch joint 3"]]:
        """The first look; nothing useful for a cloud without a point.

        Args:
            rays: (x / z, y / z) of each joint.
            points: metres, camera frame.
            mask: real points.

        Returns:
            lifted joints, spreads and distances, scaled to about one; and the joints lifted at the smaller width,
            metres.
        """
        depth = points[..., 2].clamp_min(_NEAREST)
        place = points[..., :2] / depth[..., None]
        # No matrix products: mixed precision would round them to three digits.
        across, down = (place[:, None, :, i] - rays[:, :, None, i] for i in (0, 1))
        distance = torch.where(mask[:, None], across.square() + down.square(), _NO_POINT)
        behind = (depth - self.centre[2])[:, None]
        numbers, joints = [], []
        for log_width in self.log_width:
            weight = _gaussian(distance, log_width)
            mean = (weight * behind).sum(-1)
            spread = (weight * behind.square()).sum(-1) - mean.square()
            joint = torch.cat([rays * (mean + self.centre[2])[..., None] - self.centre[:2], mean[..., None]], -1)
            numbers += [3.0 * joint.flatten(1), 5.0 * spread.clamp_min(1e-6).sqrt()]
            joints.append(joint + self.centre)
        nearest = distance.amin(-1).clamp(1e-8, _FARTHEST**2).sqrt()
        return torch.cat([*numbers, 20.0 * nearest], 1), joints[0]

    def look_around(
        self,
        place: Float[Tensor, "batch joint 3"],
        rays: Float[Tensor, "batch joint 2"],
        points: Float[Tensor, "batch point 3"],
        mask: Bool[Tensor, "batch point"],
    ) -> Float[Tensor, "batch number"]:
        """The second look, scaled to about one; nothing useful for a cloud without a point.

        Args:
            place: where each joint may be, metres, camera frame.
            rays: (x / z, y / z) of each detected joint.
            points: metres, camera frame.
            mask: real points.
        """
        axes = [points[:, None, :, i] - place[:, :, None, i] for i in range(3)]
        distance = torch.where(mask[:, None], axes[0].square() + axes[1].square() + axes[2].square(), _NO_POINT)
        aside = rays - place[..., :2] / place[..., 2:].clamp_min(_NEAREST)
        numbers = [3.0 * (place - self.centre).flatten(1), 20.0 * aside.flatten(1)]
        with torch.autocast(points.device.type, enabled=False):  # it would round the product to three digits
            for log_radius in self.log_radius:
                weight = _gaussian(distance, log_radius)
                spread = (weight * distance).sum(-1)
                numbers += [10.0 * (weight @ points - place).flatten(1), 5.0 * spread.clamp_min(1e-6).sqrt()]
        nearest = distance.amin(-1).clamp(1e-6, _FAR_AWAY**2).sqrt()
        return torch.cat([*numbers, 5.0 * nearest], 1)


def _gaussian(
    square: Float[Tensor, "batch joint point"], log_width: Float[Tensor, " joint"]
) -> Float[Tensor, "batch joint point"]:
    """Weights of points at a squared distance from each joint, that sum to one."""
    return (-0.5 * torch.exp(-2 * log_width)[:, None] * square).softmax(-1)


def _perceptron(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
