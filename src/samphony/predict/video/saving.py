"""Sessions on disk: what was asked in JSON, what was computed in safetensors. Loading them back changes no number."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from samphony.errors import CheckpointError
from samphony.files import replacing
from samphony.model.base import SAM2Base
from samphony.predict.video.memory_bank import Memory
from samphony.predict.video.policies import MemoryPolicy
from samphony.predict.video.session import VideoSession
from samphony.predict.video.tracked_object import PointPrompt, TrackedObject

_FORMAT = 1
_PARTS = ("low_res_masks", "pointer", "object_score", "iou", "features", "position")
_SHELVES = ("conditioning", "tracked", "pending_conditioning", "pending_corrections")


def save_session(session: VideoSession, model: SAM2Base, path: Path) -> None:
    """Write ``path`` (JSON) and the tensors beside it; both whole or not at all."""
    tensors: dict[str, Tensor] = {}
    content = {
        "format": _FORMAT,
        "model": {"name": model.config.name, "image_size": model.image_size, "mem_dim": model.mem_dim},
        "video": {
            "name": session.source.name,
            "num_frames": session.num_frames,
            "height": session.height,
            "width": session.width,
        },
        "objects": [_describe(o, place, tensors) for place, o in enumerate(session.objects.values())],
    }
    with replacing(path.with_suffix(".safetensors")) as part:
        save_file(tensors, part)
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _describe(o: TrackedObject, place: int, tensors: dict[str, Tensor]) -> dict[str, Any]:
    shelves: dict[str, list[Memory]] = {name: [] for name in _SHELVES}
    for is_conditioning, memory in o.bank.memories():
        shelves["conditioning" if is_conditioning else "tracked"].append(memory)
    shelves["pending_conditioning"] = list(o.pending_conditioning.values())
    shelves["pending_corrections"] = list(o.pending_corrections.values())
    for shelf, memories in shelves.items():
        for memory in memories:
            for part in _PARTS:
                value = getattr(memory, part)
                # All memories of an object share one position code.
                name = f"{place}/position" if part == "position" else f"{place}/{shelf}/{memory.frame_idx}/{part}"
                if value is not None and name not in tensors:
                    tensors[name] = value.detach().cpu().contiguous().clone()
    for t, points in o.points.items():
        tensors[f"{place}/points/{t}/coords"] = points.coords.cpu().contiguous()
        tensors[f"{place}/points/{t}/labels"] = points.labels.cpu().contiguous()
    for t, mask in o.masks.items():
        tensors[f"{place}/masks/{t}"] = mask.to("cpu", torch.bool) if _is_binary(mask) else mask.cpu()
    return {
        "id": o.obj_id,
        "frames": {
            shelf: [[m.frame_idx, m.mark, m.position is not None] for m in memories]
            for shelf, memories in shelves.items()
        },
        "points": list(o.points),
        "masks": list(o.masks),
        "passed": [[t, reverse] for t, reverse in o.tracked.items()],
    }


def load_session(session: VideoSession, model: SAM2Base, path: Path, policy: MemoryPolicy) -> None:
    """Fill a new session from files. Raises :class:`CheckpointError` for files of another model or video."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        tensors = load_file(path.with_suffix(".safetensors"))
        _check(content, session, model, path)
        for place, described in enumerate(content["objects"]):
            o = _restore(session, described, place, tensors, policy)
            session.objects[o.obj_id] = o
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: not a session that can be loaded: {error}") from error


def _check(content: dict[str, Any], session: VideoSession, model: SAM2Base, path: Path) -> None:
    if content["format"] != _FORMAT:
        raise CheckpointError(f"{path}: session format {content['format']}; this version reads {_FORMAT}")
    made = content["model"]
    if (made["image_size"], made["mem_dim"]) != (model.image_size, model.mem_dim):
        raise CheckpointError(f"{path}: made with model {made['name']!r} at {made['image_size']} px, which differs")
    video = content["video"]
    found = (session.num_frames, session.height, session.width)
    if (video["num_frames"], video["height"], video["width"]) != found:
        raise CheckpointError(
            f"{path}: made for {video['name']}, {video['num_frames']} frames of {video['width']} × {video['height']}; "
            f"this video has {found[0]} of {found[2]} × {found[1]}"
        )


def _restore(
    session: VideoSession, described: dict[str, Any], place: int, tensors: dict[str, Tensor], policy: MemoryPolicy
) -> TrackedObject:
    o = session.new_object(described["id"], policy)
    position = tensors.get(f"{place}/position")
    if position is not None:
        position = position.to(session.device)

    def memory(shelf: str, t: int, mark: float, has_position: bool) -> Memory:
        parts: dict[str, Tensor | None] = {}
        for part in _PARTS[:-1]:
            value = tensors.get(f"{place}/{shelf}/{t}/{part}")
            stored = part in ("low_res_masks", "features")
            parts[part] = None if value is None else value.to(session.storage_device if stored else session.device)
        return Memory(frame_idx=t, mark=mark, position=position if has_position else None, **parts)  # type: ignore[arg-type]

    frames = described["frames"]
    for t, mark, has_position in frames["conditioning"]:
        o.bank.conditioning[t] = memory("conditioning", t, mark, has_position)
    for t, mark, has_position in frames["tracked"]:
        o.bank.put_tracked(memory("tracked", t, mark, has_position))
    for shelf, pending in (
        ("pending_conditioning", o.pending_conditioning),
        ("pending_corrections", o.pending_corrections),
    ):
        for t, mark, has_position in frames[shelf]:
            pending[t] = memory(shelf, t, mark, has_position)
    for t in described["points"]:
        coords, labels = (tensors[f"{place}/points/{t}/{part}"].to(session.device) for part in ("coords", "labels"))
        o.points[t] = PointPrompt(coords, labels)
    for t in described["masks"]:
        o.masks[t] = tensors[f"{place}/masks/{t}"].float().to(session.device)
    o.tracked = dict(described["passed"])
    return o


def refer(session: VideoSession, reference: VideoSession) -> None:
    """Take the objects of another video along: their prompted frames count as frames before this video's first."""
    for other in reference.objects.values():
        o = session.new_object(other.obj_id, other.policy)
        for place, memory in enumerate(other.bank.conditioning.values()):
            o.bank.conditioning[-1 - place] = replace(memory, frame_idx=-1 - place)
        if o.bank.conditioning:
            session.objects[o.obj_id] = o


def _is_binary(mask: Tensor) -> bool:
    return bool(((mask == 0) | (mask == 1)).all())
