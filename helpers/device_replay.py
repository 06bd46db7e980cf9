"""A replay memory whose frames live where the training happens, and CUDA graphs for updates.

``DeviceFrameReplayMemory`` keeps and draws exactly what ``FrameReplayMemory`` does. Which rows
to draw is decided by a few numbers on the CPU; pixels, returns and discounts are put together
by torch on the device, in operations of fixed shapes that a CUDA graph can hold.
"""

import numpy as np
import torch

from helpers.replay import FrameBatch, FrameReplayMemory


class DeviceFrameReplayMemory(FrameReplayMemory):
    """A ``FrameReplayMemory`` whose frames, actions, rewards and ends are tensors on a device.

    Args:
        capacity: transitions in all, shared evenly by the environments.
        num_envs: how many environments push side by side.
        rng: numpy ``Generator`` that draws the batches.
        device: ``torch.device`` of the tensors.
        **how: ``frame_shape``, ``stack``, ``n_step``, ``gamma``, as for ``FrameReplayMemory``.

    Raises:
        ValueError: as ``FrameReplayMemory``, or if the device has no room for the frames.
    """

    def __init__(self, capacity, num_envs, rng, *, device, **how):
        super().__init__(capacity, num_envs, rng, **how)
        self.device, shape = torch.device(device), self._frame.shape  # (N, slots, H, W)
        rows = shape[0] * shape[1]
        try:  # one flat list of frames; the last one stays black
            self._frame = torch.zeros((rows + 1, *shape[2:]), dtype=torch.uint8, device=device)
        except RuntimeError as error:
            size = rows * np.prod(shape[2:], dtype=float) / 1e9
            raise ValueError(
                f"expected room for {size:.1f} GB of frames on {device}: {error}; "
                "choose a smaller capacity"
            ) from error
        self._columns = torch.zeros((4, rows), device=device)  # action, reward, end, depth
        self._powers = torch.tensor(  # γ^0 … γ^n
            self.gamma ** np.arange(self.n_step + 1), dtype=torch.float32, device=device
        )
        self._steps = torch.arange(self.n_step, device=device)
        self._back = torch.arange(self.stack - 1, -1, -1, device=device)

    @property
    def nbytes(self):
        """Bytes of all arrays and tensors together."""
        held = vars(self).values()
        return super().nbytes + sum(t.nbytes for t in held if isinstance(t, torch.Tensor))

    def push(self, obs, action, reward, terminated, truncated):
        """Store one step of every environment: see ``FrameReplayMemory.push``."""
        env = np.flatnonzero(~self._was_terminated)
        slot = self._head[env]
        super().push(obs, action, reward, terminated, truncated)
        end = self._terminated[env, slot] + 2 * self._truncated[env, slot]
        small = self._action[env, slot], self._reward[env, slot], end, self._depth[env, slot]
        columns = torch.from_numpy(np.stack(small).astype(np.float32))
        self._columns[:, self._rows(env, slot)] = columns.to(self.device)

    def draw(self, batch_size):
        """Draw which transitions: (env, slot), two int64 tensors (B,) on the device.

        Raises:
            ValueError: if fewer transitions than that are stored, or none is complete.
        """
        env, offset = self._draw(batch_size)
        rows = torch.from_numpy(np.stack([env, self._slot(env, offset)]))
        return tuple(rows.to(self.device))

    def rebuild(self, env, slot):
        """Put the transitions that begin at (env, slot) together.

        Shapes depend on nothing but the arguments' shapes, and nothing goes to the CPU.

        Args:
            env: (B,) int64 tensor on the device.
            slot: (B,) int64 tensor on the device, both as ``draw`` returned them.

        Returns:
            FrameBatch of tensors on the device.
        """
        first = env * self._slots  # where the ring of this environment begins
        rows = first[:, None] + (slot[:, None] + self._steps) % self._slots  # (B, n)
        action, reward, end, _ = self._columns[:, rows]
        goes_on = (end == 0).cumprod(1)  # (B, n): no end up to and including this step
        counts = torch.cat([torch.ones_like(goes_on[:, :1]), goes_on[:, :-1]], 1)
        terminated = ((end == 1) & (counts == 1)).any(1)
        after = counts.sum(1)  # rewards that count: 1 … n
        return FrameBatch(
            obs=self._device_stacks(first, slot),
            action=action[:, 0].long(),
            reward=(self._powers[:-1] * counts * reward).sum(1),
            next_obs=self._device_stacks(first, slot + torch.where(terminated, 0, after)),
            discount=self._powers[after] * ~terminated,
        )

    def sample(self, batch_size):
        """Draw a mini-batch: ``FrameReplayMemory.sample`` as tensors on the device."""
        return self.rebuild(*self.draw(batch_size))

    def _device_stacks(self, first, slot):
        """Observations (B, stack, H, W); frames from before the episode's start are black."""
        depth = self._columns[3][first + slot % self._slots]
        rows = first[:, None] + (slot[:, None] - self._back) % self._slots  # (B, stack)
        rows = torch.where(self._back <= depth[:, None], rows, len(self._frame) - 1)
        frames = self._frame.flatten(1).index_select(0, rows.flatten())  # rows of bytes: fast
        return frames.view(*rows.shape, *self._frame.shape[1:])

    def _rows(self, env, slot):
        return torch.from_numpy(env * self._slots + slot).to(self.device)

    def _store(self, env, slot, frames):
        self._frame[self._rows(env, slot)] = torch.from_numpy(frames).to(self.device)


def capture(function, *inputs, warm_up=3):
    """Record a function of tensors as a CUDA graph; on a CPU return it as it is.

    A graph replays the recorded kernels with one start instead of one start each. It works on
    fixed addresses: arguments are copied into the tensors it was recorded with, and what it
    returns is overwritten by the next call. The function runs ``warm_up`` times for real.

    Args:
        function: takes tensors, returns tensors; fixed shapes, no transfer to the CPU.
        *inputs: tensors to record with; their device decides.
        warm_up: calls before the recording, so that libraries have set themselves up.

    Returns:
        A function of tensors of the same shapes.

    Source: PyTorch documentation, "CUDA semantics", section CUDA graphs.
    """
    if all(tensor.device.type != "cuda" for tensor in inputs):
        return function
    static = [tensor.clone() for tensor in inputs]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(warm_up):
            function(*static)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = function(*static)

    def replay(*arguments):
        for i, (held, given) in enumerate(zip(static, arguments, strict=True)):
            if held.shape != given.shape:
                raise ValueError(
                    f"expected argument {i} of shape {tuple(held.shape)}, as it was recorded, "
                    f"got {tuple(given.shape)}"
                )
        for held, given in zip(static, arguments, strict=True):
            held.copy_(given)
        graph.replay()
        return outputs

    return replay
