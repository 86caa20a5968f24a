"""Videos of every kind are read frame-exactly, and what is wrong with them is said."""

from __future__ import annotations

import struct
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from samphony.errors import MediaError
from samphony.media.video import FrameSource, live_frames, open_video
from samphony.media.video_file import VideoFile
from samphony.media.video_folder import natural_key
from samphony.media.video_prefetch import prefetch
from samphony.media.video_write import VideoWriter


def numbered(t: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A frame whose number can be read back through lossy coding: eight patches, one a bit."""
    frame = np.full((height, width, 3), 60, np.uint8)
    for bit in range(8):
        frame[8:40, bit * 8 : bit * 8 + 8] = 230 if t >> bit & 1 else 20
    return frame


def number_of(frame: np.ndarray) -> int:
    """The number in a frame."""
    return sum(1 << bit for bit in range(8) if frame[20:28, bit * 8 + 2 : bit * 8 + 6].mean() > 125)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty frames of H.264 with B-frames and several key frames, at irregular times."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"g": "17", "bf": "3", "crf": "12"}
        stream.codec_context.time_base = Fraction(1, 1000)
        for t in range(60):
            frame = av.VideoFrame.from_ndarray(numbered(t), format="rgb24")
            frame.pts, frame.time_base = 40 * t + (t % 3) * 7, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


class TestFiles:
    def test_any_order_gives_the_right_frames(self, film: Path) -> None:
        video = open_video(film)
        assert (len(video), video.height, video.width) == (60, 48, 64)
        for t in [*range(5), 59, 30, 31, 33, 2, *range(45, 25, -1)]:
            assert number_of(video[t]) == t
        assert number_of(video[-1]) == 59
        with pytest.raises(IndexError, match="60 frames"):
            video[60]

    def test_variable_frame_rate(self, film: Path) -> None:
        video = open_video(film)
        assert [round(video.time(t) * 1000) for t in range(4)] == [0, 47, 94, 120]

    def test_bytes_and_urls(self, film: Path) -> None:
        assert number_of(open_video(film.read_bytes()).read(7)) == 7
        assert number_of(open_video(film.as_uri()).read(8)) == 8

    @pytest.mark.parametrize("turn", [90, 180, 270])
    def test_rotation(self, film: Path, tmp_path: Path, turn: int) -> None:
        rows = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[turn]
        data = bytearray(film.read_bytes())
        at = data.index(b"tkhd") + 4 + 40
        a, b, c, d = (v * 65536 for v in rows)
        data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
        turned = tmp_path / "turned.mp4"
        turned.write_bytes(data)
        upright, video = open_video(film).read(5), open_video(turned)
        # The matrix turns clockwise, numpy counterclockwise.
        expected = np.rot90(upright, -turn // 90)
        assert (video.height, video.width) == expected.shape[:2]
        assert np.abs(video.read(5).astype(int) - expected).mean() < 1

    def test_truncated_file_is_read_up_to_the_damage(self, film: Path, tmp_path: Path) -> None:
        matroska = tmp_path / "film.mkv"
        with av.open(str(film)) as source, av.open(str(matroska), "w") as out:
            add = getattr(out, "add_stream_from_template", None)
            stream = source.streams.video[0]
            copy = add(stream) if add else out.add_stream(template=stream)
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.stream = copy
                    out.mux(packet)
        data = matroska.read_bytes()
        short = tmp_path / "short.mkv"
        short.write_bytes(data[: len(data) // 2])
        video = open_video(short)
        assert 10 < len(video) < 60
        assert [number_of(video.read(t)) for t in range(10)] == list(range(10))

    def test_a_damaged_frame_is_named(self, film: Path, tmp_path: Path) -> None:
        data = bytearray(film.read_bytes())
        with av.open(str(film)) as container:
            packets = [p for p in container.demux(video=0) if p.size]
        for packet in packets[20:40]:
            assert packet.pos is not None
            data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
        broken = tmp_path / "broken.mp4"
        broken.write_bytes(data)
        video = open_video(broken)
        with pytest.raises(MediaError, match=r"broken\.mp4: frame \d+ \(at .* s\) cannot be decoded"):
            list(video)
        assert number_of(video.read(59)) == 59
        assert number_of(video.read(3)) == 3

    @pytest.mark.parametrize("content", [b"", b"not a video at all" * 50])
    def test_no_video(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "no.mp4"
        path.write_bytes(content)
        with pytest.raises(MediaError, match=r"no\.mp4"):
            open_video(path)

    def test_missing_live_and_unknown(self, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match="no such video file or folder"):
            open_video(tmp_path / "missing.mp4")
        with pytest.raises(MediaError, match="live"):
            open_video("rtsp://somewhere/live")
        with pytest.raises(MediaError, match="float"):
            open_video(3.0)
        with pytest.raises(MediaError, match="cannot be opened"):
            next(live_frames("camera:/dev/no-such-camera"))

    def test_threads_may_read_together(self, film: Path) -> None:
        video, found = VideoFile(film), {}

        def read(t: int) -> None:
            found[t] = number_of(video.read(t))

        threads = [threading.Thread(target=read, args=(t,)) for t in range(0, 60, 7)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {t: t for t in range(0, 60, 7)}


class TestFolders:
    def test_natural_order_and_any_format(self, tmp_path: Path) -> None:
        for t in range(12):
            Image.fromarray(numbered(t)).save(tmp_path / f"shot-{t}.png")
        (tmp_path / "notes.txt").write_text("not a frame")
        (tmp_path / ".hidden.png").write_bytes(b"")
        video = open_video(str(tmp_path))
        assert [number_of(frame) for frame in video] == list(range(12))

    def test_jpegs_go_first(self, tmp_path: Path) -> None:
        Image.fromarray(numbered(1)).save(tmp_path / "1.jpg")
        Image.fromarray(numbered(2)).save(tmp_path / "2.png")
        assert len(open_video(tmp_path)) == 1

    def test_pixels_are_those_of_pillow(self, tmp_path: Path) -> None:
        Image.fromarray(numbered(9)).save(tmp_path / "0.jpg", quality=80)
        with Image.open(tmp_path / "0.jpg") as image:
            assert np.array_equal(open_video(tmp_path).read(0), np.asarray(image.convert("RGB")))

    def test_empty_unreadable_and_changing(self, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match="no images found"):
            open_video(tmp_path)
        Image.fromarray(numbered(0)).save(tmp_path / "0.png")
        (tmp_path / "1.png").write_bytes(b"damaged")
        Image.fromarray(numbered(2, 24, 64)).save(tmp_path / "2.png")
        video = open_video(tmp_path)
        with pytest.raises(MediaError, match=r"1\.png: frame 1"):
            video.read(1)
        with pytest.raises(MediaError, match="frame 2 is 64 × 24 but the video is 64 × 48"):
            video.read(2)

    def test_natural_key(self) -> None:
        names = ["b1", "a10", "a9", "A1", "10", "9"]
        assert sorted(names, key=natural_key) == ["9", "10", "A1", "a9", "a10", "b1"]


class TestArrays:
    def test_layouts_and_types(self) -> None:
        import torch

        frames = np.stack([numbered(t) for t in range(4)])
        for given in (
            frames,
            frames.transpose(0, 3, 1, 2),
            torch.from_numpy(frames),
            frames.astype(np.float32) / 255,
            list(frames),
            [Image.fromarray(frame) for frame in frames],
            iter(frames),
            (frame for frame in frames),
        ):
            video = open_video(given)
            assert [number_of(frame) for frame in video] == [0, 1, 2, 3]
            assert np.array_equal(video.read(2), frames[2])
            video.close()

    def test_grey(self) -> None:
        assert open_video(np.zeros((2, 8, 8, 1), np.uint8)).read(0).shape == (8, 8, 3)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (np.zeros((0, 8, 8, 3), np.uint8), "T ≥ 1"),
            (np.zeros((8, 8, 3), np.uint8), "video array must be"),
            (np.full((1, 8, 8, 3), 7.0), r"outside 0\.\.1"),
            (np.zeros((1, 8, 8, 3), np.int64), "int64"),
            (np.zeros((1, 8, 8, 5), np.uint8), "shape"),
            ([], "list of frames is empty"),
            (iter([]), "gave no frame"),
            ([1, 2], "frame 0 of the list is int"),
            (iter([np.zeros((8, 8, 3), np.uint8), np.zeros((4, 8, 3), np.uint8)]), "one size"),
        ],
    )
    def test_errors(self, given: object, message: str) -> None:
        with pytest.raises(MediaError, match=message):
            open_video(given)

    def test_sources_pass_through(self) -> None:
        source: FrameSource = open_video([numbered(1)])
        assert open_video(source) is source

    def test_live_frames_of_anything(self, film: Path) -> None:
        assert [number_of(f) for f in live_frames(numbered(t) for t in (3, 1))] == [3, 1]
        assert len(list(live_frames(film))) == 60


class TestPrefetch:
    def test_order_bound_and_errors_in_place(self) -> None:
        made = []

        def make(t: int) -> int:
            made.append(t)
            if t == 6:
                raise MediaError("frame 6")
            return t

        given = []
        ahead = prefetch(make, range(10), depth=2)
        given.append(next(ahead))
        time.sleep(0.3)
        assert len(made) <= 4
        with pytest.raises(MediaError, match="frame 6"):
            given.extend(ahead)
        assert given == [0, 1, 2, 3, 4, 5]

    def test_leaving_early_stops_the_thread(self) -> None:
        before = threading.active_count()
        stream = prefetch(lambda t: t, range(10**6))
        assert next(stream) == 0
        stream.close()
        assert threading.active_count() == before


class TestWriting:
    def test_times_rate_and_odd_sizes(self, tmp_path: Path) -> None:
        path = tmp_path / "out.mp4"
        with VideoWriter(path, height=47, width=63, rate=Fraction(10)) as writer:
            for t in range(12):
                writer.write(numbered(t)[:47, :63], t / 10 + (0.03 if t == 5 else 0))
        video = open_video(path)
        assert (len(video), video.height, video.width) == (12, 48, 64)
        assert video.time(4) == pytest.approx(0.4, abs=1e-3)
        assert video.time(5) == pytest.approx(0.53, abs=1e-3)
        assert [number_of(f) for f in video] == list(range(12))
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.name == "h264"

    @pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
    def test_sound_is_kept(self, tmp_path: Path, codec: str) -> None:
        spoken = tmp_path / "spoken.mkv"
        with av.open(str(spoken), "w") as out:
            sound = out.add_stream(codec, rate=16000)
            sound.layout = "mono"
            wave = (np.sin(np.arange(32000) / 8) * 9000).astype(np.int16)
            resampler = av.AudioResampler(format=sound.format, layout="mono", rate=16000)
            for start in range(0, 32000, 1000):
                frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1000], format="s16", layout="mono")
                frame.sample_rate, frame.pts = 16000, start
                for part in resampler.resample(frame):
                    out.mux(sound.encode(part))
            out.mux(sound.encode(None))
        path = tmp_path / "out.mp4"
        with VideoWriter(path, height=48, width=64, sound=spoken, sound_start=0.5) as writer:
            for t in range(25):
                writer.write(numbered(t), t / 25)
        with av.open(str(path)) as container:
            assert [s.type for s in container.streams] == ["video", "audio"]
            audio = container.streams.audio[0]
            assert audio.codec_context.name == "aac"
            assert float(audio.duration * audio.time_base) == pytest.approx(1.0, abs=0.15)

    def test_failure_leaves_the_old_file(self, tmp_path: Path) -> None:
        path = tmp_path / "out.mp4"
        path.write_bytes(b"old")
        missing = open_video(iter([numbered(0)]))
        with pytest.raises(IndexError), VideoWriter(path, height=48, width=64) as writer:
            writer.write(missing[1], 0.0)
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]
        with pytest.raises(MediaError, match="cannot be written"):
            VideoWriter(path / "inside" / "out.mp4", height=48, width=64)
