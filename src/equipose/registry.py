"""Name -> class tables, filled by the package itself and by entry points of other packages.

A third-party package adds a balance strategy with::

    [project.entry-points."equipose.balance"]
    my_strategy = "my_package.my_module:MyStrategy"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from equipose.errors import UsageError, unknown_name


class Registry(Mapping[str, Any]):
    """Names to lazily imported objects.

    Built-in entries are ``"module:attribute"`` strings, so that listing names imports nothing.
    """

    def __init__(self, kind: str, group: str, builtin: Mapping[str, str]) -> None:
        self.kind = kind
        self.group = group
        self._builtin = dict(builtin)

    def _targets(self) -> dict[str, Callable[[], Any]]:
        targets: dict[str, Callable[[], Any]] = {point.name: point.load for point in entry_points(group=self.group)}
        clash = sorted(set(targets) & set(self._builtin))
        if clash:
            raise UsageError(
                f"an installed package registers the {self.kind} {clash[0]!r}, which equipose has already; "
                f"rename its entry point in the group {self.group!r}"
            )
        for name, target in self._builtin.items():
            targets[name] = lambda target=target: _load(target)  # type: ignore[misc]  # default binds the loop value
        return targets

    def __getitem__(self, name: str) -> Any:
        targets = self._targets()
        if name not in targets:
            raise unknown_name(self.kind, name, targets, f"equipose list {self.group.split('.')[-1]}")
        return targets[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._targets()))

    def __len__(self) -> int:
        return len(self._targets())

    def __contains__(self, name: object) -> bool:
        return name in self._targets()


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


BALANCE = Registry(
    "balance strategy",
    "equipose.balance",
    {
        "joint": "equipose.balance.joint:Joint",
        "awc": "equipose.balance.awc:Awc",
        "every_subset": "equipose.balance.every_subset:EverySubset",
        "slow_encoders": "equipose.balance.slow_encoders:SlowEncoders",
        "modality_dropout": "equipose.balance.modality_dropout:ModalityDropout",
        "ogm": "equipose.balance.ogm:Ogm",
        "ogm_ge": "equipose.balance.ogm:OgmGe",
        "opm": "equipose.balance.opm:Opm",
        "agm": "equipose.balance.agm:Agm",
        "cggm": "equipose.balance.cggm:Cggm",
        "inforeg": "equipose.balance.inforeg:InfoReg",
        "gdl": "equipose.balance.gdl:Gdl",
        "g_blend": "equipose.balance.g_blend:GBlend",
        "mmpareto": "equipose.balance.mmpareto:MmPareto",
        "pmr": "equipose.balance.pmr:Pmr",
        "ume": "equipose.balance.ume:Ume",
        "umt": "equipose.balance.umt:Umt",
        "reconboost": "equipose.balance.reconboost:ReconBoost",
        "relearning": "equipose.balance.relearning:Relearning",
        "sample_resampling": "equipose.balance.resampling:SampleResampling",
        "modality_resampling": "equipose.balance.resampling:ModalityResampling",
    },
)
CONTINUAL = Registry(
    "continual strategy",
    "equipose.continual",
    {
        "fine_tune": "equipose.continual.fine_tune:FineTune",
        "ewc": "equipose.continual.ewc:Ewc",
        "online_ewc": "equipose.continual.online_ewc:OnlineEwc",
        "adaptive_ewc": "equipose.continual.adaptive_ewc:AdaptiveEwc",
        "adaptive_ewc_replay": "equipose.continual.adaptive_ewc_replay:AdaptiveEwcReplay",
        "kfac": "equipose.continual.kfac:Kfac",
        "si": "equipose.continual.si:Si",
        "mas": "equipose.continual.mas:Mas",
        "rwalk": "equipose.continual.rwalk:Rwalk",
        "lwf": "equipose.continual.lwf:Lwf",
        "feature_distillation": "equipose.continual.feature_distillation:FeatureDistillation",
        "er": "equipose.continual.er:Er",
        "derpp": "equipose.continual.derpp:Derpp",
        "agem": "equipose.continual.agem:Agem",
        "gem": "equipose.continual.gem:Gem",
        "gdumb": "equipose.continual.gdumb:Gdumb",
    },
)
ENCODERS = Registry(
    "encoder",
    "equipose.encoders",
    {
        "temporal_conv": "equipose.nn.encoders.temporal_conv:TemporalConvEncoder",
        "point_transformer": "equipose.nn.encoders.point_transformer:PointTransformerEncoder",
        "csi_network": "equipose.nn.encoders.csi_network:CsiEncoder",
        "depth_network": "equipose.nn.encoders.depth_network:DepthEncoder",
    },
)
FUSION = Registry(
    "fusion",
    "equipose.fusion",
    {
        "concat": "equipose.nn.fusion:ConcatFusion",
        "mlp": "equipose.nn.fusion:MlpFusion",
        "attention": "equipose.nn.fusion:AttentionFusion",
        "experts": "equipose.nn.experts_fusion:ExpertsFusion",
        "ensemble": "equipose.nn.decision_fusion:EnsembleFusion",
    },
)
PROFITS = Registry(
    "profit",
    "equipose.profits",
    {
        "pearson": "equipose.contribution.profit:Pearson",
        "weighted_pearson": "equipose.contribution.profit:WeightedPearson",
        "mpjpe": "equipose.contribution.profit:NegativeMpjpe",
        "skill": "equipose.contribution.profit:Skill",
        "concordance": "equipose.contribution.profit:Concordance",
    },
)
