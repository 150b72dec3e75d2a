"""Compare continual strategies on streams, clean and noisy, with their bounds, over orders and seeds.

``recipe`` says what is compared, ``plan`` which runs that needs, ``work`` is one of them, ``grid`` runs them all and
goes on where it stopped, ``measures`` turns errors into numbers, ``study`` all runs into tables, ``run`` holds the
functions that `equipose continual` calls.
"""
