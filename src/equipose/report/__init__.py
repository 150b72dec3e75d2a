"""One offline page about one or more runs: how accurate, which sensor carries it, did balancing help, where it fails.

Files in reading order: ``schema`` and ``load`` (run folders), ``study`` (order, labels, colours), ``pairing``
(paired differences), ``findings`` (sentences), ``charts/``, ``sections`` and ``appendix`` (HTML), ``page``.
Imports no torch.
"""

from __future__ import annotations

from equipose.report.page import write_report

__all__ = ["write_report"]
