"""Summaries, ratios and the table of benchmarks/README.md."""

import json
from statistics import median, quantiles

import matplotlib.pyplot as plt

from benchmarks.contestants import NAMES, benchmark_module
from helpers.runtime import ROOT

README = ROOT / "benchmarks" / "README.md"
GPU = "gpu"  # folder below results/ for runs on a GPU
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
TITLES = {
    "cartpole": "CartPole-v1: time to a greedy mean of 475",
    "pong": "Pong: time to a greedy mean of 18",
    "throughput": "Throughput while learning",
    "memory": "Replay memory",
}
COMPARED = {
    "cartpole": "seconds",
    "pong": "seconds",
    "throughput": "updates_per_s",
    "memory": "bytes_per_transition",
}
RACES = {"cartpole": (1, "seconds"), "pong": (60, "minutes")}  # unit of the table in seconds


def number(value):
    """A figure with three digits that count: 0.123, 4.56, 78.9, 1,234."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def quartiles(which):
    """Function from values to their first (1) or third (3) quartile, as exact as the median."""
    return lambda values: quantiles(values, n=4, method="inclusive")[which - 1]


def spread(pairs, stats=(min, median, max)):
    """Statistics of (value, mark) pairs, values above 0 if marked, as "min / median / max".

    Marks say what is known of a value: "" it is exact, ">=" it is at least that large (a run
    that did not get there), "<=" at most. A statistic is marked if such a value could move it.
    """
    if not pairs:
        return " / ".join("–" for _ in stats)
    texts = []
    for stat in stats:
        here = stat([value for value, _ in pairs])
        up = stat([value * 1e9 if mark == ">=" else value for value, mark in pairs]) > here
        down = stat([value / 1e9 if mark == "<=" else value for value, mark in pairs]) < here
        mark = "? " if up and down else ">= " if up else "<= " if down else ""
        texts.append(mark + number(here))
    return " / ".join(texts)


def finished_runs(rows, contestant):
    """Rows of a contestant that did not fail, by round."""
    return {r["round"]: r for r in rows if r["contestant"] == contestant and "error" not in r}


def values(rows, contestant, key):
    """Pairs for ``spread``: an unsolved run used up its budget, so it would take longer."""
    found = finished_runs(rows, contestant).values()
    return [(row[key], "" if row.get("solved", True) else ">=") for row in found]


def ratios(rows, over, under, key):
    """Ratio over / under of a figure in each round that both finished: pairs for ``spread``.

    A round that neither solved says nothing and is left out.
    """
    first, second, pairs = finished_runs(rows, over), finished_runs(rows, under), []
    for turn in sorted(first.keys() & second.keys()):
        a, b = first[turn], second[turn]
        solved = a.get("solved", True), b.get("solved", True)
        if any(solved):
            mark = "" if all(solved) else ">=" if solved[1] else "<="
            pairs.append((a[key] / b[key], mark))
    return pairs


def first_of_ours(benchmark):
    """Name of the contestant that a benchmark's table begins with."""
    return benchmark_module(benchmark).CONTESTANTS[0].name


def ours_for(benchmark, name):
    """Name of ours that a contestant is compared with; its own if it is ours.

    Rows of other names were made with ``--set``: they belong to the first of ours.
    """
    known = {c.name: c.against or c.name for c in benchmark_module(benchmark).CONTESTANTS}
    return known.get(name, first_of_ours(benchmark))


def against_ours(data, name):
    """By how much ours does better, in each round: pairs for ``spread``."""
    key, pair = COMPARED[data["benchmark"]], (name, ours_for(data["benchmark"], name))
    return ratios(data["rows"], *(pair[::-1] if key.endswith("_per_s") else pair), key)


def in_turns(data, name):
    """Whether a contestant and ours took turns: rows stand in the order of their runs."""
    rows, pair = data["rows"], (name, ours_for(data["benchmark"], name))
    both = finished_runs(rows, pair[0]).keys() & finished_runs(rows, pair[1]).keys()
    turns = [r["round"] for r in rows if r["contestant"] in pair and r["round"] in both]
    return turns == sorted(turns)


def ratio(data, name):
    """Cell of the table: the ratio to ours."""
    if name == ours_for(data["benchmark"], name):
        return "1"
    return spread(against_ours(data, name)) + " *" * (not in_turns(data, name))


def all_ratios(data):
    """Ratios of all contestants, for the JSON file."""
    found = {}
    for name in in_order(data):
        pairs = against_ours(data, name)
        if pairs and name != ours_for(data["benchmark"], name):
            each = [value for value, _ in pairs]
            found[name] = {
                "of": COMPARED[data["benchmark"]],
                "min": min(each),
                "median": median(each),
                "max": max(each),
                "with bounds": spread(pairs),
                "rounds": len(each),
                "in turns": in_turns(data, name),
            }
    return found


def disturbed(rows):
    """Sentence about runs during which other programs kept more than a tenth of a core busy."""
    key = "cores_busy_with_other_work"
    found = sorted({row["contestant"] for row in rows if row.get(key, 0.0) > 0.1})
    unknown = sum(key not in row for row in rows)
    note = f"**Disturbed** by other work on the machine: {'; '.join(found)}. " if found else ""
    if unknown:
        note += f"Not known of {unknown} runs whether other work disturbed them. "
    return note


def study(rows, contestant, unit, word):
    """Sentence about all seeds of a contestant: median, quartiles and the worst seed."""
    runs = finished_runs(rows, contestant)
    if len(runs) < 3:
        return ""
    pairs = [(value / unit, mark) for value, mark in values(rows, contestant, "seconds")]
    low, middle, high = spread(pairs, (quartiles(1), median, quartiles(3))).split(" / ")
    worst = max(runs.values(), key=lambda row: (not row["solved"], row["seconds"]))
    how = "" if worst["solved"] else ", not solved"
    return (
        f"{contestant}, {len(runs)} seeds: median {middle} {word}, quartiles {low} and {high}; "
        f"worst seed {worst['round']} ({number(worst['seconds'] / unit)} {word}{how}), "
        f"{sum(row['solved'] for row in runs.values())} of {len(runs)} solved. "
    )


def in_order(data):
    """Names of the contestants: the first of ours, then the others in the order of their runs."""
    first = first_of_ours(data["benchmark"])
    names = dict.fromkeys(row["contestant"] for row in data["rows"])
    return sorted(names, key=lambda name: name != first)


def failures(rows, contestant):
    """How many runs failed and how the last one did, or nothing."""
    errors = [r["error"] for r in rows if r["contestant"] == contestant and "error" in r]
    message = " ".join(errors[-1].replace("|", "/").split())[-150:] if errors else ""
    return f"; {len(errors)} failed: {message}" if errors else ""


def race_table(data):
    """Lines of the table of a race: time and agent steps to solved."""
    rows, (unit, word) = data["rows"], RACES[data["benchmark"]]
    yield ["contestant", "solved", word, "agent steps", "test mean", "time, theirs / ours"]
    for name in in_order(data):
        runs = finished_runs(rows, name)
        solved = f"{sum(r['solved'] for r in runs.values())} of {len(runs)}{failures(rows, name)}"
        times = [(value / unit, mark) for value, mark in values(rows, name, "seconds")]
        steps = values(rows, name, "agent_steps")
        tests = [(row["test_mean"], "") for row in runs.values()]
        cells = spread(times), spread(steps), spread(tests), ratio(data, name)
        yield [name, solved, *cells]


def throughput_table(data):
    """Lines of the table of throughput."""
    rows = data["rows"]
    yield ["contestant", "runs", "agent steps/s", "updates/s", "updates/s, ours / theirs"]
    for name in in_order(data):
        figures = [spread(values(rows, name, k)) for k in ("agent_steps_per_s", "updates_per_s")]
        runs = f"{len(finished_runs(rows, name))}{failures(rows, name)}"
        yield [name, runs, *figures, ratio(data, name)]


def memory_table(data):
    """Lines of the table of memory: bytes, then transitions drawn a second by size."""
    rows = data["rows"]
    runs = {name: list(finished_runs(rows, name).values()) for name in in_order(data)}
    every = [r for found in runs.values() for r in found]
    sizes = sorted({s for r in every for s in {**r["samples_per_s"], **r["too_large"]}}, key=int)
    head = ["contestant", "runs", "bytes a transition", "bytes, theirs / ours"]
    yield [*head, *(f"{int(s):,}" for s in sizes), "largest / smallest"]
    for name, found in runs.items():
        cells = []
        for size in sizes:
            speeds = [(r["samples_per_s"][size], "") for r in found if size in r["samples_per_s"]]
            reasons = [r["too_large"][size] for r in found if size in r["too_large"]]
            cells.append(spread(speeds) if speeds else reasons[0] if reasons else "–")
        size = f"{found[0]['bytes_per_transition']:,.1f}" if found else "–"
        flat = []  # 1: drawing from a full memory is as fast as from a small one
        for speeds in (r["samples_per_s"] for r in found):
            flat.append((speeds[max(speeds, key=int)] / speeds[min(speeds, key=int)], ""))
        count = f"{len(found)}{failures(rows, name)}"
        yield [name, count, size, ratio(data, name), *cells, spread(flat)]


def section(data):
    """Markdown of one benchmark's result."""
    name = data["benchmark"]
    table = {"throughput": throughput_table, "memory": memory_table}.get(name, race_table)
    head, *body = table(data)
    lines = ["| " + " | ".join(map(str, line)) + " |" for line in body]
    hardware, versions = data["hardware"], data["versions"]
    where = f"{hardware['cpu']}, {hardware['cores']} cores, GPU: {hardware['gpu']}"
    libraries = {k: v for found in versions.values() for k, v in found.items()}
    software = ", ".join(f"{library} {version}" for library, version in libraries.items())
    notes = study(data["rows"], first_of_ours(name), *RACES[name]) if name in RACES else ""
    if name == "memory":
        notes = "Columns with a size: transitions drawn a second; the last: their ratio. "
    notes += disturbed(data["rows"])
    threads = data["threads"]  # one number, or one of each contestant
    if isinstance(threads, dict):
        threads = "; ".join(f"{contestant} {count}" for contestant, count in threads.items())
    if any(str(cell).endswith(" *") for line in body for cell in line):
        notes += "(*): ran before or after ours and not in turns. "
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head), *lines]
    notes += "Each cell: minimum / median / maximum over the runs; ratios: over the rounds that "
    notes += f"both took part in. {data['date']}, {where}; {software}; "
    notes += f"torch threads: {threads}. `{data['command']}`"
    title = TITLES[name] + (", on a GPU" if hardware["gpu"] != "none" else "")
    return "\n".join([f"### {title}", "", *lines, "", notes])


def tables(folder):
    """Markdown of all results in a folder."""
    files = [folder / f"bench_{name}.json" for name in NAMES]
    found = [json.loads(f.read_text(encoding="utf-8")) for f in files if f.exists()]
    return "\n\n".join(section(data) for data in found if data["rows"]) or "Not measured yet."


def recorded_tables(folder):
    """Markdown of all results in a folder, then of those in its GPU folder."""
    return f"{tables(folder)}\n\n{tables(folder / GPU)}"


CHART = ROOT / "pictures" / "time_to_solved.png"
SHOWN = {  # contestants of the chart and what they are
    "ours": "notebook 08",
    "notebook 03": "notebook 03",
    "stable-baselines3": "stable-baselines3 DQN\n(RL Zoo settings)",
}


def draw_chart(folder, path=CHART):
    """Draw the seconds until CartPole is solved, one dot per run, and save it as a picture."""
    rows = json.loads((folder / "bench_cartpole.json").read_text(encoding="utf-8"))["rows"]
    figure, axes = plt.subplots(figsize=(7, 2.4), layout="constrained")
    for place, contestant in enumerate(SHOWN):
        runs = finished_runs(rows, contestant).values()
        seconds = [row["seconds"] for row in runs]
        colour = "#e8743b" if contestant == first_of_ours("cartpole") else "#1f4e8c"
        axes.plot(seconds, [place] * len(seconds), "o", color=colour, alpha=0.6, markersize=6)
        middle = median(seconds)
        axes.plot(middle, place, "|", color="black", markersize=22)
        solved = sum(row["solved"] for row in runs)
        text = f"median {number(middle)} s\n{solved} of {len(runs)} solved"
        axes.annotate(text, (130, place), va="center", fontsize=8)
    axes.set(
        xscale="log",
        xlim=(0.1, 700),
        ylim=(len(SHOWN) - 0.5, -0.5),
        title="Training time until CartPole-v1 is solved, on two CPU cores",
        xlabel="seconds until the greedy mean reaches 475 (one dot per seed, line: median)",
    )
    axes.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    axes.set_yticks(range(len(SHOWN)), SHOWN.values())
    axes.title.set_fontsize(10)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def write_table(folder, readme=README):
    """Put the tables of a folder and of its GPU folder between the two markers of a README.

    Raises:
        ValueError: if the markers are not there, once each.
    """
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"expected {readme} to hold {BEGIN!r} and {END!r} once each")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    table = recorded_tables(folder)
    readme.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")
