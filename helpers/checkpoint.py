"""Save and load trainings: safetensors with JSON inside, written all or nothing.

A checkpoint is one safetensors file. Its header carries the counters as JSON, so weights
and counters can never be of two different moments. A published checkpoint also has a card,
a JSON file beside it that says how it was made and holds its SHA-256. Nothing is pickled.
"""

import contextlib
import glob
import hashlib
import json
import os
import stat
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def write_atomically(path, data):
    """Write bytes to a temporary file beside ``path``, flush to disk, then rename.

    If ``path`` is a symbolic link, its target is replaced. A file that exists keeps its mode.

    Raises:
        OSError: if the disk is full, or the folder cannot be written; the old file is kept.
    """
    _write_all([(path, data)])


def _write_all(files):
    """Write (path, bytes) pairs: all of them to temporary files first, then rename each."""
    ready = []  # (temporary file, path)
    try:
        for path, data in files:
            path = Path(os.path.realpath(path))
            if path.is_dir():
                raise IsADirectoryError(f"expected the path of a file, got the folder {path}")
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(path)
            with tempfile.NamedTemporaryFile(
                dir=path.parent, prefix=f".{path.name}.{os.getpid()}.", suffix=".tmp", delete=False
            ) as file:
                ready.append((file.name, path))
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
            os.chmod(file.name, mode)
        for temporary, path in ready:
            os.replace(temporary, path)
        for folder in {path.parent for _, path in ready}:
            _flush_folder(folder)
    except OSError as error:
        kept = "the file that was there is untouched" if path.exists() else "nothing was written"
        raise OSError(
            f"could not save {path} ({error.strerror or error}); {kept}: "
            "free some space or choose a folder that can be written"
        ) from error
    finally:  # after an interruption by hand too
        for temporary, _ in ready:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def _remove_leftovers(path):
    """Remove the temporary files of processes that were killed while they saved ``path``."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        process = leftover.name.removeprefix(f".{path.name}.").split(".")[0]
        if process.isdigit() and not _is_running(int(process)):
            leftover.unlink(missing_ok=True)


def _is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _flush_folder(folder):
    """Write the new names to disk too, where the system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _flatten(tree, key, tensors):
    """Split nested dicts and lists into tensors by dotted name and a JSON skeleton."""
    if isinstance(tree, torch.Tensor):
        while key in tensors:  # {"a.b": …, "a": {"b": …}} would share a name
            key += "_"
        tensors[key] = tree.detach().cpu().contiguous().clone()
        return {"tensor": key}
    if isinstance(tree, dict):
        if bad := [name for name in tree if not isinstance(name, (str, int, float, type(None)))]:
            raise TypeError(f"expected names (str, int, float) as keys of {key}, got {bad[0]!r}")
        items = [[name, _flatten(v, f"{key}.{name}", tensors)] for name, v in tree.items()]
        return {"dict": items}
    if isinstance(tree, (list, tuple)):
        return {"list": [_flatten(v, f"{key}.{i}", tensors) for i, v in enumerate(tree)]}
    _check_json(tree, key)
    return {"value": tree}


def _check_json(tree, key):
    """Refuse what JSON cannot hold, by its place: card.scores.2."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            _check_json(value, f"{key}.{name}")
    elif isinstance(tree, (list, tuple)):
        for i, value in enumerate(tree):
            _check_json(value, f"{key}.{i}")
    elif not isinstance(tree, (str, int, float, type(None))):
        raise TypeError(
            f"cannot store {key}: expected text, a Python number, True, False or None, got "
            f"{type(tree).__name__}; write float(…), int(…) or .tolist()"
        )


def _unflatten(node, tensors):
    if "tensor" in node:
        return tensors[node["tensor"]]
    if "dict" in node:
        return {key: _unflatten(child, tensors) for key, child in node["dict"]}
    if "list" in node:
        return [_unflatten(child, tensors) for child in node["list"]]
    return node["value"]


def _digest(skeleton, tensors):
    """SHA-256 of all that is stored."""
    digest = hashlib.sha256(skeleton.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def card_path(path):
    """Return where the card of a checkpoint is: NAME.json for NAME.safetensors."""
    path = Path(path)
    return path.with_name(path.name.removesuffix(".safetensors") + ".json")


def save_checkpoint(path, state, card=None):
    """Save ``state`` at ``path``; on any error, the old file and its card stay as they were.

    Args:
        path: where to, usually ending in ``.safetensors``.
        state: nested dicts and lists of tensors and JSON values, for example
            ``{"q_net": q_net.state_dict(), "optimizer": optimizer.state_dict(), "updates": 7}``.
        card: facts to publish beside it as JSON (notebook, seed, score, …). Without one, the
            card of the checkpoint that is replaced is removed.

    Raises:
        OSError: if the disk is full or the folder cannot be written.
        TypeError: if ``state`` holds something that is neither a tensor nor JSON, or ``card``
            something that is not JSON.
    """
    tensors = {}
    skeleton = json.dumps(_flatten(state, "state", tensors))
    data = save(tensors, metadata={"state": skeleton, "sha256": _digest(skeleton, tensors)})
    files = [(path, data)]
    if card is not None:
        _check_json(card, "card")
        card = {**card, "sha256": hashlib.sha256(data).hexdigest()}
        text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
        files.append((card_path(path), text.encode()))
    _write_all(files)
    if card is None:
        card_path(path).unlink(missing_ok=True)


def read_card(path):
    """Return the card (dict) beside a checkpoint, or None if it has none.

    Raises:
        ValueError: if the card is damaged, or no JSON object.
    """
    file = card_path(path)
    if not file.exists():
        return None
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}); fetch it again") from error
    if not isinstance(card, dict):
        raise ValueError(f"expected a JSON object in {file}, got a {type(card).__name__}")
    return card


def load_checkpoint(path, device="cpu"):
    """Load what ``save_checkpoint`` saved, after checking that it is whole.

    Args:
        path: the safetensors file.
        device: where the tensors go.

    Returns:
        The nested state, tensors on ``device`` (tuples come back as lists).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is cut off, damaged, of another kind, or not the one
            that its card describes; if torch cannot use the device.
    """
    path = Path(path)
    if not path.is_file():
        found = "a folder is" if path.is_dir() else "nothing is"
        raise FileNotFoundError(
            f"no checkpoint at {path} ({found} there): train first, or check the path"
        )
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"expected a device that torch can use, such as 'cpu', got {str(device)!r}: {error}"
        ) from error
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise ValueError(f"{path} is a Git LFS pointer, not the weights: run git lfs pull")
    card = read_card(path)
    if card is not None and "sha256" in card:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != card["sha256"]:
            raise ValueError(
                f"{path} is not the file its card describes: expected SHA-256 "
                f"{str(card['sha256'])[:12]}…, got {found[:12]}…; fetch or train it again"
            )
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if "state" not in metadata:
            raise ValueError(f"{path} is a safetensors file, but not one made by save_checkpoint")
        if metadata.get("sha256", found := _digest(metadata["state"], tensors)) != found:
            raise SafetensorError("its contents do not have the SHA-256 they were saved with")
    except SafetensorError as error:
        size = path.stat().st_size
        raise ValueError(
            f"{path} ({size:,} bytes) is damaged or cut off ({error}); fetch or train it again"
        ) from error
    tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    return _unflatten(json.loads(metadata["state"]), tensors)


def load_weights(module, weights, name="network"):
    """Load weights into a module; on a mismatch say which tensor differs.

    Raises:
        ValueError: naming the first tensor that is missing, extra or of another shape.
    """
    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in weights.items()}
    for key in [*expected, *found]:
        if expected.get(key) != found.get(key):
            raise ValueError(
                f"the checkpoint does not fit this {name}: {key} expected "
                f"{expected.get(key, 'nothing')}, got {found.get(key, 'nothing')}; "
                "build the network with the settings of the checkpoint"
            )
    module.load_state_dict(weights)
