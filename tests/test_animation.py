"""Moving pictures: right frames, size kept, errors that help."""

import io
import re

import imageio.v3 as iio
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from helpers.animation import (
    SIGNS,
    animated_png,
    check_frames,
    overlay_q_values,
    player,
    save_animation,
    video,
)


def frames(count=6, height=40, width=60, noise=True):
    rng = np.random.default_rng(0)
    if noise:
        return list(rng.integers(0, 255, (count, height, width, 3), dtype=np.uint8))
    return [np.full((height, width, 3), (40 * i, 0, 255 - 40 * i), np.uint8) for i in range(count)]


def test_bad_frames_are_explained():
    with pytest.raises(ValueError, match="at least one frame, got none: was the environment"):
        check_frames([])
    with pytest.raises(ValueError, match=r"frames of one shape, got \[\(2, 2, 3\), \(3, 3, 3\)\]"):
        check_frames([np.zeros((2, 2, 3), np.uint8), np.zeros((3, 3, 3), np.uint8)])
    with pytest.raises(ValueError, match=r"dtype uint8, got .* float64"):
        check_frames([np.zeros((2, 2, 3))])
    for shape in ((2,), (2, 2, 1), (2, 2, 4), (2, 2, 3, 1)):  # a row, no colours, RGBA, too much
        with pytest.raises(ValueError, match=r"expected frames \(H, W\) or \(H, W, 3\)"):
            check_frames([np.zeros(shape, np.uint8)])
    for show in (animated_png, player, video):
        with pytest.raises(ValueError, match="at least one frame"):
            show([])


def test_grey_frames_become_colour():
    grey = np.array([[[0, 255]] * 2], np.uint8)
    np.testing.assert_array_equal(check_frames(grey), [[[[0, 0, 0], [255, 255, 255]]] * 2])


@pytest.mark.parametrize("shape", [(3, 1, 1, 3), (3, 0, 5, 3), (3, 5, 1, 3)])
def test_pictures_too_small_for_a_file_are_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="at least 2 × 2 pixels"):
        save_animation(np.zeros(shape, np.uint8), tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())


def test_animated_png_plays_all_frames_in_their_colours():
    shown = frames(noise=False)
    picture = Image.open(io.BytesIO(animated_png(shown, fps=10).data))
    assert picture.format == "PNG" and picture.n_frames == 6
    for i, frame in enumerate(shown):
        picture.seek(i)
        assert picture.info["duration"] == 100
        difference = np.asarray(picture.convert("RGB"), int) - frame
        assert abs(difference).max() < 24  # of 255: the palette has 128 colours


def test_size_cap_is_kept_and_said(capsys):
    image = animated_png(frames(40), max_bytes=20_000)
    assert len(image.data) <= 20_000
    assert "of 40 frames" in capsys.readouterr().out
    assert len(player(frames(40), max_bytes=60_000).data) <= 60_000
    image = animated_png(frames(3, 320, 400), max_bytes=300_000)
    assert "200×160 pixels (of 400×320)" in capsys.readouterr().out


def test_skipping_frames_keeps_the_pace():
    """Forty frames at 20 a second last two seconds, however many of them are kept."""
    picture = Image.open(io.BytesIO(animated_png(frames(40), fps=20, max_bytes=20_000).data))
    assert 1 < picture.n_frames < 40
    lasts = 0
    for i in range(picture.n_frames):
        picture.seek(i)
        lasts += picture.info["duration"]
    assert 2000 <= lasts <= 2000 + picture.info["duration"]


def test_one_frame_is_a_picture():
    picture = Image.open(io.BytesIO(animated_png(frames(1)).data))
    assert picture.size == (60, 40) and getattr(picture, "n_frames", 1) == 1


def test_alternative_text_goes_with_the_picture():
    data, metadata = animated_png(frames(2), alt="the cart falls")._repr_mimebundle_()
    assert set(data) == {"image/png"}
    assert metadata["image/png"]["alt"] == "animation: the cart falls"


def test_without_ffmpeg_it_says_what_to_do(monkeypatch):
    def missing(*_, **__):
        raise ImportError("no ffmpeg")

    monkeypatch.setattr(iio, "imwrite", missing)
    with pytest.raises(RuntimeError, match=r"could not write an MP4 \(no ffmpeg\): pip install"):
        video(frames(2))


def test_nothing_is_said_when_it_fits(capsys):
    animated_png(frames(noise=False))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("ending", [".gif", ".mp4", ".png"])
def test_files_can_be_read_again(tmp_path, ending):
    path = save_animation(frames(noise=False), tmp_path / "sub" / f"a{ending}", fps=10)
    read = iio.imread(path, index=None)
    assert len(read) == 6 and read.shape[1:3] == (40, 60)


def test_files_play_at_the_asked_speed(tmp_path):
    gif = Image.open(save_animation(frames(noise=False), tmp_path / "a.gif", fps=10))
    assert gif.info["duration"] == 100 and gif.info["loop"] == 0
    mp4 = save_animation(frames(noise=False), tmp_path / "a.mp4", fps=10)
    assert iio.immeta(mp4, plugin="FFMPEG")["fps"] == 10


def test_odd_sizes_become_even_in_a_video(tmp_path):
    path = save_animation(frames(4, 41, 61), tmp_path / "a.mp4")
    assert iio.imread(path).shape[1:3] == (40, 60)


def test_unknown_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"ending in \['.gif', '.mp4', '.png'\], got 'a.avi'"):
        save_animation(frames(), tmp_path / "a.avi")


def test_video_is_inside_the_page():
    html = video(frames(noise=False))._repr_html_()
    assert "controls" in html and "data:video/mp4;base64," in html


def test_no_figure_stays_open():
    player(frames())
    assert plt.get_fignums() == []


ORANGE_BLUE = ((0xE8, 0x74, 0x3B), (0x5B, 0x7F, 0xA3))


def test_overlay_marks_the_chosen_action():
    frame = np.zeros((100, 80, 3), np.uint8)
    shown = overlay_q_values(frame, [0.0, 1.0, 0.5], 1, ["a", "b", "c"], (0, 2), scale=2)
    assert shown.shape == (200, 160 + 150, 3) and shown.dtype == np.uint8
    orange = (shown == (0xE8, 0x74, 0x3B)).all(-1)
    rows = np.flatnonzero(orange.any(1))
    assert len(rows) and rows.min() > 200 / 3 and rows.max() < 400 / 3  # the middle third
    with pytest.raises(ValueError, match="expected 3 Q-values"):
        overlay_q_values(frame, [0.0], 0, ["a", "b", "c"], (0, 1))
    with pytest.raises(ValueError, match=r"low < high, got \(1, 1\)"):
        overlay_q_values(frame, [0.0], 0, ["a"], (1, 1))


def test_the_bars_of_an_overlay_keep_one_scale():
    def lengths(q_values):
        shown = overlay_q_values(np.zeros((100, 80, 3), np.uint8), q_values, 0, "ab", (0, 2))
        return [int((shown == colour).all(-1).any(0).sum()) for colour in ORANGE_BLUE]

    assert lengths([2.0, 1.0]) == [131, 67]  # full and half
    assert lengths([0.5, 1.0])[1] == 67  # whatever the other bar shows
    assert lengths([9.0, -9.0]) == [131, 3]  # beyond the limits: full and empty


def test_the_player_asks_for_nothing_from_the_network():
    html = player(frames()).data
    assert "http" not in html and 'class="fa' not in html
    assert re.search(r'title="Pause"[^>]*>\s*❚❚</button>', html)
    assert all(sign in html for sign in SIGNS.values())
