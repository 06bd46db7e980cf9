"""The memory on a device holds, draws and rebuilds what FrameReplayMemory does."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import device_replay
from helpers.device_replay import DeviceFrameReplayMemory, capture
from helpers.replay import FrameReplayMemory

CPU = torch.device("cpu")


def play(memories, rng, turns, num_envs, stack, shape, chance):
    """Push the same random games into all memories, stacks and autoreset steps included."""
    frames = rng.integers(1, 255, (num_envs, stack, *shape), dtype=np.uint8)
    frames[:, :-1] = 0
    ended = np.zeros(num_envs, bool)
    for _ in range(turns):
        terminated = (rng.random(num_envs) < chance) & ~ended
        truncated = (rng.random(num_envs) < chance) & ~ended
        step = frames.copy(), rng.integers(0, 6, num_envs), rng.normal(size=num_envs)
        for memory in memories:
            memory.push(*step, terminated, truncated)
        newest = rng.integers(1, 255, (num_envs, 1, *shape), dtype=np.uint8)
        frames = np.concatenate([frames[:, 1:], newest], 1)
        frames[ended, :-1] = 0  # the step after an end shows the first picture of a new game
        ended = terminated | truncated


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_step=st.integers(1, 5),
    stack=st.integers(1, 4),
    num_envs=st.integers(1, 3),
    slots=st.integers(9, 40),
    turns=st.integers(12, 120),
    chance=st.sampled_from([0.0, 0.05, 0.3]),
)
def test_same_rows_as_the_memory_in_numpy(seed, n_step, stack, num_envs, slots, turns, chance):
    how = dict(frame_shape=(3, 5), stack=stack, n_step=n_step, gamma=0.9)
    size = slots * num_envs, num_envs
    plain = FrameReplayMemory(*size, np.random.default_rng(1), **how)
    here = DeviceFrameReplayMemory(*size, np.random.default_rng(1), device=CPU, **how)
    play((plain, here), np.random.default_rng(seed), turns, num_envs, stack, (3, 5), chance)
    assert len(plain) == len(here)
    try:
        expected = plain.sample(8)
    except ValueError as error:
        with pytest.raises(ValueError) as caught:
            here.sample(8)
        assert str(caught.value) == str(error)
        return
    got = here.sample(8)
    alive = expected.discount > 0  # what follows a terminal is never looked at
    for name in ("obs", "action"):
        np.testing.assert_array_equal(getattr(got, name).numpy(), getattr(expected, name))
    np.testing.assert_array_equal(got.next_obs.numpy()[alive], expected.next_obs[alive])
    for name in ("reward", "discount"):
        np.testing.assert_allclose(
            getattr(got, name), getattr(expected, name), rtol=2e-6, atol=1e-6
        )
    for tensor, array in zip(got, expected, strict=True):
        assert str(tensor.dtype) == f"torch.{array.dtype}" and tensor.shape == array.shape


def filled(turns=60):
    memory = DeviceFrameReplayMemory(
        80, 2, np.random.default_rng(0), device=CPU, frame_shape=(3, 5), n_step=3
    )
    play((memory,), np.random.default_rng(0), turns, 2, 4, (3, 5), 0.05)
    return memory


def test_rebuild_is_one_graph():
    """No transfer, no shape that depends on values: what a CUDA graph asks for."""
    memory = filled()
    rows = memory.draw(8)
    compiled = torch.compile(memory.rebuild, fullgraph=True, backend="eager")(*rows)
    for tensor, expected in zip(compiled, memory.rebuild(*rows), strict=True):
        assert torch.equal(tensor, expected)


def test_meta_device_shows_that_no_value_is_needed():
    """On the meta device tensors have no values at all; only shapes are computed."""
    memory = filled()
    for name, value in vars(memory).items():
        if isinstance(value, torch.Tensor):
            setattr(memory, name, value.to("meta"))
    batch = memory.rebuild(*(torch.zeros(8, dtype=torch.int64, device="meta"),) * 2)
    assert batch.obs.shape == (8, 4, 3, 5) and batch.reward.shape == (8,)


def test_bytes_of_a_transition():
    memory = DeviceFrameReplayMemory(10_000, 1, np.random.default_rng(0), device=CPU)
    assert memory.nbytes / memory.capacity <= 1.02 * 84 * 84


def test_too_little_memory_is_said(monkeypatch):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(device_replay.torch, "zeros", full)
    with pytest.raises(ValueError, match=r"room for 7\.1 GB of frames on cpu: CUDA out of memory"):
        DeviceFrameReplayMemory(10**6, 1, np.random.default_rng(0), device=CPU)


def test_capture_returns_a_cpu_function_unchanged():
    def double(x):
        return 2 * x

    assert capture(double, torch.ones(2)) is double


class FakeCuda:
    """Stands in for torch.cuda: a "graph" runs the recorded function on its static inputs."""

    def __init__(self, events):
        self.events = events

    def __getattr__(self, name):
        def record(*args, **kwargs):
            self.events.append(name)
            return FakeCuda(self.events)

        return record

    def __enter__(self):
        self.events.append("enter")

    def __exit__(self, *error):
        self.events.append("exit")


def test_capture_warms_up_records_and_copies_its_arguments(monkeypatch):
    events, calls, output = [], [], torch.zeros(2)

    def function(x):
        calls.append(x)
        return output.copy_(2 * x)

    monkeypatch.setattr(device_replay.torch, "cuda", FakeCuda(events))
    example = type("OnGpu", (), {"device": torch.device("cuda"), "clone": lambda s: torch.ones(2)})
    graph = capture(function, example(), warm_up=3)
    assert len(calls) == 4  # three warm-ups and the recording
    assert events.index("Stream") < events.index("CUDAGraph") < events.index("graph")
    assert graph(torch.full((2,), 5.0)) is output
    assert calls[-1].tolist() == [5.0, 5.0] and events[-1] == "replay"
    with pytest.raises(ValueError, match=r"argument 0 of shape \(2,\), as it was recorded"):
        graph(torch.ones(3))
    assert calls[-1].tolist() == [5.0, 5.0]  # nothing was copied
