"""``samphony track``: prompts as text, files as results, and going on after an interruption."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from tests.conftest import build_tiny
from tests.golden.weights import fill
from tests.predict.video.conftest import make_clip
from typer.testing import CliRunner

from samphony.assets import SAMPLE_VIDEO
from samphony.cli.track import read_prompts, track
from samphony.errors import PromptError
from samphony.media.video import open_video
from samphony.media.video_write import VideoWriter
from samphony.predict.video import SAM2VideoPredictor, demo, track_file
from samphony.predict.video.propagation import Direction
from samphony.predict.video.track_file import VideoPrompt, track_to_folder


@pytest.fixture(scope="module")
def predictor() -> SAM2VideoPredictor:
    """A tiny network that is alive."""
    model = build_tiny()
    fill(model)
    return SAM2VideoPredictor(model.eval())


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with VideoWriter(path, height=48, width=80, rate=Fraction(10)) as writer:
        for t, frame in enumerate(make_clip(10)):
            writer.write(frame, t / 10)
    return path


class TestPrompts:
    def test_all_kinds(self, tmp_path: Path) -> None:
        Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / "a:b.png")
        found = read_prompts(["0:20,16", "3:5,6.5:2", "0:-70,40"], ["3:1,2,30,40:2"], [f"1:{tmp_path / 'a:b.png'}:3"])
        assert found[0] == VideoPrompt(0, 1, ((20.0, 16.0, 1), (70.0, 40.0, 0)))
        assert found[1] == VideoPrompt(3, 2, ((5.0, 6.5, 1),), (1.0, 2.0, 30.0, 40.0))
        assert (found[2].frame_idx, found[2].obj_id) == (1, 3)
        assert found[2].mask is not None
        assert found[2].mask.sum() == 8

    @pytest.mark.parametrize(
        ("points", "boxes", "masks", "message"),
        [
            ([], [], [], "at least one object"),
            (["20,16"], [], [], r"--point 20,16: must be FRAME:X,Y\[:OBJ\]"),
            (["0:20"], [], [], "must be FRAME"),
            (["0:20,16:x"], [], [], "must be FRAME"),
            ([], ["0:1,2,3"], [], "--box 0:1,2,3: must be FRAME:X0,Y0,X1,Y1"),
            ([], ["0:1,2,3,4", "0:1,2,3,4"], [], "has a box"),
            ([], [], ["mask.png"], "--mask mask.png: must be FRAME:FILE"),
            (["0:1,1"], [], ["0:mask.png"], "one or the other"),
        ],
    )
    def test_errors(self, points: list[str], boxes: list[str], masks: list[str], message: str) -> None:
        with pytest.raises(PromptError, match=message):
            read_prompts(points, boxes, masks)


def test_command(predictor: SAM2VideoPredictor, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(track_file, "named_predictor", lambda *a: asked.append(a) or predictor)
    app = typer.Typer()
    app.command()(track)
    result = CliRunner().invoke(
        app,
        [str(film), "--point", "4:20,16", "--box", "6:30,10,60,40:2", "-o", str(tmp_path / "out"), "--model", "m",
         "--direction", "both", "--start", "1", "--end", "8"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert asked == [("m", None, None)]
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["masks", "overlay.mp4", "tracks.json"]
    assert [path.name for path in sorted((out / "masks").iterdir())] == [f"{t:05d}.png" for t in range(1, 9)]
    content = json.loads((out / "tracks.json").read_text())
    assert len(content["annotations"]) == 16  # both objects on every frame, whatever their first prompts
    overlay = open_video(out / "overlay.mp4")
    assert len(overlay) == 8
    assert overlay.rate == 10


def test_input_size(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert track_file.named_predictor("nano", "cpu", 192).model.image_size == 192
    app = typer.Typer()
    app.command()(track)
    for size in ("0", "100"):
        left = CliRunner().invoke(app, [str(film), "--point", "0:20,16", "-o", str(tmp_path), "--size", size])
        assert "--size must be a positive multiple of 32" in str(left.exception)


def test_prompts_outside(predictor: SAM2VideoPredictor, film: Path, tmp_path: Path) -> None:
    for prompt, message in (
        (VideoPrompt(99, 1, ((1, 1, 1),)), "frames 0 … 9"),
        (VideoPrompt(0, 1, ((500, 1, 1),)), "outside the frame"),
        (VideoPrompt(0, 1, box=(0, 0, 500, 5)), "outside the frame"),
    ):
        with pytest.raises(PromptError, match=message):
            track_to_folder(predictor, film, [prompt], tmp_path)
    inside = [VideoPrompt(0, 1, ((1, 1, 1),))]
    for first, last in ((0, 10), (5, 2), (-1, 3)):
        with pytest.raises(PromptError, match="not a part of the video, which has frames 0 … 9"):
            track_to_folder(predictor, film, inside, tmp_path, first=first, last=last)
    with pytest.raises(PromptError, match="at least one object"):
        track_to_folder(predictor, film, [], tmp_path)


@pytest.mark.parametrize("stop_at", [3, 11])
def test_interrupted_run_goes_on_with_the_same_numbers(
    predictor: SAM2VideoPredictor, film: Path, tmp_path: Path, stop_at: int
) -> None:
    prompts = [VideoPrompt(5, 1, ((20, 16, 1),)), VideoPrompt(7, 2, box=(30, 10, 60, 40))]

    def stop(what: str, done: int, total: int) -> None:
        calls.append(done)
        if len(calls) == stop_at:
            raise KeyboardInterrupt

    calls: list[int] = []
    whole = track_to_folder(predictor, film, prompts, tmp_path / "whole", direction="both", overlay=False)
    with pytest.raises(KeyboardInterrupt):
        track_to_folder(predictor, film, prompts, tmp_path / "parts", direction="both", overlay=False, progress=stop)
    rest: list[int] = []
    parts = track_to_folder(
        predictor,
        film,
        prompts,
        tmp_path / "parts",
        direction="both",
        overlay=False,
        progress=lambda what, done, total: rest.append(done),
    )
    assert rest[0] == stop_at + 1
    assert parts.json_path.read_bytes() == whole.json_path.read_bytes()
    for path in (tmp_path / "whole" / "masks").iterdir():
        assert path.read_bytes() == (tmp_path / "parts" / "masks" / path.name).read_bytes()


class TestNegativeClicksAlone:
    """On a later frame they correct what tracking finds there."""

    PROMPTS = (VideoPrompt(2, 1, box=(10, 6, 60, 40)), VideoPrompt(3, 2, ((20, 16, 1),)))
    CORRECTION = VideoPrompt(5, 1, ((50, 12, 0),))

    def test_as_by_hand(self, predictor: SAM2VideoPredictor, film: Path, tmp_path: Path) -> None:
        track_to_folder(predictor, film, [self.CORRECTION, *self.PROMPTS], tmp_path, overlay=False)
        by_hand = predictor.with_options(add_all_frames_to_correct_as_cond=True)
        session = by_hand.init_state(film)
        by_hand.add_new_points_or_box(session, 2, 1, box=[10, 6, 60, 40])
        by_hand.add_new_points_or_box(session, 3, 2, [[20, 16]], [1])
        differing = 0
        for found in by_hand.track(session):
            wanted = found
            if found.frame_idx == 5:
                by_hand.add_new_points_or_box(session, 5, 1, [[50, 12]], [0])
                wanted = by_hand.result(session, 5)
                differing = int((wanted[1].mask != found[1].mask).sum())
                np.testing.assert_array_equal(wanted[2].mask, found[2].mask)
            written = np.array(Image.open(tmp_path / "masks" / f"{found.frame_idx:05d}.png"))
            for o in sorted(wanted, key=lambda o: int(o.obj_id)):  # the picture shows the first of two that overlap
                others = np.logical_or.reduce([p.mask for p in wanted if p is not o] or [np.zeros_like(o.mask)])
                np.testing.assert_array_equal((written == o.obj_id)[~others], o.mask[~others])
        assert differing > 0

    @pytest.mark.parametrize("stop_at", [4, 5])
    def test_interrupted_there(self, predictor: SAM2VideoPredictor, film: Path, tmp_path: Path, stop_at: int) -> None:
        def stop(what: str, done: int, total: int) -> None:
            if done == stop_at:
                raise KeyboardInterrupt

        prompts = [*self.PROMPTS, self.CORRECTION]
        whole = track_to_folder(predictor, film, prompts, tmp_path / "whole", direction="both", overlay=False)
        with pytest.raises(KeyboardInterrupt):
            track_to_folder(predictor, film, prompts, tmp_path / "parts", direction="both", progress=stop)
        parts = track_to_folder(predictor, film, prompts, tmp_path / "parts", direction="both", overlay=False)
        assert parts.json_path.read_bytes() == whole.json_path.read_bytes()

    @pytest.mark.parametrize(
        ("prompts", "direction", "last", "message"),
        [
            ([], "forward", None, "frame 5 has only negative clicks for object 1; mark it with a positive click"),
            ([VideoPrompt(5, 1, ((20, 16, 1),))], "forward", None, "mark it with a positive click"),
            ([VideoPrompt(7, 1, ((20, 16, 1),))], "forward", None, "tracking forward from frame 7 never gets there"),
            ([VideoPrompt(2, 1, ((20, 16, 1),))], "reverse", None, "tracking reverse from frame 2 never gets there"),
            ([VideoPrompt(2, 1, ((20, 16, 1),))], "forward", 4, r"outside of the frames 0 … 4 that are tracked"),
        ],
    )
    def test_nothing_to_correct(
        self,
        predictor: SAM2VideoPredictor,
        film: Path,
        tmp_path: Path,
        prompts: list[VideoPrompt],
        direction: Direction,
        last: int | None,
        message: str,
    ) -> None:
        with pytest.raises(PromptError, match=message):
            track_to_folder(
                predictor, film, [*prompts, self.CORRECTION], tmp_path / "out", direction=direction, last=last
            )
        assert not (tmp_path / "out" / "masks").exists()


def test_other_prompts_start_anew(predictor: SAM2VideoPredictor, film: Path, tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        track_to_folder(predictor, film, [VideoPrompt(0, 1, ((20, 16, 1),))], tmp_path, progress=stop)
    again = track_to_folder(predictor, film, [VideoPrompt(2, 1, ((30, 16, 1),))], tmp_path, overlay=False)
    assert again.frames == 8
    assert [path.name for path in sorted((tmp_path / "masks").iterdir())] == [f"{t:05d}.png" for t in range(2, 10)]


def test_sample_clip() -> None:
    clip = open_video(SAMPLE_VIDEO)
    assert (len(clip), clip.width, clip.height, clip.rate) == (75, 640, 360, 25)
    assert SAMPLE_VIDEO.stat().st_size < 500_000


def test_demo(predictor: SAM2VideoPredictor, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "named_predictor", lambda model: predictor)
    monkeypatch.setattr(demo, "SAMPLE_VIDEO", film)
    monkeypatch.setattr(demo, "SAMPLE_VIDEO_BOX", (10, 5, 40, 40))
    monkeypatch.setattr(demo, "SAMPLE_VIDEO_BACKGROUND", (70, 40))
    monkeypatch.setattr(demo, "SAMPLE_VIDEO_CORRECTIONS", ((4, ((60, 40, 0), (20, 20, 1))), (6, ((60, 40, 0),))))
    overlay, sheet = demo.demo_video(tmp_path)
    assert len(open_video(overlay)) == 10
    with Image.open(sheet) as picture:
        assert picture.width > 900
