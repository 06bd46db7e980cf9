"""Save and load trainings: safetensors with JSON inside, written all or nothing.

A checkpoint is one safetensors file. Its header carries the counters as JSON, so weights
and counters can never be of two different moments. A published checkpoint also has a card,
a JSON file beside it that says how it was made and holds its SHA-256. Nothing is pickled.
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save


def write_atomically(path, data):
    """Write bytes to a temporary file beside ``path``, flush to disk, then rename."""
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = file.name
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        kept = "the file that was there is untouched" if path.exists() else "nothing was written"
        raise OSError(
            f"could not save {path} ({error.strerror or error}); {kept}: "
            "free some space or choose a folder that can be written"
        ) from error
    finally:  # after an interruption by hand too
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def _flatten(tree, prefix, tensors):
    """Split nested dicts and lists into tensors by dotted name and a JSON skeleton."""
    if isinstance(tree, torch.Tensor):
        while prefix in tensors:  # {"a.b": …, "a": {"b": …}} would share a name
            prefix += "_"
        tensors[prefix] = tree.detach().cpu().contiguous().clone()
        return {"tensor": prefix}
    if isinstance(tree, dict):
        if bad := [key for key in tree if not isinstance(key, (str, int, float, type(None)))]:
            raise TypeError(f"expected keys that JSON knows (str, int, float), got {bad[0]!r}")
        items = [[key, _flatten(v, f"{prefix}.{key}", tensors)] for key, v in tree.items()]
        return {"dict": items}
    if isinstance(tree, (list, tuple)):
        return {"list": [_flatten(v, f"{prefix}.{i}", tensors) for i, v in enumerate(tree)]}
    return {"value": tree}


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


def save_checkpoint(path, state, card=None):
    """Save ``state`` at ``path``; on any error the old file stays as it was.

    Args:
        path: where to, usually ending in ``.safetensors``.
        state: nested dicts and lists of tensors and JSON values, for example
            ``{"q_net": q_net.state_dict(), "optimizer": optimizer.state_dict(), "updates": 7}``.
        card: facts to publish beside it as JSON (notebook, seed, score, …), or None.

    Raises:
        OSError: if the disk is full or the folder cannot be written.
        TypeError: if ``state`` holds something that is neither a tensor nor JSON.
    """
    path = Path(path)
    tensors = {}
    skeleton = json.dumps(_flatten(state, "state", tensors))
    data = save(tensors, metadata={"state": skeleton, "sha256": _digest(skeleton, tensors)})
    write_atomically(path, data)
    if card is not None:
        card = {**card, "sha256": hashlib.sha256(data).hexdigest()}
        text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
        write_atomically(path.with_suffix(".json"), text.encode())


def read_card(path):
    """Return the card (dict) beside a checkpoint, or None if it has none."""
    card = Path(path).with_suffix(".json")
    if not card.exists():
        return None
    try:
        return json.loads(card.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{card} is damaged ({error}); fetch it again") from error


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
            that its card describes.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint at {path}: train first, or check the path")
    card = read_card(path)
    if card is not None and "sha256" in card:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != card["sha256"]:
            raise ValueError(
                f"{path} is not the file its card describes: expected SHA-256 "
                f"{card['sha256'][:12]}…, got {found[:12]}…; fetch or train it again"
            )
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
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
