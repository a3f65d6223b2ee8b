"""Just enough SVG: shapes as text, with classes that the page's style sheet colours."""

from html import escape

__all__ = ["HATCH", "Drawing", "Scale", "ticks"]

#: What the venue's own time is filled with; defined once a page.
HATCH = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect class="hatch-ground" width="6" height="6"/><rect class="hatch-line" width="2.4" height="6"/></pattern></defs>'
)


class Scale:
    """Values to pixels, straight."""

    def __init__(self, first: float, last: float, start: float, end: float) -> None:
        self.first, self.last, self.start, self.end = first, last, start, end

    def __call__(self, value: float) -> float:
        share = (value - self.first) / ((self.last - self.first) or 1.0)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


def ticks(last: float, most: int) -> list[float]:
    """Round values from 0 up to *last*, not more than *most* of them."""
    step = next(
        step for power in range(-3, 7) for step in (10.0**power, 2 * 10.0**power, 5 * 10.0**power) if last / step < most
    )
    return [number * step for number in range(int(last / step + 1e-9) + 1)]


class Drawing:
    """Shapes on a canvas of so many pixels."""

    def __init__(self, width: float, height: float, label: str) -> None:
        self.width, self.height, self.label = width, height, label
        self._parts: list[str] = []

    def rect(
        self, x: float, y: float, width: float, height: float, kind: str, title: str = "", radius: float = 0
    ) -> None:
        rounded = f' rx="{radius:g}"' if radius else ""
        self._add(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"{rounded}',
            "rect",
            title,
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        self._parts.append(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def circle(self, x: float, y: float, radius: float, kind: str, title: str = "") -> None:
        self._add(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"', "circle", title)

    def diamond(self, x: float, y: float, radius: float, kind: str, title: str = "") -> None:
        points = f"{x:.1f},{y - radius:.1f} {x + radius:.1f},{y:.1f} {x:.1f},{y + radius:.1f} {x - radius:.1f},{y:.1f}"
        self._add(f'<polygon class="{kind}" points="{points}"', "polygon", title)

    def path(self, points: list[tuple[float, float]], kind: str) -> None:
        steps = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polyline class="{kind}" points="{steps}"/>')

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        at = "" if anchor == "start" else f' text-anchor="{anchor}"'
        named = f' class="{kind}"' if kind else ""
        self._parts.append(f'<text{named} x="{x:.1f}" y="{y:.1f}"{at}>{escape(words)}</text>')

    def raw(self, svg: str) -> None:
        self._parts.append(svg)

    def inner(self) -> str:
        """The shapes without the canvas, to be put into another."""
        return "".join(self._parts)

    def as_svg(self, kind: str = "") -> str:
        """An element to be put into a page."""
        named = f' class="{kind}"' if kind else ""
        return (
            f'<svg{named} viewBox="0 0 {self.width:g} {self.height:g}" role="img" aria-label="{escape(self.label)}">'
            f"{self.inner()}</svg>"
        )

    def _add(self, start: str, element: str, title: str) -> None:
        self._parts.append(f"{start}><title>{escape(title)}</title></{element}>" if title else f"{start}/>")
