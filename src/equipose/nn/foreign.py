"""Somebody else's multi-modal network behind the interface of ``PoseModel``: one encoder per modality, and a fusion.

    model = adapt(net, {"camera": net.camera, "radar": net.radar}, net.fuse, read, loader)

Nothing is copied: the adapter holds the network's own modules, so training through it trains the network. What is
inside does not matter, as long as a modality's encoder sees that modality alone and everything else happens in ``fuse``.

Features may have any shape (batch, ...); here they travel flat, and those that are shorter than the longest are padded
with zeros, so that all have one width. Predictions are (batch, joint, 3) everywhere else in equipose. Other regression
targets are laid into that shape with zeros: (batch,) and (batch, output) become (batch, output, 3) and the distance of
a "joint" is the absolute error of one output; (batch, joint, 2) gets a third axis that is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from equipose.errors import UsageError, unknown_name
from equipose.inspection import untouched
from equipose.nn.fusion import Fusion
from equipose.nn.model import PoseModel
from equipose.types import Batch, Cloud, Dense, FrameMeta

Fuse = Callable[[dict[str, Tensor]], Tensor]
"""Modality -> feature, in the shape its encoder gave it, to the prediction, in the shape of the target."""
Read = Callable[[Any], Sequence[Any]]
"""A batch of the user's loader to (inputs, target) or (inputs, target, present).

inputs: modality -> what its encoder takes: one tensor (batch, ...), or a ``Dense`` or ``Cloud``. target: a tensor of
floating-point numbers. present: modality -> (batch,) bool, which samples have it; left out, all have all.
"""


class ForeignModel(PoseModel):
    """A ``PoseModel`` made of another network's parts; ``adapt`` builds it.

    Attributes:
        target_shape: shape of one sample's target, as the network's user has it.
    """

    def __init__(
        self,
        encoders: Mapping[str, ForeignEncoder],
        fusion: ForeignFusion,
        mean: Float[Tensor, "joint 3"],
        target_shape: tuple[int, ...],
        read: Read,
    ) -> None:
        super().__init__(list(encoders), encoders, fusion, mean, next(iter(encoders.values())).width)
        self.target_shape = target_shape
        self._read = read

    def batch(self, given: Any) -> Batch:
        """A batch of the user's loader as a ``Batch``, on the model's device; samples are numbered from 0.

        Raises:
            UsageError: if ``read`` does not give what it should.
        """
        inputs, target, present = _parts_of(self._read(given), self.modalities)
        if target.shape[1:] != self.target_shape:
            raise UsageError(
                f"found a target of shape {_shape(target)}, expected (batch, {_listed(self.target_shape)})"
            )
        return as_batch(inputs, target, present).to(self.mean_pose.device)

    def batches(self, loader: Iterable[Any]) -> Iterator[Batch]:
        """All batches of the user's loader, for ``measure``; the samples are numbered through."""
        done = 0
        for given in loader:
            batch = self.batch(given)
            yield replace(batch, meta=replace(batch.meta, sample=batch.meta.sample + done))
            done += len(batch)

    def as_given(self, joints: Float[Tensor, "batch joint 3"]) -> Tensor:
        """A prediction or target of equipose in the shape that the network's user has it."""
        return _cropped(joints, self.target_shape)

    def _pose(self, parts: Sequence[Tensor]) -> Float[Tensor, "batch joint 3"]:
        assert isinstance(self.fusion, ForeignFusion)
        return self.fusion.predict(parts)


class ForeignEncoder(nn.Module):
    """One encoder of another network; its feature is flat and padded to a common width.

    Args:
        name: of the modality.
        module: the encoder.
        shape: of one sample's feature.
        width: of all features.
        plain: whether the encoder takes a tensor, not a ``Dense`` or ``Cloud``.
    """

    def __init__(self, name: str, module: nn.Module, shape: tuple[int, ...], width: int, plain: bool) -> None:
        super().__init__()
        self.name, self.shape, self.width, self.plain = name, shape, width, plain
        self.module = module

    def forward(self, window: Dense | Cloud) -> Float[Tensor, "batch width"]:
        """The feature of each sample."""
        feature = self.module(window.values[:, 0] if self.plain and isinstance(window, Dense) else window)
        if feature.shape[1:] != self.shape:
            raise UsageError(
                f"the encoder of {self.name!r} gave a feature of shape {_shape(feature)}, and (batch, "
                f"{_listed(self.shape)}) before; features must have one shape: pad or pool them in the encoder"
            )
        flat = feature.flatten(1)
        return flat if flat.shape[1] == self.width else nn.functional.pad(flat, (0, self.width - flat.shape[1]))


class ForeignFusion(Fusion):
    """What another network does after its encoders.

    Its parameters are those of the whole network that belong to no encoder.

    Args:
        fuse: features to prediction.
        network: holds the modules that ``fuse`` uses.
        encoders: modality -> encoder.
        mean: what ``PoseModel`` adds to the result of ``combine``.
        target_shape: shape of one sample's prediction.
    """

    offset: Tensor

    def __init__(
        self,
        fuse: Fuse,
        network: nn.Module,
        encoders: Mapping[str, ForeignEncoder],
        mean: Float[Tensor, "joint 3"],
        target_shape: tuple[int, ...],
    ) -> None:
        super().__init__(list(encoders), 0, 0)
        self.fuse = fuse
        self.network = network
        self._shapes = {name: encoder.shape for name, encoder in encoders.items()}
        self._foreign = {id(p) for encoder in encoders.values() for p in encoder.parameters()}
        self._target_shape = target_shape
        self.register_buffer("offset", mean.detach().clone().float().flatten())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """As of any module, but for the encoders' parameters."""
        for name, parameter in super().named_parameters(prefix, recurse, remove_duplicate):
            if id(parameter) not in self._foreign:
                yield name, parameter

    def part(self, modality: str, feature: Float[Tensor, "batch width"]) -> Float[Tensor, "batch part"]:
        """The feature itself; what becomes of it, the network decides."""
        return feature

    def combine(self, parts: Sequence[Float[Tensor, "batch part"]]) -> Float[Tensor, "batch output"]:
        """The prediction's offset from the mean."""
        return self.predict(parts).flatten(1) - self.offset

    def predict(self, parts: Sequence[Float[Tensor, "batch part"]]) -> Float[Tensor, "batch joint 3"]:
        """The network's prediction."""
        features = {}
        for name, part in zip(self.modalities, parts, strict=True):
            shape = self._shapes[name]
            features[name] = part[:, : _size(shape)].reshape(part.shape[0], *shape)
        prediction = self.fuse(features)
        if prediction.shape[1:] != self._target_shape or prediction.shape[0] != parts[0].shape[0]:
            raise UsageError(
                f"fuse gave a prediction of shape {_shape(prediction)} for {parts[0].shape[0]} samples, expected "
                f"(batch, {_listed(self._target_shape)}), the shape of the target"
            )
        return _padded(prediction)


def adapt(
    network: nn.Module,
    encoders: Mapping[str, nn.Module],
    fuse: Fuse,
    read: Read,
    examples: Iterable[Any],
    samples: int = 512,
) -> ForeignModel:
    """Give another network the interface that measurements and balance strategies use.

    Args:
        network: the whole network, on the device it will be trained on; it may also be the LightningModule.
        encoders: modality -> the module that turns its input into a feature, (batch, width), (batch, token, width) or
            any (batch, ...). Their order is that of every modality axis. No two may share parameters.
        fuse: modality -> feature, to the prediction. The features of absent modalities are zeros.
        read: tells inputs, target and who is present from a batch of the user's loader.
        examples: training batches, such as the training loader; the first ones give shapes and the mean target. The
            global random state is left as it was.
        samples: how many samples the mean target is taken over, at least one batch.

    Raises:
        UsageError: a part is not what it should be; the message says which.
    """
    _checked(encoders)
    found = [_parts_of(read(given), tuple(encoders)) for given in first_batches(examples, samples, read)]
    if not found:
        raise UsageError("found no batch in examples: give the training loader")
    inputs, target, _ = found[0]
    _check_target(target)
    device = next((p.device for p in network.parameters()), target.device)
    shapes, plain = {}, {}
    for name, encoder in encoders.items():
        plain[name] = isinstance(inputs[name], Tensor)
        shapes[name] = _feature_shape(name, encoder, inputs[name], device)
    width = max(_size(shape) for shape in shapes.values())
    wrapped = {name: ForeignEncoder(name, encoders[name], shapes[name], width, plain[name]) for name in encoders}
    targets = torch.cat([target for _, target, _ in found])
    mean = _padded(targets.double().mean(0, keepdim=True).float())[0].to(device)
    target_shape = tuple(target.shape[1:])
    model = ForeignModel(wrapped, ForeignFusion(fuse, network, wrapped, mean, target_shape), mean, target_shape, read)
    with untouched(model):
        model(as_batch(*found[0]).to(device))  # the fusion is refused here, not in the middle of an epoch
    return model


def first_batches(loader: Iterable[Any], samples: int, read: Read, seed: int = 0) -> list[Any]:
    """The first batches of a pass over a loader that hold at least ``samples`` samples, or all it has.

    A loader that shuffles by the global random state is shuffled by ``seed``; that state is left as it was.
    """
    batches, count = [], 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for given in loader:
            batches.append(given)
            count += len(read(given)[1])
            if count >= samples:
                break
    return batches


def as_batch(
    inputs: Mapping[str, Tensor | Dense | Cloud], target: Tensor, present: Bool[Tensor, "batch modality"]
) -> Batch:
    """Tensors as a ``Batch``; the target is laid into (batch, joint, 3), samples are numbered from 0."""
    count = target.shape[0]
    nothing = torch.zeros(count, dtype=torch.int64, device=target.device)
    number = torch.arange(count, device=target.device)
    return Batch(
        modalities=tuple(inputs),
        inputs={name: _window(value) for name, value in inputs.items()},
        present=present.to(target.device),
        target=_padded(target),
        meta=FrameMeta(number, nothing, nothing, nothing, nothing, nothing),
    )


def _window(value: Tensor | Dense | Cloud) -> Dense | Cloud:
    """A tensor (batch, ...) as a window of one frame."""
    if not isinstance(value, Tensor):
        return value
    return Dense(value.unsqueeze(1), torch.ones(len(value), 1, dtype=torch.bool, device=value.device))


def _padded(values: Tensor) -> Float[Tensor, "batch joint 3"]:
    """(batch,), (batch, output), (batch, joint, 1 to 3) as (batch, joint, 3), with zeros behind."""
    if values.ndim < 3:
        values = values.reshape(values.shape[0], -1, 1)
    return values if values.shape[2] == 3 else nn.functional.pad(values, (0, 3 - values.shape[2]))


def _cropped(joints: Float[Tensor, "batch joint 3"], shape: tuple[int, ...]) -> Tensor:
    """The inverse of ``_padded``."""
    axes = shape[1] if len(shape) == 2 else 1
    cropped = joints if axes == 3 else joints[..., :axes]
    return cropped if len(shape) == 2 else cropped.reshape(joints.shape[0], *shape)


def _parts_of(
    read: Any, modalities: tuple[str, ...]
) -> tuple[dict[str, Tensor | Dense | Cloud], Tensor, Bool[Tensor, "batch modality"]]:
    """What ``read`` returned, checked; inputs in the model's order."""
    if not isinstance(read, Sequence) or len(read) not in (2, 3) or not isinstance(read[0], Mapping):
        raise UsageError(
            "read must return (inputs, target) or (inputs, target, present), where inputs maps each modality to its "
            f"tensor; found {type(read).__name__}" + (f" of {len(read)}" if isinstance(read, Sequence) else "")
        )
    inputs, target = read[0], read[1]
    given = dict(read[2]) if len(read) == 3 else {}
    for name in modalities:
        if name not in inputs:
            raise UsageError(f"read gave no input for {name!r}; it gave {', '.join(inputs) or 'none'}")
        if not isinstance(inputs[name], Tensor | Dense | Cloud):
            raise UsageError(
                f"the input of {name!r} is a {type(inputs[name]).__name__}, expected one tensor (batch, ...); points "
                "with a mask can be given as equipose.types.Cloud"
            )
    strangers = [name for name in given if name not in modalities]
    if strangers:
        raise unknown_name("modality in present", strangers[0], modalities)
    _check_target(target)
    everywhere = torch.ones(len(target), dtype=torch.bool, device=target.device)
    columns = [given.get(name, everywhere).to(everywhere) for name in modalities]
    wrong = [n for n, c in zip(modalities, columns, strict=True) if c.shape != everywhere.shape]
    if wrong:
        raise UsageError(f"present of {wrong[0]!r} must be one bool per sample, shape ({len(target)},)")
    return {name: inputs[name] for name in modalities}, target, torch.stack(columns, 1)


def _check_target(target: Any) -> None:
    fits = isinstance(target, Tensor) and (target.ndim in (1, 2) or (target.ndim == 3 and 1 <= target.shape[2] <= 3))
    if not fits:
        found = f"shape {_shape(target)}" if isinstance(target, Tensor) else type(target).__name__
        raise UsageError(
            f"found a target of {found}, expected (batch, joint, 3), (batch, joint, 2), (batch, output) or (batch,)"
        )
    if not target.is_floating_point():
        raise UsageError(
            f"found a target of {target.dtype}: equipose works for regression, whose targets are floating-point "
            "numbers; for another task take equipose.shapley_of, which measures contributions to anything"
        )


def _checked(encoders: Mapping[str, nn.Module]) -> None:
    if not encoders:
        raise UsageError("found no encoder: give encoders={'camera': net.camera, ...}")
    owner: dict[int, str] = {}
    for name, encoder in encoders.items():
        if not isinstance(encoder, nn.Module):
            raise UsageError(
                f"the encoder of {name!r} is a {type(encoder).__name__}, expected an nn.Module: its parameters must be "
                "known; put what the network does to this modality into a module of its own"
            )
        if "." in name or not name or hasattr(nn.ModuleDict, name):
            raise UsageError(f"a modality cannot be called {name!r}: take a name without a dot, such as 'camera'")
        for parameter in encoder.parameters():
            other = owner.setdefault(id(parameter), name)
            if other != name:
                raise UsageError(
                    f"the encoders of {other!r} and {name!r} share parameters, so that neither can be slowed or held "
                    "alone; make them one modality, or give each weights of its own"
                )


def _feature_shape(
    name: str, encoder: nn.Module, value: Tensor | Dense | Cloud, device: torch.device
) -> tuple[int, ...]:
    """Shape of one sample's feature."""
    if isinstance(value, Tensor):
        value, count = value.to(device), len(value)
    else:
        window = as_batch({name: value}, torch.zeros(1), torch.ones(1, 1, dtype=torch.bool)).to(device).inputs[name]
        value, count = window, len(window.values if isinstance(window, Dense) else window.points)
    with untouched(encoder):
        feature = encoder(value)
    if not isinstance(feature, Tensor) or feature.ndim < 2 or len(feature) != count:
        found = f"shape {_shape(feature)}" if isinstance(feature, Tensor) else type(feature).__name__
        raise UsageError(
            f"the encoder of {name!r} gave {found} for {count} samples, expected one tensor (batch, width) or (batch, "
            "token, width); wrap it in a module that returns one"
        )
    return tuple(feature.shape[1:])


def _size(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())


def _shape(tensor: Tensor) -> str:
    return f"({_listed(tuple(tensor.shape))})"


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(str(size) for size in shape)
