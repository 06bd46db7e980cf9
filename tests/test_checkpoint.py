"""Checkpoints: whole or not at all."""

import errno
import json
import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from helpers.checkpoint import load_checkpoint, load_weights, read_card, save_checkpoint


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


def test_something_that_is_not_json_is_refused_before_writing(tmp_path):
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path / "a.safetensors", {"x": object()})
    assert not list(tmp_path.iterdir())


def test_missing_damaged_and_foreign_files_are_told_apart(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
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


def test_a_flipped_byte_does_not_pass_the_card(tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, {"x": torch.arange(1000)}, card={"score": 20, "notebook": "04"})
    assert read_card(path)["score"] == 20
    load_checkpoint(path)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="not the file its card describes"):
        load_checkpoint(path)


def test_card_holds_the_hash(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", {"x": 1}, card={})
    assert len(json.loads((tmp_path / "a.json").read_text())["sha256"]) == 64
    assert read_card(tmp_path / "b.safetensors") is None


def test_another_network_is_named_by_its_tensor():
    net = nn.Linear(4, 2)
    with pytest.raises(ValueError, match=r"weight expected \(2, 4\), got \(3, 4\)"):
        load_weights(net, nn.Linear(4, 3).state_dict())
    with pytest.raises(ValueError, match=r"bias expected \(2,\), got nothing"):
        load_weights(net, nn.Linear(4, 2, bias=False).state_dict(), "q_net")
    with pytest.raises(ValueError, match=r"extra expected nothing, got \(1,\)"):
        load_weights(net, {**net.state_dict(), "extra": torch.zeros(1)})
