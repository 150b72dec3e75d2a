"""One encoder family per kind of sensor, each in the sizes ``small`` and ``paper``; see ``base`` for the rules."""
