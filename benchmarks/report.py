"""Summaries, ratios and the table of benchmarks/README.md."""

import json
from statistics import median

from helpers.runtime import ROOT

README = ROOT / "benchmarks" / "README.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
TITLES = {
    "cartpole": "CartPole-v1: time to a greedy mean of 475",
    "pong": "Pong: time to a greedy mean of 18",
    "throughput": "Throughput while learning",
    "memory": "Replay memory",
}


def number(value):
    """A figure with three digits that count: 0.123, 4.56, 78.9, 1,234."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def spread(pairs):
    """Minimum, median and maximum of (value, mark) pairs, as "min / median / max".

    Marks say what is known of a value: "" it is exact, ">=" it is at least that large (a run
    that did not get there), "<=" at most. A statistic is marked if such a value could move it.
    """
    values = [value for value, _ in pairs]
    texts = []
    for stat in (min, median, max):
        here = stat(values) if values else None
        up = any(mark == ">=" and value <= here for value, mark in pairs)
        down = any(mark == "<=" and value >= here for value, mark in pairs)
        mark = "? " if up and down else ">= " if up else "<= " if down else ""
        texts.append(mark + number(here) if values else "–")
    return " / ".join(texts)


def good(rows, contestant):
    """Rows of a contestant that did not fail, by round."""
    return {r["round"]: r for r in rows if r["contestant"] == contestant and "error" not in r}


def values(rows, contestant, key):
    """Pairs for ``spread``: an unsolved run used up its budget, so it would take longer."""
    found = good(rows, contestant).values()
    return [(row[key], "" if row.get("solved", True) else ">=") for row in found]


def ratios(rows, over, under, key):
    """Ratio over / under of a figure in each round that both finished: pairs for ``spread``.

    A round that neither solved says nothing and is left out.
    """
    first, second, pairs = good(rows, over), good(rows, under), []
    for turn in sorted(first.keys() & second.keys()):
        a, b = first[turn], second[turn]
        solved = a.get("solved", True), b.get("solved", True)
        if any(solved):
            mark = "" if all(solved) else ">=" if solved[1] else "<="
            pairs.append((a[key] / b[key], mark))
    return pairs


def names(rows):
    """Contestants in the order of their first run."""
    return list(dict.fromkeys(row["contestant"] for row in rows))


def failures(rows, contestant):
    """How many runs failed and how the last one did, or nothing."""
    errors = [r["error"] for r in rows if r["contestant"] == contestant and "error" in r]
    message = " ".join(errors[-1].replace("|", "/").split())[-150:] if errors else ""
    return f"; {len(errors)} failed: {message}" if errors else ""


def race(data):
    """Lines of the table of a race: time and agent steps to solved."""
    rows, unit = data["rows"], 60 if data["benchmark"] == "pong" else 1
    yield [
        "contestant", "solved", "minutes" if unit == 60 else "seconds", "agent steps",
        "test mean", "time, theirs / ours",
    ]  # fmt: skip
    for name in names(rows):
        runs = good(rows, name)
        solved = f"{sum(r['solved'] for r in runs.values())} of {len(runs)}{failures(rows, name)}"
        times = [(value / unit, mark) for value, mark in values(rows, name, "seconds")]
        steps = values(rows, name, "agent_steps")
        tests = [(row["test_mean"], "") for row in runs.values()]
        ratio = "1" if name == "ours" else spread(ratios(rows, name, "ours", "seconds"))
        yield [name, solved, spread(times), spread(steps), spread(tests), ratio]


def throughput(data):
    """Lines of the table of throughput."""
    rows = data["rows"]
    yield ["contestant", "runs", "agent steps/s", "updates/s", "updates/s, ours / theirs"]
    for name in names(rows):
        ours = name.split(":")[0] + ": ours"
        figures = [spread(values(rows, name, k)) for k in ("agent_steps_per_s", "updates_per_s")]
        ratio = "1" if name == ours else spread(ratios(rows, ours, name, "updates_per_s"))
        yield [name, f"{len(good(rows, name))}{failures(rows, name)}", *figures, ratio]


def memory(data):
    """Lines of the table of memory: bytes, then transitions drawn a second by size."""
    rows = data["rows"]
    runs = {name: list(good(rows, name).values()) for name in names(rows)}
    every = [r for found in runs.values() for r in found]
    sizes = sorted({s for r in every for s in {**r["samples_per_s"], **r["too_large"]}}, key=int)
    yield ["contestant", "runs", "bytes a transition", *(f"{int(s):,}" for s in sizes)]
    for name, found in runs.items():
        cells = []
        for size in sizes:
            speeds = [(r["samples_per_s"][size], "") for r in found if size in r["samples_per_s"]]
            reasons = [r["too_large"][size] for r in found if size in r["too_large"]]
            cells.append(spread(speeds) if speeds else reasons[0] if reasons else "–")
        size = f"{found[0]['bytes_per_transition']:,.1f}" if found else "–"
        yield [name, f"{len(found)}{failures(rows, name)}", size, *cells]


def section(data):
    """Markdown of one benchmark's result."""
    make = {"throughput": throughput, "memory": memory}.get(data["benchmark"], race)
    head, *body = make(data)
    lines = ["| " + " | ".join(map(str, line)) + " |" for line in body]
    hardware, versions = data["hardware"], data["versions"]
    where = f"{hardware['cpu']}, {hardware['cores']} cores, GPU: {hardware['gpu']}"
    with_what = {k: v for found in versions.values() for k, v in found.items()}
    software = ", ".join(f"{name} {version}" for name, version in with_what.items())
    notes = {"memory": " Columns with a size: transitions drawn a second."}
    return "\n".join([
        f"### {TITLES[data['benchmark']]}", "",
        "| " + " | ".join(head) + " |", "|" + " --- |" * len(head), *lines, "",
        "Each cell: minimum / median / maximum over the runs; ratios: over the rounds that both "
        f"took part in.{notes.get(data['benchmark'], '')} {data['date']}, {where}; {software}; "
        f"torch threads: {data['threads']}. `{data['command']}`",
    ])  # fmt: skip


def tables(folder):
    """Markdown of all results in a folder."""
    files = [folder / f"bench_{name}.json" for name in TITLES]
    found = [json.loads(f.read_text(encoding="utf-8")) for f in files if f.exists()]
    return "\n\n".join(section(data) for data in found if data["rows"]) or "Not measured yet."


def write_table(folder, readme=README):
    """Put the table of the results in ``folder`` between the two markers of a README.

    Raises:
        ValueError: if the markers are not there, once each.
    """
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"expected {readme} to hold {BEGIN!r} and {END!r} once each")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{tables(folder)}\n{END}{after}", encoding="utf-8")
