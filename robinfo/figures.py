"""How the figures of the notebooks look: one style, colours that colour-blind readers can tell apart, small files."""
from __future__ import annotations

import io
from typing import Any

BLACK, GREY = "#000000", "#999999"
BLUE, RED, GREEN, PINK, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLOURS = (BLUE, RED, GREEN, PINK, ORANGE, SKY)
_STYLE: Any = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "axes.titlesize": 10,
          "axes.titleweight": "bold", "axes.titlelocation": "left", "lines.linewidth": 2, "legend.frameon": False, "figure.dpi": 96}


def compact_png(figure: Any, colours: int = 64) -> bytes:
    """A figure as a PNG with a palette: about a quarter of the bytes, so that notebooks stay small.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    colours : int
        Size of the palette, 2 to 256.

    Returns
    -------
    bytes
        The file.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> compact_png(Figure(figsize=(1, 1)))[1:4]
    b'PNG'
    """
    from PIL import Image

    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=figure.dpi, bbox_inches="tight")
    image = Image.open(full).convert("RGB")
    image.quantize(colours, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    return small.getvalue()


def finished(figure: Any) -> Any:
    """A figure laid out and closed: a notebook shows it once, where it is returned.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.

    Returns
    -------
    matplotlib.figure.Figure
        The same.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> figure = Figure(figsize=(1, 1))
    >>> finished(figure) is figure
    True
    """
    import matplotlib.pyplot as plt

    figure.tight_layout()
    plt.close(figure)
    return figure


def use_house_style() -> None:
    """Set the style for this session, and in a notebook show every figure as a compact PNG.

    Examples
    --------
    >>> use_house_style()
    """
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure

    try:
        shell = get_ipython()  # type: ignore[name-defined]
    except NameError:
        shell = None
    if shell is not None:
        plt.close(plt.figure())  # starts the inline backend, which would otherwise undo the formatter below
        shell.display_formatter.formatters["image/png"].for_type(Figure, compact_png)
    plt.rcParams.update(_STYLE)
