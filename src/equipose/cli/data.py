"""``equipose data``: check a folder of recordings, and pack it."""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from equipose.errors import at_least


def check(
    root: Annotated[Path, tyro.conf.Positional],
    jobs: int = 2,
    json: bool = False,
    limit: int = 50,
    out: Path | None = None,
) -> int:
    """Check an MM-Fi folder file by file; it is never written to.

    Exit code 0 if there are no errors (notes are normal), 3 otherwise.

    Args:
        root: folder that holds E01, E02 and so on; any part of MM-Fi will do.
        jobs: processes.
        json: print the whole report as JSON instead of text.
        limit: problems to spell out in the text.
        out: also write the JSON report to this file.
    """
    from equipose.data.audit import audit

    at_least("--jobs", jobs, 1)
    at_least("--limit", limit, 0)
    report = audit(root, jobs)
    text = json_module.dumps(report.to_json(), indent=1)
    print(text if json else report.to_text(limit))
    if out is not None:
        out.write_text(text + "\n")
    return report.exit_code


def pack(
    root: Annotated[Path, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    jobs: int = 2,
    dtype: Literal["float32", "source"] = "float32",
    modalities: tuple[str, ...] = (),
    json: bool = False,
) -> int:
    """Pack an MM-Fi folder into one memory-mapped file per sensor; interrupted, the same command continues.

    Args:
        root: folder that holds E01, E02 and so on; only read.
        out: folder to make.
        jobs: processes that read frames.
        dtype: float32, or source for arrays that are bit-equal to the files at twice the size.
        modalities: sensors to pack; by default all there are except depth.
        json: print what was done as JSON.
    """
    from dataclasses import asdict

    from equipose.data.packing import pack as pack_folder

    at_least("--jobs", jobs, 1)
    report = pack_folder(root, out, jobs, dtype, modalities or None)
    if json:
        print(json_module.dumps(asdict(report) | {"out": str(report.out)}, indent=1))
        return 0
    print(f"{report.out}: {report.recordings} recordings, {report.frames} frames of {', '.join(report.modalities)}")
    for name in report.modalities:
        if report.missing[name] or report.unreadable[name]:
            print(f"  {name}: {report.missing[name]} frames missing, {report.unreadable[name]} unreadable")
    for text in (*report.skipped, *report.examples):
        print(f"  {text}", file=sys.stderr)
    if report.skipped or report.examples:
        print(f"  The whole list: equipose data check {root}", file=sys.stderr)
    print(f"Next: equipose train {report.out}")
    return 0
