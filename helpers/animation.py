"""Frames to moving pictures: stored in a notebook, saved to a file, or with controls.

What plays where: an animated PNG plays in JupyterLab (trusted or not), Colab, VS Code and
on static pages; an MP4 and the player with controls play in the live session.
"""

import io
import re
from pathlib import Path

import imageio.v3 as iio
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, Image, Video
from matplotlib.animation import FuncAnimation
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from helpers.checkpoint import write_atomically

MAX_BYTES = 600_000  # of one embedded animation; a notebook should stay below 1.5 MB


def check_frames(frames):
    """Return the frames as one (T, H, W, 3) uint8 array.

    Args:
        frames: T pictures, each (H, W) or (H, W, 3), all alike, uint8.

    Raises:
        ValueError: if there are none, or they differ in shape, are not uint8, or have less than
            two pixels along a side.
    """
    frames = list(frames)
    if not frames:
        raise ValueError(
            "expected at least one frame, got none: was the environment made with "
            'render_mode="rgb_array", and was an episode played?'
        )
    shapes = sorted({np.shape(frame) for frame in frames})
    if len(shapes) > 1:
        raise ValueError(f"expected frames of one shape, got {shapes}")
    stacked = np.stack(frames)
    if stacked.dtype != np.uint8 or stacked.ndim < 3 or stacked.shape[3:] not in ((), (3,)):
        raise ValueError(
            f"expected frames (H, W) or (H, W, 3) of dtype uint8, got {shapes[0]} {stacked.dtype}"
        )
    if min(stacked.shape[1:3]) < 2:
        raise ValueError(f"expected frames of at least 2 × 2 pixels, got {shapes[0]}")
    return np.repeat(stacked[..., None], 3, axis=-1) if stacked.ndim == 3 else stacked


def _encode_apng(frames, fps):
    some = np.concatenate(frames[:: len(frames) // 8 + 1])  # all frames share the colours of a few
    palette = PILImage.fromarray(some).quantize(128)
    none = PILImage.Dither.NONE
    pictures = [PILImage.fromarray(f).quantize(palette=palette, dither=none) for f in frames]
    data = io.BytesIO()
    pictures[0].save(
        data,
        format="PNG",
        save_all=len(pictures) > 1,
        append_images=pictures[1:],
        duration=round(1000 / fps),
        loop=0,
    )
    return data.getvalue()


def _encode_gif(frames, fps):
    return iio.imwrite("<bytes>", frames, extension=".gif", duration=1000 / fps, loop=0)


def _encode_mp4(frames, fps):
    height, width = (size - size % 2 for size in frames.shape[1:3])  # the codec wants even sizes
    try:
        return iio.imwrite(
            "<bytes>",
            frames[:, :height, :width],
            extension=".mp4",
            fps=fps,
            codec="libx264",
            macro_block_size=1,
            plugin="FFMPEG",
        )
    except (ImportError, RuntimeError, OSError) as error:
        raise RuntimeError(
            f"could not write an MP4 ({error}): pip install imageio-ffmpeg, "
            "or use animated_png, which needs no ffmpeg"
        ) from error


SIGNS = {
    "minus": "−",
    "fast-backward": "❘◀",
    "step-backward": "◂",
    "play fa-flip-horizontal": "◀",
    "pause": "❚❚",
    "play": "▶",
    "step-forward": "▸",
    "fast-forward": "▶❘",
    "plus": "+",
}


def _self_contained(html):
    """A player of matplotlib whose buttons need no icons from the network."""
    html = re.sub(r'<link rel="stylesheet"\s+href="http[^>]*>', "", html)
    html = html.replace("<img id=", '<img alt="animation, frame by frame" id=')
    return re.sub(r'<i class="fa fa-([a-z -]+)"></i>', lambda icon: SIGNS[icon[1]], html)


def _encode_player(frames, fps):
    height, width = frames.shape[1:3]
    figure = plt.figure(figsize=(width / 100, height / 100), dpi=100)
    picture = figure.add_axes((0, 0, 1, 1)).imshow(frames[0])
    picture.axes.set_axis_off()

    def draw(i):
        picture.set_data(frames[i])

    animation = FuncAnimation(figure, draw, frames=len(frames), interval=1000 / fps)
    with plt.rc_context({"animation.embed_limit": 1000}):  # the limit is kept by _fit, out loud
        html = animation.to_jshtml(default_mode="loop")
    plt.close(figure)
    return _self_contained(html).encode()


def _fit(frames, fps, encode, max_bytes):
    """Encode; while too large, halve a large picture or keep fewer frames, and say so."""
    frames = check_frames(frames)
    first = frames.shape
    data = encode(frames, fps)
    while len(data) > max_bytes and (len(frames) > 2 or min(frames.shape[1:3]) > 64):
        if min(frames.shape[1:3]) >= 300 or len(frames) <= 2:
            frames = frames[:, ::2, ::2]
        else:
            skip = -(-len(data) // max_bytes)  # as many times too large, rounded up
            frames, fps = frames[::skip], fps / skip
        data = encode(frames, fps)
    if frames.shape != first:
        print(
            f"animation: {len(frames)} of {first[0]} frames at {frames.shape[2]}×"
            f"{frames.shape[1]} pixels (of {first[2]}×{first[1]}) kept, "
            f"to stay below {max_bytes / 1000:,.0f} kB"
        )
    return data, frames.shape


def animated_png(frames, fps=30, max_bytes=MAX_BYTES, alt="the agent plays"):
    """Return an animated PNG to show as a cell's output; it plays everywhere.

    Args:
        frames: T pictures (H, W) or (H, W, 3), uint8.
        fps: frames per second.
        max_bytes: size above which frames are skipped and pictures scaled, with a note.
        alt: what a reader who cannot see it should know; "animation: " is put before it.

    Returns:
        ``IPython.display.Image``.
    """
    data, _ = _fit(frames, fps, _encode_apng, max_bytes)
    return Image(data=data, format="png", metadata={"alt": f"animation: {alt}"})  # also IPython 7


def player(frames, fps=30, max_bytes=MAX_BYTES):
    """Return a player with controls (pause, single steps, speed); it needs no network.

    Takes the arguments of ``animated_png``; returns ``IPython.display.HTML``.
    """
    data, _ = _fit(frames, fps, _encode_player, max_bytes)
    return HTML(data.decode())


def video(frames, fps=30, max_bytes=MAX_BYTES):
    """Return an MP4 inside the page (base64) with the browser's controls.

    Takes the arguments of ``animated_png``; returns ``IPython.display.Video``.
    """
    data, shape = _fit(frames, fps, _encode_mp4, max_bytes)
    return Video(data=data, embed=True, mimetype="video/mp4", width=shape[2])


def save_animation(frames, path, fps=30):
    """Write the frames to a .gif, .mp4 or .png (animated) file and return its path.

    Raises:
        ValueError: on another ending.
    """
    encoders = {".gif": _encode_gif, ".mp4": _encode_mp4, ".png": _encode_apng}
    path = Path(path)
    if path.suffix not in encoders:
        raise ValueError(f"expected a path ending in {sorted(encoders)}, got {path.name!r}")
    data = encoders[path.suffix](check_frames(frames), fps)
    write_atomically(path, data)
    return path


def overlay_q_values(frame, q_values, action, names, limits, scale=2):
    """Draw the agent's Q-values as bars beside a frame, the chosen action in orange.

    Args:
        frame: (H, W, 3) uint8.
        q_values: (A,) Q-value of each action.
        action: index of the chosen one.
        names: A short names.
        limits: (low, high), the Q-values of an empty and of a full bar. Use the same for all
            frames of a game, or the bars cannot be compared from frame to frame.
        scale: whole number; the frame is enlarged that many times.

    Returns:
        (H·scale, W·scale + 150, 3) uint8.

    Raises:
        ValueError: if there is not one Q-value per name, or the limits are not in order.
    """
    q_values, (low, high) = np.asarray(q_values, float), limits
    if q_values.shape != (len(names),):
        raise ValueError(f"expected {len(names)} Q-values, one per name, got {q_values.shape}")
    if not low < high:
        raise ValueError(f"expected limits (low, high) with low < high, got {limits}")
    frame = np.repeat(np.repeat(check_frames([frame])[0], scale, axis=0), scale, axis=1)
    panel = PILImage.new("RGB", (150, len(frame)), "white")
    draw = ImageDraw.Draw(panel)
    font = ImageFont.load_default(13)
    for i, (name, q) in enumerate(zip(names, q_values, strict=True)):
        top = 8 + i * (len(frame) - 16) / len(names)
        draw.text((8, top), f"{name} {q:+.2f}", fill="black", font=font)
        length = 2 + 128 * np.clip((q - low) / (high - low), 0, 1)
        colour = "#e8743b" if i == action else "#5b7fa3"
        draw.rectangle((8, top + 17, 8 + length, top + 25), fill=colour)
    return np.concatenate([frame, np.asarray(panel)], axis=1)
