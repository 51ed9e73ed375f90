"""The records that the tests of this room look at."""

from made_records import made, made_once  # noqa: F401  (fixtures)
