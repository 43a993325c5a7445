# SPDX-License-Identifier: Apache-2.0
"""Which windows an image is cut into; pure arithmetic."""

__all__ = ['Window', 'origins', 'windows']

Window = tuple[int, int, int, int]
"""x0, y0, x1, y1 in px; x1 and y1 are not part of it."""


def origins(length: int, size: int, stride: int) -> list[int]:
    """Where windows begin along one side: every `stride` px, the last one shifted to the end.

    Args:
        length: Side of the image in px.
        size: Side of a window in px.
        stride: Distance of two windows in px, at most `size`, so that no pixel is left out.

    Returns:
        `ceil((length - size) / stride) + 1` positions, or 0 alone where the image is not longer
        than a window.
    """
    last = max(length - size, 0)
    return [*range(0, last, stride), last]


def windows(width: int, height: int, size: int, stride: int) -> list[Window]:
    """Windows over a whole image, row by row; smaller than `size` only where the image is.

    With `stride == size` it is the grid of MMSegmentation's converters of Potsdam and Vaihingen
    (their stride of 256 only enters the number of rounds): 144 windows of 512 px in 6000 x 6000.
    """
    return [(x, y, min(x + size, width), min(y + size, height))
            for y in origins(height, size, stride) for x in origins(width, size, stride)]
