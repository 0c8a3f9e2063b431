"""A stranger's log: the README's recipe, word for word, on a small csv, trained, served and ranked."""

from __future__ import annotations

import csv
import random
import re
from pathlib import Path

from tests.support.harness import Command, serving

README = Path(__file__).parents[2] / "README.md"


def readme_block(language: str, beginning: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    (block,) = (block for block in blocks if block.startswith(beginning))
    return str(block)


def write_log(path: Path, header: str) -> None:
    """A small log in the README's columns: people of one age band watch cooking, the others football."""
    chance = random.Random(5)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        for number in range(3_000):
            user, video = chance.randrange(150), chance.randrange(80)
            age = ("18-24", "25-34", "")[user % 3]
            category = ("cooking", "football")[video % 2]
            seconds = 5.0 + video
            likes = (age == "18-24") == (category == "cooking")
            share = min(1.0, chance.random() * (1.6 if likes else 0.5)) if chance.random() < 0.9 else 0.0
            watched = round(seconds * share, 1)
            shared = int(watched > 0 and chance.random() < (0.2 if likes else 0.05))
            commented = int(watched > 0 and chance.random() < 0.1)
            time, country, hour = 1_764_000_000 + number, ("NL", "DE")[user % 2], number % 24
            row = (time, f"u{user}", f"v{video}", age, country, hour, category, seconds, watched, shared)
            writer.writerow((*row, commented))


def test_the_readme_recipe_trains_serves_and_ranks_a_strangers_log(fulcrum: Command, tmp_path: Path) -> None:
    recipe = readme_block("yaml", "name: own")
    assert len(recipe.splitlines()) <= 30
    (tmp_path / "own.yaml").write_text(recipe)
    data = tmp_path / "mylog"
    data.mkdir()
    write_log(data / "impressions.csv", readme_block("csv", "time,").splitlines()[0])

    checked = fulcrum("schema", "check", tmp_path / "own.yaml", "--data", data)
    assert "3,000 impressions (2,400 to train on, 600 to validate), 150 users, 80 items" in checked.stdout
    bundle, store = tmp_path / "own" / "bundle", tmp_path / "own" / "features"
    run = ("--run", tmp_path / "run")
    fulcrum("train", "--recipe", tmp_path / "own.yaml", "--data", data, "--out", bundle, *run)
    assert "vtr" in fulcrum("evaluate", bundle, "--data", data).stdout
    published = fulcrum("publish", bundle, "--data", data, "--to", store)
    assert "150 users and 80 items" in published.stdout

    (tmp_path / "candidates.txt").write_text("v10\nv11\nv12\nnever-seen\n")
    with serving("--bundle", bundle, "--features", store, log=tmp_path / "service.log") as client:
        ranked = fulcrum(
            *("rank", "--url", client.base_url, "--user", "u3", "--context", "hour=21"),
            *("--candidates", tmp_path / "candidates.txt", "--explain"),
        )
        answer = client.post(
            "/v1/rank", json={"user_id": "u3", "candidate_ids": [f"v{n}" for n in range(80)], "top_k": 80}
        ).json()
    for name in ("v10", "v11", "v12", "never-seen"):
        assert name in ranked.stdout
    # u3 is of the age band that watches cooking, which the even videos are.
    cooking = [item["predictions"]["vcr"] for item in answer["items"] if int(item["id"][1:]) % 2 == 0]
    football = [item["predictions"]["vcr"] for item in answer["items"] if int(item["id"][1:]) % 2 == 1]
    assert sum(cooking) / len(cooking) > sum(football) / len(football) + 0.1
