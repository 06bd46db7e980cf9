"""Checkpoints: whole or not at all."""

import errno
import hashlib
import json
import os
import resource
import stat
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from helpers.checkpoint import (
    load_checkpoint,
    load_weights,
    read_card,
    save_checkpoint,
    write_atomically,
)


def trained():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        net(torch.ones(5, 4)).sum().backward()
        optimizer.step()
    return net, optimizer


def state_of(net, optimizer):
    return {
        "net": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "counts": {"updates": 3, 7: "seven"},
        "scores": [1.5, None, [True, "ü"]],
    }


def test_round_trip(tmp_path):
    net, optimizer = trained()
    save_checkpoint(tmp_path / "a.safetensors", state_of(net, optimizer))
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert loaded["counts"] == {"updates": 3, 7: "seven"}
    assert loaded["scores"] == [1.5, None, [True, "ü"]]
    again, fresh = trained()
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.zero_()
    load_weights(again, loaded["net"])
    fresh.load_state_dict(loaded["optimizer"])
    for network, optim in ((net, optimizer), (again, fresh)):  # both go on alike
        optim.zero_grad()
        network(torch.ones(2, 4)).sum().backward()
        optim.step()
    for a, b in zip(net.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_all_kinds_of_tensors_come_back(tmp_path):
    state = {
        "scalar": torch.tensor(float("nan")),
        "empty": torch.zeros(0, 3),
        "mask": torch.tensor([True, False]),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "every second": torch.arange(6)[::2],
        "transposed": torch.arange(6).reshape(2, 3).T,
        "parameter": nn.Linear(2, 2).weight,
    }
    save_checkpoint(tmp_path / "a.safetensors", state)
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert list(loaded) == list(state)
    for name, tensor in state.items():
        torch.testing.assert_close(loaded[name], tensor.detach(), rtol=0, atol=0, equal_nan=True)


def test_names_that_look_alike_stay_apart(tmp_path):
    state = {"a.b": torch.ones(1), "a": {"b": torch.zeros(1)}, 0: torch.ones(2), "0": torch.ones(3)}
    save_checkpoint(tmp_path / "a.safetensors", state)
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert (loaded["a.b"], loaded["a"]["b"]) == (1, 0)
    assert (len(loaded[0]), len(loaded["0"])) == (2, 3)


def test_tuples_come_back_as_lists_and_an_empty_state_is_one(tmp_path):
    for state, expected in (((1, (2,)), [1, [2]]), ({}, {}), ([], [])):
        save_checkpoint(tmp_path / "a.safetensors", state)
        assert load_checkpoint(tmp_path / "a.safetensors") == expected


def test_what_is_flushed_is_the_whole_file_before_it_gets_its_name(tmp_path, monkeypatch):
    path, seen = tmp_path / "a.safetensors", []

    def fsync(descriptor):
        seen.append((os.fstat(descriptor), path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    save_checkpoint(path, {"x": torch.zeros(1000)})
    (file, named), (folder, renamed) = seen
    assert file.st_size == path.stat().st_size and not named
    assert stat.S_ISDIR(folder.st_mode) and renamed  # the new name is flushed as well
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_write_that_really_fails_leaves_the_old_file(tmp_path):
    """The kernel refuses to let any file grow beyond 4 kB, as a full disk would."""
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, {"x": torch.zeros(3)})
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match=r"could not save .*File too large.*untouched"):
            save_checkpoint(path, {"x": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_read_only_folder_is_named(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    with pytest.raises(OSError, match=r"could not save .*\(Permission denied\).*folder"):
        save_checkpoint(tmp_path / "a.safetensors", {"x": 1})
    assert not list(tmp_path.iterdir())


def test_an_interruption_by_hand_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path / "a.safetensors", {"x": 1})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, {"x": torch.zeros(3)})
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(
        OSError, match=r"could not save .*No space left.*untouched.*free some space"
    ):
        save_checkpoint(path, {"x": torch.ones(3)})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]  # no temporary file


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"could not save .*nothing was written"):
        save_checkpoint(tmp_path / "file" / "a.safetensors", {"x": 1})


@pytest.mark.parametrize(
    "state, card, named",
    [
        ({"a": [1, object()]}, None, r"state\.a\.1: .*got object"),
        ({"x": np.float32(1)}, None, r"state\.x: .*got float32; write float"),
        ({"a": {(1, 2): 3}}, None, r"as keys of state\.a, got \(1, 2\)"),
        ({"a": {0: 0, (1, 2): 3, (4,): 5}}, None, r"as keys of state\.a, got \(1, 2\)"),
        ({"x": 2}, {"scores": [1, np.float32(2)]}, r"card\.scores\.1: .*got float32"),
        ({"x": 2}, {"score": torch.tensor(3.0)}, r"card\.score: .*got Tensor"),
        ({"x": 2}, {"config": {"seed": np.int64(2)}}, r"card\.config\.seed: .*got int64"),
    ],
)
def test_what_cannot_be_stored_is_named_and_the_old_pair_stays(tmp_path, state, card, named):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, {"x": 1}, card={"score": 1})
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(TypeError, match=named):
        save_checkpoint(path, state, card)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert load_checkpoint(path) == {"x": 1}


@pytest.mark.parametrize("fails", [1, 2])
def test_a_disk_that_is_full_for_the_card_leaves_the_old_pair(tmp_path, monkeypatch, fails):
    path, flush, calls = tmp_path / "a.safetensors", os.fsync, []
    save_checkpoint(path, {"x": 1}, card={"score": 1})

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == fails:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {"x": 2}, card={"score": 2})
    assert load_checkpoint(path) == {"x": 1} and read_card(path)["score"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.safetensors"]


def test_a_checkpoint_without_a_card_does_not_keep_the_card_of_the_one_before(tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, {"x": 1}, card={"score": 1})
    save_checkpoint(path, {"x": 2})
    assert load_checkpoint(path) == {"x": 2} and read_card(path) is None


def test_names_with_dots_have_cards_of_their_own(tmp_path):
    for name in ("run_0.5", "run_0.6", "run_0.6.safetensors"):
        save_checkpoint(tmp_path / name, {"x": name}, card={"name": name})
    assert (tmp_path / "run_0.5.json").exists()
    assert read_card(tmp_path / "run_0.5") == {**read_card(tmp_path / "run_0.5"), "name": "run_0.5"}
    assert load_checkpoint(tmp_path / "run_0.5") == {"x": "run_0.5"}
    assert read_card(tmp_path / "run_0.6.safetensors")["name"] == "run_0.6.safetensors"


def test_the_target_of_a_link_is_replaced_and_keeps_its_mode(tmp_path):
    (tmp_path / "real").mkdir()
    path, target = tmp_path / "a.safetensors", tmp_path / "real" / "b.safetensors"
    save_checkpoint(target, {"x": 1})
    target.chmod(0o640)
    path.symlink_to(target)
    save_checkpoint(path, {"x": 2})
    assert path.is_symlink() and load_checkpoint(target) == {"x": 2}
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_the_leftovers_of_a_killed_save_go_with_the_next_one(tmp_path, monkeypatch):
    sent, kill = [], os.kill
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(number) or kill(pid, 0))
    killed = (
        "import os, sys\nfrom helpers import checkpoint\n"
        "os.fsync = lambda _: os.kill(os.getpid(), 9)\n"
        "checkpoint.save_checkpoint(sys.argv[1], {'x': 2})\n"
    )
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, {"x": 1})
    assert subprocess.run([sys.executable, "-c", killed, path]).returncode == -9
    alive = tmp_path / f".a.safetensors.{os.getppid()}.x.tmp"  # of a process that still runs
    alive.touch()
    assert len(list(tmp_path.iterdir())) == 3 and load_checkpoint(path) == {"x": 1}
    save_checkpoint(path, {"x": 3})
    assert sorted(tmp_path.iterdir()) == sorted([path, alive])
    assert set(sent) == {0}  # to ask whether a process runs is to send it nothing


def test_files_that_are_no_leftovers_of_this_checkpoint_stay(tmp_path, monkeypatch):
    """Those of a process of another user, of nobody, of another checkpoint."""

    def kill(process, number):
        raise PermissionError if process == 7 else ProcessLookupError

    monkeypatch.setattr(os, "kill", kill)
    stay = [".a.7.x.tmp", ".a.notes.tmp", ".b.8.x.tmp", ".a.8.x", "a.8.x.tmp"]
    for name in (*stay, ".a.8.x.tmp", ".a.9.y.tmp"):
        (tmp_path / name).touch()
    save_checkpoint(tmp_path / "a", {"x": 1})
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["a", *stay])


def test_a_leftover_that_another_process_removes_first_is_no_error(tmp_path, monkeypatch):
    leftover = tmp_path / ".a.8.x.tmp"

    def kill(process, number):
        leftover.unlink()
        raise ProcessLookupError

    leftover.touch()
    monkeypatch.setattr(os, "kill", kill)
    save_checkpoint(tmp_path / "a", {"x": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_what_is_no_checkpoint_is_told(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(OSError, match="the folder"):
        save_checkpoint(tmp_path, {"x": 1})
    with pytest.raises(FileNotFoundError, match="a folder is there"):
        load_checkpoint(tmp_path)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ValueError, match=r"Git LFS pointer.*git lfs pull"):
        load_checkpoint(path)
    save_checkpoint(path, {"x": 1}, card={})
    for device in ("gpu", "cuda:99"):
        with pytest.raises(ValueError, match=f"expected a device .*got '{device}'"):
            load_checkpoint(path, device)
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"expected a JSON object in .*a\.json, got a list"):
        load_checkpoint(path)


def test_folders_are_made_one_in_another(tmp_path):
    path = tmp_path / "one" / "two" / "three" / "a"
    write_atomically(path, b"1")
    assert path.read_bytes() == b"1"


def test_two_files_of_one_name_in_two_folders_stay_apart(tmp_path):
    write_atomically(tmp_path / "one" / "a", b"1")
    write_atomically(tmp_path / "two" / "a", b"2")
    assert (tmp_path / "one" / "a").read_bytes() == b"1"


def test_missing_damaged_and_foreign_files_are_told_apart(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .* \(nothing is there\)"):
        load_checkpoint(path)
    save_checkpoint(path, {"x": torch.arange(1000)})
    whole = path.read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=rf"\({size:,} bytes\) is damaged or cut off"):
            load_checkpoint(path)
    save_file({"x": torch.zeros(2)}, str(path))
    with pytest.raises(ValueError, match="not one made by save_checkpoint"):
        load_checkpoint(path)


def test_no_flipped_byte_goes_unnoticed(tmp_path):
    path, state = tmp_path / "a.safetensors", {"x": torch.arange(3), "updates": 7}
    save_checkpoint(path, state)
    whole = path.read_bytes()
    name = whole.index(b"sha256")
    for i in set(range(len(whole))) - set(range(name, name + 6)):  # without it: no comparison
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        with pytest.raises(ValueError, match=r"damaged or cut off|not one made by"):
            load_checkpoint(path)


def test_a_damaged_card_is_named(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", {"x": 1}, card={"score": 20})
    (tmp_path / "a.json").write_text('{"score"')
    with pytest.raises(ValueError, match=r"a\.json is damaged"):
        load_checkpoint(tmp_path / "a.safetensors")


def test_files_without_a_sum_inside_still_load(tmp_path):
    """Such as were saved before there was one."""
    meta = {"state": json.dumps({"dict": [["x", {"tensor": "state.x"}]]})}
    save_file({"state.x": torch.ones(2)}, str(tmp_path / "a.safetensors"), metadata=meta)
    assert load_checkpoint(tmp_path / "a.safetensors")["x"].tolist() == [1, 1]


def test_a_flipped_byte_does_not_pass_the_card(tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, {"x": torch.arange(1000)}, card={"score": 20, "notebook": "04"})
    assert read_card(path)["score"] == 20
    load_checkpoint(path)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    found = hashlib.sha256(data).hexdigest()[:12]
    sums = f"expected SHA-256 {read_card(path)['sha256'][:12]}…, got {found}…;"
    with pytest.raises(ValueError, match=f"not the file its card describes: {sums}"):
        load_checkpoint(path)


def test_a_card_without_a_sum_says_nothing_about_the_file(tmp_path):
    """Such as one written by hand."""
    save_checkpoint(tmp_path / "a.safetensors", {"x": 1})
    (tmp_path / "a.json").write_text('{"score": 20}')
    assert load_checkpoint(tmp_path / "a.safetensors") == {"x": 1}


def test_a_card_can_be_read_without_a_program(tmp_path):
    """One fact a line, letters as they are."""
    save_checkpoint(tmp_path / "a.safetensors", {"x": 1}, card={"who": "Jürgen", "scores": [1]})
    lines = (tmp_path / "a.json").read_text(encoding="utf-8").splitlines(keepends=True)
    digest = read_card(tmp_path / "a.safetensors")["sha256"]
    assert lines == [
        "{\n", '  "who": "Jürgen",\n', '  "scores": [\n', "    1\n", "  ],\n",
        f'  "sha256": "{digest}"\n', "}\n",
    ]  # fmt: skip


def test_card_holds_the_hash(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", {"x": 1}, card={})
    found = hashlib.sha256((tmp_path / "a.safetensors").read_bytes()).hexdigest()
    assert json.loads((tmp_path / "a.json").read_text()) == {"sha256": found}
    assert read_card(tmp_path / "b.safetensors") is None


def test_another_network_is_named_by_its_tensor():
    net = nn.Linear(4, 2)
    with pytest.raises(ValueError, match=r"weight expected \(2, 4\), got \(3, 4\)"):
        load_weights(net, nn.Linear(4, 3).state_dict())
    with pytest.raises(ValueError, match=r"fit this q_net: bias expected \(2,\), got nothing"):
        load_weights(net, nn.Linear(4, 2, bias=False).state_dict(), "q_net")
    with pytest.raises(ValueError, match=r"extra expected nothing, got \(1,\)"):
        load_weights(net, {**net.state_dict(), "extra": torch.zeros(1)})
