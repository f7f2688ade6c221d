"""What a unit of the meter is worth: a millionth of the currency."""

from typing import Final

UNIT_NANO: Final = 1_000
