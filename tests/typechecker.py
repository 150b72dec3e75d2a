"""The run-time type checker of the tests: beartype, with an int accepted for a float as PEP 484 has it."""

from beartype import BeartypeConf, beartype

checker = beartype(conf=BeartypeConf(is_pep484_tower=True))
