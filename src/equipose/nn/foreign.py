"""Somebody else's multi-modal network behind the interface of ``PoseModel``: one encoder per modality, and a fusion.

    model = adapt(net, {"camera": net.camera, "radar": net.radar}, net.fuse, read, loader)

Nothing is copied: the adapter holds the network's own modules, so training through it trains the network. What is
inside does not matter, as long as an encoder sees its modality alone and everything else happens in ``fuse``.

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
from jaxtyping import Float
from torch import Tensor, nn

from equipose.errors import UsageError
from equipose.inspection import untouched
from equipose.nn.foreign_batch import (
    Parts,
    Read,
    as_batch,
    cropped,
    enough,
    listed,
    padded,
    parts_of,
    shape_of,
)
from equipose.nn.fusion import Fusion
from equipose.nn.model import PoseModel
from equipose.types import Batch, Cloud, Dense

Fuse = Callable[[dict[str, Tensor]], Tensor]
"""Modality -> feature, in the shape its encoder gave it, to the prediction, in the shape of the target."""


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
        inputs, target, present = parts_of(self._read(given), self.modalities)
        if target.shape[1:] != self.target_shape:
            raise UsageError(
                f"found a target of shape {shape_of(target)}, expected (batch, {listed(self.target_shape)})"
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
        return cropped(joints, self.target_shape)

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
                f"the encoder of {self.name!r} gave a feature of shape {shape_of(feature)}, and (batch, "
                f"{listed(self.shape)}) before; features must have one shape: pad or pool them in the encoder"
            )
        flat = feature.flatten(1)
        return flat if flat.shape[1] == self.width else nn.functional.pad(flat, (0, self.width - flat.shape[1]))


class ForeignFusion(Fusion):
    """What another network does after its encoders.

    It owns the parts of the network that hold no encoder. A module must not be in the model twice: torch's
    ``functional_call`` would put every weight back in one place only.

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
        taken = {id(module) for encoder in encoders.values() for module in encoder.modules()}
        roots = [network, fuse] if isinstance(fuse, nn.Module) else [network]
        shared, around = _outside(roots, taken)
        self.shared = nn.ModuleList(shared)
        self.loose = nn.ParameterList([p for module in around for p in module.parameters(recurse=False)])
        self._around = tuple(around)  # a tuple hides them from torch; they hold encoders
        self._fuse = (fuse,)
        self._shapes = {name: encoder.shape for name, encoder in encoders.items()}
        self._target_shape = target_shape
        self.register_buffer("offset", mean.detach().clone().float().flatten())

    def modules(self, remove_duplicate: bool = True) -> Iterator[nn.Module]:
        """All whose training flag matters, also those around the encoders."""
        yield from super().modules()
        yield from self._around

    def part(self, modality: str, feature: Float[Tensor, "batch width"]) -> Float[Tensor, "batch part"]:
        """The feature itself; what becomes of it, the network decides."""
        return feature

    def combine(self, parts: Sequence[Float[Tensor, "batch part"]]) -> Float[Tensor, "batch output"]:
        """The prediction's offset from the mean."""
        return self.predict(parts).flatten(1) - self.offset

    def predict(self, parts: Sequence[Float[Tensor, "batch part"]]) -> Float[Tensor, "batch joint 3"]:
        """The network's prediction; that of no sample is not asked for."""
        if parts[0].shape[0] == 0:
            return parts[0].new_zeros(0, len(self.offset) // 3, 3)
        features = {}
        for name, part in zip(self.modalities, parts, strict=True):
            shape = self._shapes[name]
            features[name] = part[:, : _size(shape)].reshape(part.shape[0], *shape)
        prediction = self._fuse[0](features)
        if not isinstance(prediction, Tensor):
            raise UsageError(f"fuse gave a {type(prediction).__name__}, expected one tensor, the prediction")
        if prediction.shape[1:] != self._target_shape or prediction.shape[0] != parts[0].shape[0]:
            raise UsageError(
                f"fuse gave a prediction of shape {shape_of(prediction)} for {parts[0].shape[0]} samples, expected "
                f"(batch, {listed(self._target_shape)}), the shape of the target"
            )
        return padded(prediction)


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
    names = tuple(encoders)

    def checked() -> Iterator[Parts]:
        for given in examples:
            yield parts_of(read(given), names)

    found = enough(checked(), samples, lambda parts: len(parts[1]))
    if not found:
        raise UsageError("found no batch in examples: give the training loader")
    inputs, target, _ = found[0]
    device = next((p.device for p in network.parameters()), target.device)
    shapes, plain = {}, {}
    for name, encoder in encoders.items():
        plain[name] = isinstance(inputs[name], Tensor)
        shapes[name] = _feature_shape(name, encoder, inputs[name], device)
    width = max(_size(shape) for shape in shapes.values())
    wrapped = {name: ForeignEncoder(name, encoders[name], shapes[name], width, plain[name]) for name in encoders}
    targets = torch.cat([target for _, target, _ in found])
    mean = padded(targets.double().mean(0, keepdim=True).float())[0].to(device)
    target_shape = tuple(target.shape[1:])
    model = ForeignModel(wrapped, ForeignFusion(fuse, network, wrapped, mean, target_shape), mean, target_shape, read)
    with untouched(model):
        model(as_batch(*found[0]).to(device))  # the fusion is refused here, not in the middle of an epoch
    return model


def _checked(encoders: Mapping[str, Any]) -> None:
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
        if len(list(encoder.named_modules(remove_duplicate=False))) > len(list(encoder.modules())):
            raise UsageError(
                f"the encoder of {name!r} holds one module under two names, which torch.func.functional_call breaks: "
                "keep it once, and call it twice"
            )
        for parameter in encoder.parameters():
            other = owner.setdefault(id(parameter), name)
            if other != name:
                raise UsageError(
                    f"the encoders of {other!r} and {name!r} share parameters, so that neither can be slowed or held "
                    "alone; make them one modality, or give each weights of its own"
                )


def _outside(roots: Sequence[nn.Module], taken: set[int]) -> tuple[list[nn.Module], list[nn.Module]]:
    """The largest modules without any of the taken ones in them, and those around the taken ones; each once."""
    free: list[nn.Module] = []
    around: list[nn.Module] = []
    seen = set(taken)
    queue = list(roots)
    while queue:
        module = queue.pop(0)
        if id(module) in seen:
            continue
        within = {id(m) for m in module.modules()}
        if within & seen:
            seen.add(id(module))
            around.append(module)
            queue.extend(module.children())
        else:
            seen |= within
            free.append(module)
    return free, around


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
        found = f"shape {shape_of(feature)}" if isinstance(feature, Tensor) else type(feature).__name__
        raise UsageError(
            f"the encoder of {name!r} gave {found} for {count} samples, expected one tensor (batch, width) or (batch, "
            "token, width); wrap it in a module that returns one"
        )
    return tuple(feature.shape[1:])


def _size(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())
