"""Tools that somebody adds to the pocket model, which never met them: functions as users write them."""

from __future__ import annotations

import math

from router.tools.function import tool


@tool
def hypotenuse(a: float, b: float) -> float:
    """Computes the hypotenuse of a right triangle from its two legs: how long is the diagonal, the ladder, the longest
    side?
    """
    return math.hypot(a, b)


@tool
def cube_root(a: float) -> float:
    """Takes the cube root of a number: which number gives it when cubed; how long is the edge of a cube of that volume?"""
    return math.cbrt(a)


@tool
def percent_change(old: float, new: float) -> float:
    """Computes the change from an old value to a new one in percent: by how many percent did it rise, grow, fall or
    shrink?
    """
    return 100 * (new - old) / old


@tool
def circle_area(radius: float) -> float:
    """Computes the area of a circle from its radius: how large is a round pond, pizza or table top?"""
    return math.pi * radius**2


@tool
def body_mass_index(kilograms: float, metres: float) -> float:
    """Computes the body mass index (bmi) of a person from weight in kilograms and height in metres."""
    return kilograms / metres**2
