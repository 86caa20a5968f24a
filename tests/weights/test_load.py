from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from samphony.errors import CheckpointError
from samphony.model.base import SAM2Base
from samphony.model.config import SAM2Config
from samphony.weights.load import load_state_dict, load_weights
from samphony.weights.save import read_config, save_weights
from samphony.weights.tensors import load_tensors, read_metadata, save_tensors

State = dict[str, Tensor]


@pytest.fixture
def state(tiny_model: SAM2Base) -> State:
    return dict(tiny_model.state_dict())


def assert_same(loaded: State, state: State) -> None:
    assert list(loaded) == list(state)
    for key, value in state.items():
        torch.testing.assert_close(loaded[key], value, rtol=0, atol=0)


WRAPPINGS: dict[str, Callable[[State], object]] = {
    "official": lambda state: {"model": state},
    "bare": lambda state: state,
    "data parallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "both": lambda state: {"model": {f"module.{key}": value for key, value in state.items()}},
    "trainer": lambda state: {"model": state, "epoch": 3, "optimizer": {"lr": 0.1, "steps": [1, 2]}},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_pt_files(tmp_path: Path, state: State, wrapping: str) -> None:
    torch.save(WRAPPINGS[wrapping](state), tmp_path / "w.pt")
    assert_same(load_state_dict(tmp_path / "w.pt"), state)


def test_safetensors_under_any_name(tmp_path: Path, state: State) -> None:
    save_file(state, tmp_path / "weights.bin")
    loaded = load_state_dict(str(tmp_path / "weights.bin"))
    assert_same(dict(sorted(loaded.items())), dict(sorted(state.items())))


def test_load_into_a_model(tmp_path: Path, state: State, tiny_config: SAM2Config, fresh_tiny_model: Callable) -> None:
    changed = {key: value + 1 for key, value in state.items()}
    torch.save({"model": changed}, tmp_path / "w.pt")
    model = fresh_tiny_model(tiny_config)
    load_weights(model, tmp_path / "w.pt")
    assert_same(dict(model.state_dict()), changed)


class Harmful:
    """Runs a command when it is unpickled the usual way."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> object:
        return os.system, (f"touch {self.marker}",)


def harmful_torch(path: Path) -> None:
    torch.save({"model": Harmful(path.parent / "marker")}, path)


def harmful_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Harmful(path.parent / "marker")))


def harmful_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Harmful(path.parent / "marker")))
        archive.writestr("archive/version", "3\n")


def harmful_legacy(path: Path) -> None:
    torch.save({"model": Harmful(path.parent / "marker")}, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("make", [harmful_torch, harmful_pickle, harmful_zip, harmful_legacy])
def test_nothing_in_a_file_is_executed(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "evil.pt"
    make(path)
    with pytest.raises(CheckpointError, match=r"evil\.pt"):
        load_state_dict(path)
    assert not (tmp_path / "marker").exists()


def test_the_message_names_what_a_pickle_wanted(tmp_path: Path) -> None:
    harmful_torch(tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match=r"\((posix|nt)\.system\) and would run code.*nothing was executed"):
        load_state_dict(tmp_path / "evil.pt")


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def test_cut_files(tmp_path: Path, state: State) -> None:
    torch.save(state, tmp_path / "w.pt")
    save_file(state, tmp_path / "w.safetensors")
    for name in ("w.pt", "w.safetensors"):
        path = tmp_path / name
        path.write_bytes(cut(path.read_bytes()))
        with pytest.raises(CheckpointError, match=f"{name}: damaged, cut short or not"):
            load_state_dict(path)


def text_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("hello.txt", "hello")
    return buffer.getvalue()


def torchscript() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("m/constants.pkl", pickle.dumps(()))
        archive.writestr("m/data.pkl", pickle.dumps({}))
        archive.writestr("m/version", "3\n")
    return buffer.getvalue()


FOREIGN = {
    b"": "empty file",
    b"\xff\xd8\xff\xe0 a picture": "not a weights file",
    b"<!DOCTYPE html><html>": "a web page",
    b"version https://git-lfs.github.com/spec/v1\noid": "Git LFS pointer",
    text_zip(): "damaged, cut short or not made by torch.save",
    torchscript(): "weights.pt",
    b"\x05\0\0\0\0\0\0\0{": "not a safetensors file",
}


@pytest.mark.parametrize(("content", "message"), FOREIGN.items(), ids=FOREIGN.values())
def test_foreign_files(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_state_dict(tmp_path / "weights.pt")
    assert "weights.pt" in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.pt does not exist"):
        load_state_dict(tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_state_dict(tmp_path)
    with pytest.raises(OSError, match="does not exist"):
        load_tensors(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    "content", [[1, 2], {}, torch.zeros(3), {"a": 3}, {"model": {"a": "text"}}, {1: torch.zeros(1)}]
)
def test_files_of_torch_that_hold_no_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"w\.pt: (holds|not a state dict)"):
        load_state_dict(tmp_path / "w.pt")


def test_weights_of_another_model(
    tmp_path: Path, state: State, tiny_config: SAM2Config, fresh_tiny_model: Callable
) -> None:
    torch.save(state, tmp_path / "w.pt")
    model = fresh_tiny_model(replace(tiny_config, name="other", hidden_dim=16))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"w\.pt does not fit the model 'other'.*Hiera of width 8.*another shape"):
        load_weights(model, tmp_path / "w.pt")
    assert_same(dict(model.state_dict()), before)


@pytest.mark.parametrize(
    ("change", "message"), [("drop", "1 missing"), ("add", "1 left over"), ("both", "missing.*left over")]
)
def test_loading_is_strict(
    tmp_path: Path, state: State, fresh_tiny_model: Callable, tiny_config: SAM2Config, change: str, message: str
) -> None:
    if change in ("drop", "both"):
        del state["no_mem_embed"]
    if change in ("add", "both"):
        state["surprise"] = torch.zeros(1)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=message):
        load_weights(fresh_tiny_model(tiny_config), tmp_path / "w.pt")


def test_any_module_can_be_loaded(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1, 2), "bias": torch.ones(1)}, tmp_path / "w.pt")
    layer = nn.Linear(2, 1)
    load_weights(layer, tmp_path / "w.pt")
    assert layer.weight.sum() == 2
    with pytest.raises(CheckpointError, match="does not fit the model: it holds no weights of SAM 2"):
        load_weights(nn.Linear(3, 1), tmp_path / "w.pt")


def test_saved_weights_carry_their_configuration(tmp_path: Path, tiny_model: SAM2Base, tiny_config: SAM2Config) -> None:
    path = save_weights(tmp_path / "w.safetensors", tiny_model, tiny_config, notes={"steps": "10"})
    assert read_config(path) == tiny_config
    assert read_metadata(path)["steps"] == "10"
    assert_same(dict(sorted(load_state_dict(path).items())), dict(sorted(tiny_model.state_dict().items())))


def test_half_precision_is_half_the_size(
    tmp_path: Path, tiny_model: SAM2Base, tiny_config: SAM2Config, fresh_tiny_model: Callable
) -> None:
    full = save_weights(tmp_path / "full.safetensors", tiny_model, tiny_config)
    half = save_weights(tmp_path / "half.safetensors", tiny_model, tiny_config, dtype=torch.float16)
    assert half.stat().st_size < 0.7 * full.stat().st_size  # the header weighs much in so small a model
    model = fresh_tiny_model(tiny_config)
    load_weights(model, half)
    assert model.no_mem_embed.dtype == torch.float32
    torch.testing.assert_close(model.no_mem_embed, tiny_model.no_mem_embed, rtol=1e-3, atol=1e-4)


def test_configurations_of_all_models_survive_json(tmp_path: Path) -> None:
    from samphony.model.config import MODELS

    for config in MODELS.values():
        path = save_weights(tmp_path / "w.safetensors", nn.Linear(1, 1), config)
        assert read_config(path) == config


def test_files_without_or_with_a_foreign_configuration(tmp_path: Path) -> None:
    path = save_tensors(tmp_path / "w.safetensors", {"a": torch.zeros(1)})
    assert read_config(path) is None
    save_tensors(path, {"a": torch.zeros(1)}, {"samphony.config": '{"from_the_future": 1}'})
    with pytest.raises(CheckpointError, match="from_the_future"):
        read_config(path)


def test_tensors_that_share_storage_are_written(tmp_path: Path) -> None:
    base = torch.arange(6.0).reshape(2, 3)
    tensors = {"whole": base, "row": base[0], "turned": base.T}
    loaded, _ = load_tensors(save_tensors(tmp_path / "t.safetensors", tensors))
    for name, tensor in tensors.items():
        torch.testing.assert_close(loaded[name], tensor, rtol=0, atol=0)


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot write"):
        save_tensors(tmp_path / "file" / "t.safetensors", {"a": torch.zeros(1)})
