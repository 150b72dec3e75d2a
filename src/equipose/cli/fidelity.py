"""``equipose simulate report``: a simulated data set against real recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro


def report(
    root: Path,
    real: Path | None = None,
    out: Path = Path("fidelity.html"),
    data: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> int:
    """Hold a simulated data set against real recordings: statistics side by side, a distance and a verdict for each.

    Tolerances come from the real data alone: how far real rooms, people and captures lie from each other. A statistic
    outside is a finding about the simulator and no error of this command.

    Args:
        root: folder written by `equipose simulate`, not packed.
        real: folder with mmfi_statistics, atheros_csi, mars, ouster_os1_32 and cmu_mocap. Default: the folder that
            the variable EQUIPOSE_REAL_DATA names.
        out: the page, or a folder for fidelity.html.
        data: also write the numbers to this JSON file.

    Returns:
        Exit code 0.
    """
    from equipose.report.fidelity import write_fidelity

    path = write_fidelity(root, real, out, data)
    print(f"fidelity: {path} ({path.stat().st_size / 1e6:.1f} MB; opens in any browser, without a network)")
    return 0
