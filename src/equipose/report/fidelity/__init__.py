"""One offline page that holds the simulator against recordings of real sensors and real people.

Every statistic is taken from both with the same code, gets a distance, and is judged by a tolerance that comes from the
real data alone: how far its own parts (rooms, people, stretches of a capture) lie from each other. Nothing here
changes the simulator. Files in reading order: ``distances``, ``rows`` (a judged statistic), ``source`` (both folders),
``packets``, ``wifi``, ``radar``, ``lidar``, ``motion``, ``charts``, ``numbers``, ``page``. Imports no torch.
"""

from __future__ import annotations

from equipose.report.fidelity.page import write_fidelity

__all__ = ["write_fidelity"]
