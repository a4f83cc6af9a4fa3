"""Medians, ratios, a table, a file of JSON and a plot."""

import statistics


def median(values):
    return statistics.median(values) if values else None


def spread(values):
    """Greatest less least, as a share of the median."""
    middle = median(values)
    return (max(values) - min(values)) / middle if values and middle else 0.0


def table(header, rows):
    widths = [max(len(str(row[column])) for row in [header] + rows) for column in range(len(header))]
    lines = []
    for row in [header] + rows:
        cells = [str(row[0]).ljust(widths[0])] + [str(cell).rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def number(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def rates(results, jobs, targets):
    rows = []
    for target in targets:
        row = [target]
        for job in jobs:
            values = [run["rate"] for run in results if run["target"] == target and run["job"] == job]
            row.append(f"{number(median(values))} ±{spread(values) / 2:.0%}" if values else "-")
        rows.append(row)
    return table(["operations/s"] + list(jobs), rows)


def ratio(results, job, target, base):
    """Of the runs of one round, and the median of these: what slows a round slows both."""
    def by_round(name):
        return {run["round"]: run["rate"] for run in results if run["target"] == name and run["job"] == job}
    ours, theirs = by_round(target), by_round(base)
    return median([ours[turn] / theirs[turn] for turn in ours if theirs.get(turn)])


def ratios(results, jobs, target, bases):
    rows = [[f"{target} / {base}"] + [number(ratio(results, job, target, base)) for job in jobs] for base in bases]
    return table(["ratio"] + list(jobs), rows)


def costs(results, jobs, targets, key, name):
    rows = []
    for target in targets:
        cells = [
            median([run[key] for run in results if run["target"] == target and run["job"] == job and run.get(key)])
            for job in jobs
        ]
        if any(cell is not None for cell in cells):
            rows.append([target] + [number(cell) for cell in cells])
    return table([name] + list(jobs), rows)


COLOURS = ["#888888", "#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#66a61e", "#e6ab02", "#a6761d"]


def plot(results, jobs, targets, base):
    """Bars for each job: each target's rate as a share of the base's."""
    width, left, top, height, gap = 150 * len(jobs) + 80, 60, 50, 320, 30
    room = (width - left - 20) / len(jobs)
    values = {(job, target): ratio(results, job, target, base) for job in jobs for target in targets}
    highest = max([value for value in values.values() if value is not None] + [1.0]) * 1.05
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top + height + 70}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{top + height + 70}" fill="white"/>',
        f'<text x="{left}" y="18" font-size="15">operations a second, as a share of `{base}`</text>',
    ]
    for index, target in enumerate(targets):
        x = left + index * (width - left) / len(targets)
        parts.append(f'<rect x="{x:.0f}" y="26" width="10" height="10" fill="{COLOURS[index % len(COLOURS)]}"/>')
        parts.append(f'<text x="{x + 14:.0f}" y="35">{target}</text>')
    step = 0.5 if highest > 1.5 else 0.25
    level = 0.0
    while level <= highest:
        y = top + height * (1 - level / highest)
        dash = "" if level == 1.0 else ' stroke-dasharray="2 3"'
        parts.append(f'<line x1="{left}" x2="{width - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="#999"{dash}/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{level:g}</text>')
        level += step
    for place, job in enumerate(jobs):
        bar = (room - gap) / len(targets)
        for index, target in enumerate(targets):
            value = values[job, target]
            if value is None:
                continue
            x = left + place * room + gap / 2 + index * bar
            tall = height * value / highest
            parts.append(
                f'<rect x="{x:.1f}" y="{top + height - tall:.1f}" width="{bar - 1:.1f}" height="{tall:.1f}" '
                f'fill="{COLOURS[index % len(COLOURS)]}"><title>{target}, {job}: {value:.2f}</title></rect>')
        parts.append(
            f'<text x="{left + (place + 0.5) * room:.1f}" y="{top + height + 18}" text-anchor="middle">{job}</text>')
    return "\n".join(parts + ["</svg>"]) + "\n"
