"""Lengths in nanometres as exact decimals, and the world units that make them whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from funlib.geometry import Coordinate

from catena.errors import GeometryError


def parse_voxel_size_nm(values: Sequence[Any], where: str = "voxel size") -> tuple[Coordinate, int]:
    """Parse three exact decimals in nanometres into a coordinate and the units per nanometre.

    >>> parse_voxel_size_nm([40, 4.6, "4.6"])
    ((400, 46, 46), 10)

    Raises
    ------
    GeometryError
        If there are not three positive numbers.
    """
    decimals = [exact_decimal(each, where) for each in values]
    if len(decimals) != 3 or any(each <= 0 for each in decimals):
        raise GeometryError(f"{where} must be three positive numbers z, y, x in nm, found {list(values)}")
    units_per_nm = exact_units_per_nm(decimals, where)
    return Coordinate(int(each * units_per_nm) for each in decimals), units_per_nm


def exact_decimal(value: Any, where: str) -> Decimal:
    """Return a number as the decimal it is written as; a float32 of 4.6 is 4.6."""
    try:
        number = Decimal(_text(value))
    except ArithmeticError:
        raise GeometryError(f"{where}: {value!r} is not a number") from None
    if not number.is_finite():
        raise GeometryError(f"{where}: {value!r} is not a finite number")
    return number


def exact_units_per_nm(decimals: Sequence[Decimal], where: str) -> int:
    """Return the smallest power of ten that makes all of `decimals` (nm) whole numbers."""
    digits = max(-int(each.normalize().as_tuple().exponent) for each in decimals)
    if digits > 6:
        found = ", ".join(str(each) for each in decimals)
        raise GeometryError(
            f"{where}: [{found}] has more than 6 decimal places of a nanometre; "
            "set voxel_size_nm in the configuration to the exact decimals, z y x in nm"
        )
    return int(10 ** max(0, digits))


def to_nm(value: int, units_per_nm: int) -> float:
    """Return a length in world units as nanometres."""
    return int(value) // units_per_nm if value % units_per_nm == 0 else float(Decimal(int(value)) / units_per_nm)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
