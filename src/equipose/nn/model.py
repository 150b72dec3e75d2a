"""The model: encode each sensor once, decode the pose of any coalition of sensors."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from equipose.config import DataSettings, ModelSettings
from equipose.errors import UsageError, unknown_name
from equipose.modality import MODALITIES, ModalitySpec
from equipose.nn.encoders.base import DEFAULT_ENCODER, TYPICAL_CENTRE, EncoderClass, InputLayout
from equipose.nn.fusion import Fusion
from equipose.nn.ray_lift import RayLift
from equipose.registry import ENCODERS, FUSION
from equipose.types import Batch, PoseOutput


class Parts(NamedTuple):
    """What the features of a batch give to the fusion, one entry per name of ``PoseModel.names``.

    Attributes:
        there: (batch, part) of each sample.
        absent: (1, part) of what stands in for it outside a coalition.
    """

    there: list[Tensor]
    absent: list[Tensor]


class PoseModel(nn.Module):
    """Sensors in, 3D joints out.

    The pose is ``mean_pose`` plus the fusion's output, so the network learns what differs from the mean pose.

    Attributes:
        modalities: sensors in the order of every modality axis.
        num_joints: joints of a pose.
        width: length of a sensor's feature.
        encoders: modality -> encoder.
        pairs: such as ``rgb+lidar`` -> a network for what two sensors tell only together, see ``ray_lift``.
        names: the modalities, then the pairs; each has a feature and a part in the fusion.
        fusion: features to pose.
        mean_pose: (joint, 3) metres, camera frame; a buffer.
    """

    mean_pose: Tensor

    def __init__(
        self,
        modalities: Sequence[str],
        encoders: Mapping[str, nn.Module],
        fusion: Fusion,
        mean_pose: Float[Tensor, "joint 3"],
        width: int,
        pairs: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.num_joints = mean_pose.shape[0]
        self.width = width
        self.encoders = nn.ModuleDict({name: encoders[name] for name in self.modalities})
        self.pairs = nn.ModuleDict(pairs or {})
        self.names = (*self.modalities, *self.pairs)
        self.fusion = fusion
        self.register_buffer("mean_pose", mean_pose.detach().clone().float())

    def encode(self, batch: Batch) -> dict[str, Float[Tensor, "batch width"]]:
        """One feature per modality, each from that sensor's input alone, then one per pair.

        Raises:
            UsageError: if the batch lacks a modality of the model.
        """
        missing = [name for name in self.modalities if name not in batch.inputs]
        if missing:
            raise UsageError(
                f"the batch has no input for {', '.join(missing)}; it has {', '.join(batch.inputs)}. "
                f"The model was built for {', '.join(self.modalities)}: set data.modalities to the same sensors"
            )
        features = {name: self.encoders[name](batch.inputs[name]) for name in self.modalities}
        for name, pair in self.pairs.items():
            both = name.split("+")
            features[name] = pair(*(batch.inputs[each] for each in both), *(features[each] for each in both))
        return features

    def decode(
        self,
        features: Mapping[str, Float[Tensor, "batch width"]],
        coalition: Bool[Tensor, "batch modality"],
        baseline: Mapping[str, Float[Tensor, " width"]] | None = None,
    ) -> PoseOutput:
        """The pose from the sensors in each sample's coalition.

        Args:
            features: from ``encode``.
            coalition: which sensors each sample may use.
            baseline: what stands in for the feature of a sensor outside the coalition; zero where None, and for a
                pair of which a sensor is outside.
        """
        return self.decode_parts(self.parts(features, baseline), coalition)

    def decode_parts(self, parts: Parts, coalition: Bool[Tensor, "batch modality"]) -> PoseOutput:
        """``decode`` from what ``parts`` returned, so that several coalitions share it."""
        return PoseOutput(self._pose(_mix(parts, self.with_pairs(coalition))))

    def decode_coalitions(
        self,
        features: Mapping[str, Float[Tensor, "batch width"]],
        coalitions: Bool[Tensor, "coalition modality"],
        present: Bool[Tensor, "batch modality"],
        baseline: Mapping[str, Float[Tensor, " width"]] | None = None,
    ) -> Float[Tensor, "coalition batch joint 3"]:
        """The pose of every sample under every coalition, of which only the sensors that are present count.

        Equal bit for bit to ``decode(features, coalition & present)`` once per coalition; what depends on one
        sensor alone is computed once for all.

        Returns:
            metres, camera frame.
        """
        parts = self.parts(features, baseline)
        present_parts = _mix(parts, self.with_pairs(present))
        poses = []
        for inside in self.with_pairs(coalitions).tolist():
            chosen = [
                there if used else absent.expand_as(there)
                for there, absent, used in zip(present_parts, parts.absent, inside, strict=True)
            ]
            poses.append(self._pose(chosen))
        return torch.stack(poses)

    def forward(self, batch: Batch, coalition: Bool[Tensor, "batch modality"] | None = None) -> PoseOutput:
        """Encode and decode; the coalition is every sensor the sample has, or ``coalition`` of them."""
        inside = batch.present if coalition is None else batch.present & coalition
        return self.decode(self.encode(batch), inside)

    def parameters_of(self, modality: str) -> list[nn.Parameter]:
        """The parameters of one encoder."""
        return list(self.named_parameters_of(modality).values())

    def named_parameters_of(self, modality: str) -> dict[str, nn.Parameter]:
        """Name in ``named_parameters()`` -> parameter, for one encoder."""
        if modality not in self.modalities:
            raise unknown_name("modality of this model", modality, self.modalities)
        prefix = f"encoders.{modality}"
        return {f"{prefix}.{name}": p for name, p in self.encoders[modality].named_parameters()}

    def shared_parameters(self) -> list[nn.Parameter]:
        """The parameters that belong to no single encoder: those of the pairs and the fusion."""
        return [*self.pairs.parameters(), *self.fusion.parameters()]

    def parameter_counts(self) -> dict[str, int]:
        """How many numbers each encoder learns, and ``shared``: the others."""
        parts = {name: self.parameters_of(name) for name in self.modalities} | {"shared": self.shared_parameters()}
        return {name: sum(p.numel() for p in parameters) for name, parameters in parts.items()}

    def parts(
        self,
        features: Mapping[str, Float[Tensor, "batch width"]],
        baseline: Mapping[str, Float[Tensor, " width"]] | None = None,
    ) -> Parts:
        """What each feature gives to the fusion; arguments as those of ``decode``."""
        there, absent = [], []
        for name in self.names:
            feature = features[name]
            substitute = feature.new_zeros(self.width)
            if baseline is not None and name in self.modalities:
                substitute = baseline[name].to(feature)
            there.append(self.fusion.part(name, feature))
            absent.append(self.fusion.absent(name, substitute[None]))
        return Parts(there, absent)

    def with_pairs(self, inside: Bool[Tensor, "row modality"]) -> Bool[Tensor, "row name"]:
        """A column more for each pair, as in ``names``: true where both of its sensors are inside."""
        columns = [[self.modalities.index(each) for each in name.split("+")] for name in self.pairs]
        return torch.cat([inside, *(inside[:, both].all(1, keepdim=True) for both in columns)], 1)

    def _pose(self, parts: Sequence[Tensor]) -> Float[Tensor, "batch joint 3"]:
        offset = self.fusion.combine(parts)
        return self.mean_pose + offset.reshape(-1, self.num_joints, 3)


def _mix(parts: Parts, inside: Bool[Tensor, "batch name"]) -> list[Tensor]:
    """The part of each sensor inside the coalition, the substitute of the others."""
    return [
        torch.where(inside[:, m, None], there, absent)
        for m, (there, absent) in enumerate(zip(parts.there, parts.absent, strict=True))
    ]


def build_model(
    settings: ModelSettings,
    modalities: Sequence[str],
    num_joints: int,
    generator_seed: int,
    mean_pose: Float[Tensor, "joint 3"] | None = None,
    windows: Mapping[str, int] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> PoseModel:
    """Build a model with freshly drawn weights.

    The weights of an encoder depend on the seed, its modality and its settings alone: the same sensor starts from
    the same weights in a model of one sensor and in a model of four.

    Args:
        settings: sizes and names.
        modalities: sensors in the order of the modality axis.
        num_joints: joints of a pose.
        generator_seed: seed of the weights. The global random state is left as it was.
        mean_pose: mean training pose, metres, camera frame; zeros where None.
        windows: frames per sensor, where they differ from the defaults of ``DataSettings.windows``.
        shapes: frame shapes that differ from ``ModalitySpec.shape``, such as (25, 2) for the 2D joints of another
            skeleton.

    Raises:
        UsageError: for an unknown modality, encoder or fusion, an encoder that cannot read its sensor, or a mean
            pose of another shape.
    """
    if not modalities:
        raise UsageError("found no modality: name at least one sensor in data.modalities")
    unknown = [name for name in (*modalities, *settings.encoders) if name not in MODALITIES]
    if unknown:
        raise unknown_name("modality", unknown[0], MODALITIES, "equipose list modalities")
    if len(set(modalities)) != len(modalities):
        raise UsageError(f"a modality is named twice in {', '.join(modalities)}: name each sensor once")
    if mean_pose is None:
        mean_pose = torch.zeros(num_joints, 3)
        centre = TYPICAL_CENTRE
    else:
        if tuple(mean_pose.shape) != (num_joints, 3):
            raise UsageError(f"found a mean pose of shape {tuple(mean_pose.shape)}, expected ({num_joints}, 3)")
        x, y, z = mean_pose.double().mean(0).tolist()
        centre = (x, y, z)
    encoders: dict[str, nn.Module] = {}
    with torch.random.fork_rng(devices=[]):
        for name in modalities:
            torch.manual_seed(_seed(generator_seed, name))
            layout = InputLayout(
                window=(windows or {}).get(name, DataSettings().windows.get(name, 1)),
                shape=_frame_shape(MODALITIES[name], (shapes or {}).get(name)),
                centre=centre,
            )
            encoders[name] = _build_encoder(settings, MODALITIES[name], layout)
        pairs: dict[str, nn.Module] = {}
        for name in settings.pairs:
            if all(each in modalities for each in name.split("+")):
                torch.manual_seed(_seed(generator_seed, name))
                image = MODALITIES[name.split("+")[0]]
                shape = _frame_shape(image, (shapes or {}).get(image.name))
                pairs[name] = RayLift(shape[0], mean_pose, settings.width)
        torch.manual_seed(_seed(generator_seed, "fusion"))
        names = (*modalities, *pairs)
        fusion = FUSION[settings.fusion](names, settings.width, 3 * num_joints)
    return PoseModel(modalities, encoders, fusion, mean_pose, settings.width, pairs)


def _build_encoder(settings: ModelSettings, spec: ModalitySpec, layout: InputLayout) -> nn.Module:
    name = settings.encoders.get(spec.name, DEFAULT_ENCODER[spec.kind])
    encoder: EncoderClass = ENCODERS[name]
    if spec.kind not in encoder.kinds:
        raise UsageError(
            f"the encoder {name!r} reads {' or '.join(sorted(encoder.kinds))}, but {spec.name} is {spec.kind}; "
            f"leave model.encoders.{spec.name} out to use {DEFAULT_ENCODER[spec.kind]!r}"
        )
    return encoder(spec, layout, settings.width, encoder.preset(settings.size, spec))


def _frame_shape(spec: ModalitySpec, given: tuple[int, ...] | None) -> tuple[int, ...]:
    """Frame shape, or (channels + time,) of a cloud."""
    if given is not None:
        return given
    return spec.shape if spec.shape is not None else (len(spec.channels) + 1,)


def _seed(seed: int, name: str) -> int:
    """A seed of its own for each named part."""
    return (seed * 1_000_003 + zlib.crc32(name.encode())) % 2**63
