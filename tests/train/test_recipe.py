"""Recipes: TOML in, frozen dataclasses out, mistakes named."""

from __future__ import annotations

from pathlib import Path

import pytest

from samphony.errors import ConfigError
from samphony.train.recipe import Recipe, Stage, load_recipe, recipe_tree

RECIPES = Path(__file__).parents[2] / "recipes"


def test_a_recipe_is_read_and_changed(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text('model = "tiny"\n[optim]\nlr = 1\n[data.sources]\nx = 2\n[[stages]]\nsteps = 5\nsize = 64\n')
    recipe = load_recipe(file, ["optim.ema=0.5", 'data.folder="a b"', "run.precision=bfloat16", 'optim.freeze=["x."]'])
    assert recipe.model == "tiny"
    assert recipe.optim.lr == 1.0
    assert isinstance(recipe.optim.lr, float)
    assert recipe.optim.ema == 0.5
    assert recipe.optim.freeze == ("x.",)
    assert recipe.data.folder == "a b"
    assert recipe.data.sources == {"x": 2.0}
    assert recipe.run.precision == "bfloat16"
    assert recipe.stages == (Stage(steps=5, size=64),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optim.rate=1", "optim.rate does not exist"),
        ("optim.lr=fast", "optim.lr must be float, not 'fast'"),
        ("data.objects=2.5", "data.objects must be int"),
        ("optim.clip=true", "optim.clip must be float"),
        ("stages=3", "stages must be a list"),
        ("optim=3", "optim must be a table"),
        ("optim.lr", "must have the form key=value"),
        ("model.name=3", "model must be str"),
    ],
)
def test_mistakes_are_named(change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(None, [change])


def test_a_file_that_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read"):
        load_recipe(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("model = ")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_recipe(broken)


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.toml")), ids=lambda f: f.name)
def test_the_recipes_that_ship_are_valid(file: Path) -> None:
    recipe = load_recipe(file)
    assert recipe.steps > 0
    assert recipe_tree(recipe)["model"] == recipe.model


def test_stages_follow_each_other() -> None:
    recipe = Recipe(stages=(Stage(steps=2, size=64), Stage(steps=3, size=96)))
    assert [recipe.stage_at(step).size for step in range(7)] == [64, 64, 96, 96, 96, 96, 96]
    assert recipe.steps == 5
