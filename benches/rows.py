"""A row of the result: what it holds, how it is judged, how it is printed.

Every row has id, title, unit, median, min, max, peer_median, ratio, bar, bar_is, bar_id
and met (None: there is no bar). `bar_is` says what the bar is held against: "ratio
at least", "ratio at most", "at least", "at most" (the median), "peer plus".
"""

import statistics

# Ratios to the peer; the rows with 1M routes are compared with those of 100k (E5).
RATIO_BARS = {"W1": ("E1", 0.70), "W2": ("E2", 0.63), "W3": ("E2", 0.63), "W4": ("E3", 0.58), "W5": ("E3", 0.58),
              "W6e": ("E6", 0.63), "W6d": ("E6", 0.58), "W7": ("E4", 0.58), "W8": ("E4", 0.53), "O1": ("O1", 5.0),
              "Z0": ("F2", 0.95), "S1": ("S1", 0.95), "S2": ("S2", 1.3), "S2e": ("S2", 1.3)}
# Encapsulations beside plain GRE over IPv4 on the same datagrams: 15 % more time at most.
RATIO_BARS |= {f"K-{kind}-{way}": ("K", 0.87) for kind in ("key", "gre6", "6in4", "4in6", "min") for way in "ed"}
BAR_OF_HUGE = 0.9


def judge(row):
    """Sets `met` from the bar."""
    bar, kind = row["bar"], row["bar_is"]
    if bar is None:
        row["met"] = None
    elif kind == "peer plus":
        row["met"] = row["median"] <= row["peer_median"] + bar
    else:
        value = row["ratio"] if kind.startswith("ratio") else row["median"]
        row["met"] = value >= bar if kind.endswith("least") else value <= bar
    return row


def spread(values, prefix=""):
    """Median and range, as a row has them."""
    return {prefix + "median": statistics.median(values), prefix + "min": min(values), prefix + "max": max(values)}


def figure(name, title, unit, values, bar=None, bar_is=None, peer=None, **more):
    """A row that is a figure, not a rate beside testpmd's."""
    row = {"id": name, "title": title, "unit": unit} | spread(values)
    row |= spread(peer, "peer_") if peer else {"peer_median": None}
    return judge(row | {"ratio": row["median"] / row["peer_median"] if row["peer_median"] else None,
                        "bar_id": name.split("-")[0] if bar is not None else None, "bar": bar, "bar_is": bar_is} | more)


def rate(work, row):
    """What was measured of a piece of work, with its name and its bar."""
    bar_id, bar = RATIO_BARS.get(work.name, (None, None))
    return judge({"id": work.name, "title": work.title, "peer": work.peer, "frames": work.frames,
                  "frame_bytes": work.sizes[0]} | row | {"bar_id": bar_id, "bar": bar, "bar_is": "ratio at least"})


def judge_huge(rows):
    """The bar of the rows with 1M routes follows from those with 100k."""
    by_id = {row["id"]: row for row in rows}
    for row in rows:
        base = by_id.get(row["id"].removesuffix("-1M"))
        if row["id"].endswith("-1M") and base and base["ratio"] and row["ratio"]:
            row["bar_id"], row["bar"] = "E5", round(BAR_OF_HUGE * base["ratio"], 3)
            judge(row)


def failed(name, error):
    """What could not be measured, and why."""
    nothing = dict.fromkeys(("unit", "median", "min", "max", "peer_median", "ratio", "bar", "bar_is", "bar_id"))
    return {"id": name, "title": "could not be measured", "error": f"{type(error).__name__}: {error}"} | nothing | {"met": False}


def heading():
    return (f"{'id':24} {'work':42} {'ratio':>6} {'[min, max]':>13} {'bar':>5}  {'Mpps':>5} {'ns':>5} "
            f"{'peer':>5} {'ns':>5} {'quiet':>6}")


def mark(row):
    return {None: " ", True: "+", False: "-"}[row["met"]]


def line(row):
    """As printed: `+` behind a bar that is met, `-` behind one that is not."""
    if "error" in row:
        return f"{row['id']:24} FAILED: {row['error']}"
    if "windows" not in row:
        return _figure_line(row)

    def ns(key):
        return f"{row[key]:5.1f}" if key in row else f"{'':5}"

    bar = "" if row["bar"] is None else f"{row['bar']:.2f}"
    return (f"{row['id']:24} {row['title']:42} {row['ratio']:6.3f} [{row['ratio_min']:.2f}, {row['ratio_max']:.2f}] "
            f"{bar:>5}{mark(row)} {row['median']:5.1f} {ns('ns')} {row['peer_median']:5.1f} {ns('peer_ns')} "
            f"{row['quiet_windows']:3}/{row['windows']}")


def number(value):
    """Three digits, or all of a large number."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def bar_text(row):
    """The bar in a few characters."""
    sign = {"ratio at least": "ratio ≥ ", "ratio at most": "ratio ≤ ", "at least": "≥ ", "at most": "≤ ",
            "peer plus": "≤ peer + "}
    return "" if row["bar"] is None else sign[row["bar_is"]] + number(row["bar"])


def _figure_line(row):
    peer = "" if row["peer_median"] is None else f"  peer {number(row['peer_median'])}, ratio {row['ratio']:.2f}"
    span = f" [{number(row['min'])}, {number(row['max'])}]" if row["min"] != row["max"] else ""
    bar = f"  bar {bar_text(row)} {mark(row)}" if row["bar"] is not None else ""
    return f"{row['id']:24} {row['title']:56} {number(row['median'])} {row['unit']}{span}{peer}{bar}"
