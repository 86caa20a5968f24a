"""The validation split: listed, fixed, of the right size."""

from __future__ import annotations

from samphony.datasets.split import draw, read_split


def test_the_listed_split() -> None:
    split = read_split()
    assert 350 < len(split.photos) < 450
    assert len(split.clips) == 11
    name = next(iter(split.photos))
    assert split.holds(name, None)
    assert not split.holds(name + "x", None)
    assert split.holds("davis_train.stroller/00003", "davis_train.stroller")
    assert not split.holds(name, "davis_train.bear"), "pictures of a clip go with their clip"


def test_lines_name_photos_or_clips() -> None:
    split = read_split("# remark\na: 1 2\nb: x\nclip.one\n")
    assert split.photos == {"a/1", "a/2", "b/x"}
    assert split.clips == {"clip.one"}


def test_the_draw_is_fixed_and_follows_aliases() -> None:
    names = [f"s/{i}" for i in range(4000)]
    drawn = draw(names, {})
    assert drawn == draw(reversed(names), {})[::-1]
    assert 150 < len(drawn) < 250
    outside = next(n for n in names if n not in drawn)
    assert outside in draw(names, {outside: drawn[0]})
