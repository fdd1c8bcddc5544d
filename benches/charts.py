"""The charts of docs/performance.md, as SVG."""

import math
import os

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 660, 320, 56, 170, 36, 48
COLOURS = ["#1b6ca8", "#c8553d", "#588157", "#8d6a9f", "#b08900", "#4a4e69"]
STAGES = "performance-stages.svg"


def sweep_file(sweep):
    return f"performance-{sweep.name}.svg"


class Chart:
    """Axes, and what is drawn on them: values up to `most` over places named `words`."""

    def __init__(self, title, axis, words, most):
        self.top, self.words = _ceiling(most), words
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', f'<text x="{LEFT}" y="20" font-size="14">{title}</text>']
        for quarter in range(5):
            value = self.top * quarter / 4
            y = self.height(value)
            self.parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
                              f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
        for place, word in enumerate(words):
            self.parts.append(f'<text x="{self.x(place):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{word}</text>')
        self.parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{axis}</text>')

    def x(self, place):
        return LEFT + (WIDTH - LEFT - RIGHT) * (place + 0.5) / len(self.words)

    def height(self, value):
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / self.top

    def line(self, points, joined, colour, dashed):
        """Dots at (place, value), the first `joined` of them with a line between."""
        path = "".join(f"{'L' if i else 'M'}{self.x(place):.1f} {self.height(value):.1f}"
                       for i, (place, value) in enumerate(points[:joined]))
        self.parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"{_dash(dashed)}/>')
        self.parts += [f'<circle cx="{self.x(place):.1f}" cy="{self.height(value):.1f}" r="3" fill="{colour}"/>'
                       for place, value in points]

    def block(self, place, low, high, colour):
        """A part of a bar."""
        wide = 0.6 * (self.x(1) - self.x(0))
        self.parts.append(f'<rect x="{self.x(place) - wide / 2:.1f}" y="{self.height(high):.1f}" width="{wide:.1f}" '
                          f'height="{self.height(low) - self.height(high):.1f}" fill="{colour}"/>')

    def legend(self, row, colour, label, dashed=False):
        y = TOP + 20 + 18 * row
        self.parts.append(f'<path d="M{WIDTH - RIGHT + 8} {y}h20" stroke="{colour}" stroke-width="2"{_dash(dashed)}/>'
                          f'<text x="{WIDTH - RIGHT + 33}" y="{y + 4}">{label}</text>')

    def save(self, path):
        with open(path, "w") as file:
            file.write("\n".join(self.parts) + "\n</svg>\n")


def draw_sweep(folder, sweep, rows):
    """Mpps of each line of a sweep over x; testpmd's on the same source dashed."""
    by_id = {row["id"]: row for row in rows}
    xs = sorted({x for line in sweep.lines.values() for x, work in line if work.name in by_id}, key=_order)
    most = max(max(row["median"], row["peer_median"]) for row in rows)
    chart = Chart(f"Mpps on one core, {sweep.title}", sweep.axis, [_word(x) for x in xs], most)
    for number, (name, line) in enumerate(sweep.lines.items()):
        known = [(x, by_id[work.name]) for x, work in line if work.name in by_id]
        joined = sum(not isinstance(x, str) for x, _ in known)  # words, such as IMIX, come last
        for dashed, key, label in ((False, "median", name), (True, "peer_median", f"testpmd io, {name}")):
            chart.line([(xs.index(x), row[key]) for x, row in known], joined, COLOURS[number], dashed)
            chart.legend(2 * number + dashed, COLOURS[number], label, dashed)
    chart.save(os.path.join(folder, sweep_file(sweep)))


def draw_stages(folder, ticks):
    """A bar for each kind of work, cut into stages."""
    names = list(next(iter(ticks.values())))
    most = max(sum(stages.values()) for stages in ticks.values())
    chart = Chart("Ticks of the path per packet, by stage (frees included)", "work", list(ticks), most)
    for place, stages in enumerate(ticks.values()):
        low = 0.0
        for colour, name in zip(COLOURS, names):
            chart.block(place, low, low + stages[name], colour)
            low += stages[name]
    for row, (colour, name) in enumerate(zip(COLOURS, names)):
        chart.legend(row, colour, name)
    chart.save(os.path.join(folder, STAGES))


def _dash(dashed):
    return ' stroke-dasharray="4 3"' if dashed else ""


def _order(x):
    return (1, 0) if isinstance(x, str) else (0, x)


def _word(x):
    if isinstance(x, str) or x < 10_000:
        return str(x)
    return f"{x // 1000}k" if x < 1_000_000 else f"{x // 1_000_000}M"


def _ceiling(value):
    """The next round number above."""
    step = 10 ** math.floor(math.log10(value))
    return next(step * n for n in (1, 2, 4, 6, 8, 10) if step * n >= value)
