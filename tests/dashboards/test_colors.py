"""Colours that must not be taken for each other are apart for every eye."""

from __future__ import annotations

import math
from itertools import combinations

import pytest

from dashboards.colors import BAD, GOOD, WORSE

PALETTES = {
    "dark": {"light-green": "96D98D", "orange": "FF9830", "dark-red": "C4162A"},
    "light": {"light-green": "73BF69", "orange": "FF780A", "dark-red": "AD0317"},
}
"""Grafana's, by theme (``createVisualizationColors`` of ``@grafana/data`` 13.2.3)."""

Matrix = tuple[tuple[float, float, float], ...]
SIGHTS: dict[str, Matrix] = {
    "usual": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}
"""On linear sRGB: Machado, Oliveira and Fernandes, 2009, full severity, as Chromium simulates them."""

APART = 20
"""The least distance in CIELAB: ten times what is just noticed side by side.  Grafana's green and red are 8 apart."""


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("theme", PALETTES)
def test_good_and_bad_are_told_apart(theme: str, sight: str) -> None:
    """In both themes, by those too who do not see red, green or blue."""
    seen = [_seen(PALETTES[theme][color], SIGHTS[sight]) for color in (GOOD, WORSE, BAD)]
    assert min(math.dist(one, other) for one, other in combinations(seen, 2)) > APART


def test_the_measure_tells_what_cannot_be_told_apart() -> None:
    """It refuses Grafana's own green and red."""
    green, red = (_seen(color, SIGHTS["deuteranopia"]) for color in ("73BF69", "F2495C"))
    assert math.dist(green, red) < APART


def _seen(color: str, sight: Matrix) -> tuple[float, float, float]:
    """A colour in CIELAB (D65), as it is seen."""
    linear = [_linear(int(color[at : at + 2], 16) / 255) for at in (0, 2, 4)]
    red, green, blue = (
        min(1.0, max(0.0, sum(factor * part for factor, part in zip(row, linear, strict=True)))) for row in sight
    )
    x = _lightness((0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505)
    y = _lightness(0.2126 * red + 0.7152 * green + 0.0722 * blue)
    z = _lightness((0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)


def _lightness(part: float) -> float:
    return part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116
