"""The parts of a DQN agent and the data that flows between them, as a figure."""

import matplotlib.pyplot as plt

PARTS = {  # name: (x, y, width, text)
    "environment": (0.0, 3.0, 2.2, "environment"),
    "policy": (0.0, 1.0, 2.2, "ε-greedy policy"),
    "memory": (4.2, 3.0, 2.2, "replay memory"),
    "q_net": (4.2, 1.0, 2.2, "Q-network"),
    "target_net": (8.2, 3.0, 2.2, "target network"),
    "loss": (8.2, 1.0, 2.2, "target and loss"),
}
ARROWS = (  # from, to, what travels, bend, place of the label
    ("policy", "environment", "action", -0.35, (0.25, 2.0, "right")),
    ("environment", "policy", "observation", -0.35, (1.95, 2.0, "left")),
    ("environment", "memory", "transition", 0.0, (3.2, 3.12, "center")),
    ("q_net", "policy", "Q-values", 0.0, (3.2, 1.12, "center")),
    ("memory", "q_net", "mini-batch", 0.0, (5.4, 2.0, "left")),
    ("q_net", "loss", "prediction", -0.12, (7.3, 1.38, "center")),
    ("loss", "q_net", "gradient", -0.12, (7.3, 0.6, "center")),
    ("memory", "target_net", "next\nobservations", 0.0, (7.3, 3.26, "center")),
    ("target_net", "loss", "values of next\nobservations", 0.0, (9.4, 2.0, "left")),
    ("q_net", "target_net", "copy", 0.0, (7.55, 1.95, "left")),
)
NO_TARGET_NET = {  # without a target network the Q-network values the next observations itself
    ("memory", "target_net"),
    ("target_net", "loss"),
    ("q_net", "target_net"),
}


def dqn_parts(new=(), target_net=True, labels=None):
    """Draw the parts of a DQN agent; what is new in a notebook is orange.

    Args:
        new: names of the new parts, keys of ``PARTS``.
        target_net: False: an agent without a target network.
        labels: other texts for some parts, {"memory": "prioritized memory"}, or for arrows,
            {("memory", "q_net"): "weighted mini-batch"}.

    Returns:
        The matplotlib figure.

    Raises:
        ValueError: if a part or an arrow does not exist.
    """
    labels = labels or {}
    known = {*PARTS, *(arrow[:2] for arrow in ARROWS)}
    if unknown := [name for name in (*new, *labels) if name not in known]:
        raise ValueError(f"expected parts or arrows of {sorted(map(str, known))}, got {unknown}")
    figure, axes = plt.subplots(figsize=(7.5, 2.9), layout="constrained")
    axes.set(xlim=(-1.2, 11.2), ylim=(0.4, 3.6))
    axes.set_title("The parts of the agent, and the data flowing between them", fontsize=11)
    axes.set_axis_off()
    boxes = {}
    for name, (x, y, width, text) in PARTS.items():
        if name == "target_net" and not target_net:
            continue
        edge, face = ("#e8743b", "#fdeee6") if name in new else ("#1f4e8c", "#eef3f9")
        boxes[name] = axes.annotate(
            labels.get(name, text),
            (x + width / 2, y),
            ha="center",
            va="center",
            fontsize=10,
            bbox=dict(boxstyle="round,pad=0.5", edgecolor=edge, facecolor=face, linewidth=1.5),
        )
    for begin, end, text, bend, (x, y, align) in ARROWS:
        if not target_net and (begin, end) in NO_TARGET_NET:
            continue
        colour = "#e8743b" if begin in new or end in new else "0.35"
        axes.annotate(
            "",
            xy=_centre(end),
            xytext=_centre(begin),
            arrowprops=dict(
                arrowstyle="->",
                color=colour,
                patchA=boxes[begin].get_bbox_patch(),
                patchB=boxes[end].get_bbox_patch(),
                connectionstyle=f"arc3,rad={bend}",
            ),
        )
        text = labels.get((begin, end), text)
        axes.text(x, y, text, ha=align, va="center", fontsize=9, color=colour)
    return figure


def _centre(name):
    """Middle of a part."""
    x, y, width, _ = PARTS[name]
    return x + width / 2, y
