"""Drives Fulcrum as its users do: by commands, a service in a process of its own and real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from fulcrum import app
from tests.conftest import MadeOnce
from tests.support.harness import Command, World, serving


@pytest.fixture(scope="session")
def fulcrum() -> Command:
    """Run a command that is expected to succeed, in this process: starting torch anew takes seconds."""

    def run(*words: str | Path) -> Result:
        done = CliRunner().invoke(app, [*map(str, words)])
        if done.exit_code:
            said = f"fulcrum {' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}"
            raise AssertionError(said) from done.exception
        return done

    return run


@pytest.fixture(scope="session")
def world(fulcrum: Command, made_once: MadeOnce, tmp_path_factory: pytest.TempPathFactory) -> World:
    def make(folder: Path) -> None:
        small = ("--set", "data.options.rows=20000", "--set", "training.epochs=1")
        fulcrum("train", "--recipe", "demo", "--out", folder / "bundle", "--run", folder / "run", *small)
        fulcrum("publish", folder / "bundle", "--to", folder / "features")
        fulcrum("evaluate", folder / "bundle", "--predictions", folder / "rows.parquet")

    made, home = made_once("world", make), tmp_path_factory.mktemp("world")
    fusion = home / "fusion.yaml"
    fusion.write_text(
        "schema_version: 1\n"
        "scenes:\n"
        "  default:\n"
        "    tasks:\n"
        "      vtr: {weight: 1.0}\n"
        "      vcr: {weight: 0.5}\n"
        "      shr: {weight: 0.25}\n"
        "      cmr: {weight: 0.25}\n"
        "    video_len: {kind: log, scale_s: 30.0, weight: 0.5}\n"
    )
    return World(
        made / "bundle", made / "features", pl.read_parquet(made / "rows.parquet"), fusion, home / "log"
    )


@pytest.fixture(scope="session")
def service(world: World) -> Iterator[httpx.Client]:
    """A service of the synthetic world's bundle."""
    words = ("--bundle", world.bundle, "--features", world.store, "--fusion", world.fusion)
    with serving(*words, log=world.log) as client:
        yield client
