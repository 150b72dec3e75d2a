"""Methods x fusions x protocols x splits x seeds from one recipe: trained, measured, compared on one page.

Files in reading order: ``recipe`` (what a benchmark is), ``plan`` (which trainings it needs), ``work`` (one cell),
``executors`` and ``cluster`` (where cells run), ``grid`` (the order, resuming, failures), ``live`` (what is shown
meanwhile), ``results`` (the files of finished cells), ``statistics`` (intervals over people and seeds), ``study``
(every number of the page), ``table`` (``results.csv``), ``findings``, ``charts``, ``sections``, ``page``.
"""
