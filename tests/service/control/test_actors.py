"""Actors: who may do what, by bearer token."""

from __future__ import annotations

import hashlib

import pytest
import yaml

from model.errors import FulcrumError
from service.control.actors import Actors


def entry(name, token, *scopes):
    return {"name": name, "sha256": hashlib.sha256(token.encode()).hexdigest(), "scopes": list(scopes)}


def write(path, *entries):
    path.write_text(yaml.safe_dump({"actors": list(entries)}))
    return path


def test_each_token_is_one_actor_with_its_scopes(tmp_path):
    actors = Actors("secret", write(tmp_path / "t.yaml", entry("anna", "a" * 20, "read", "propose")))
    anna, admin = actors.of("a" * 20), actors.of("secret")
    assert (anna.name, anna.may("propose"), anna.may("activate")) == ("anna", True, False)
    assert (admin.name, all(map(admin.may, ("read", "propose", "activate", "admin")))) == ("admin", True)
    assert actors.of("nobody") is actors.of("") is None


def test_a_token_is_revoked_without_a_restart(tmp_path):
    file = write(tmp_path / "t.yaml", entry("anna", "a", "read"), entry("ben", "b", "read"))
    actors = Actors(None, file)
    assert actors.of("a").name == "anna"
    write(file, entry("ben", "b", "read", "activate"))
    assert actors.of("a") is None
    assert actors.of("b").may("activate")


@pytest.mark.parametrize("content", ["actors: {", "actors: [{name: anna}]", None])
def test_a_file_that_is_bad_by_now_lets_nobody_in_but_the_admin(tmp_path, content):
    file = write(tmp_path / "t.yaml", entry("anna", "a", "read"))
    actors = Actors("secret", file)
    assert actors.of("a")
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    assert actors.of("a") is None
    assert actors.of("secret").name == "admin"
    write(file, entry("anna", "a", "read"))
    assert actors.of("a").name == "anna"


def test_a_token_in_the_place_of_its_hash_is_not_repeated(tmp_path):
    file = write(tmp_path / "t.yaml", {"name": "anna", "scopes": ["read"], "sha256": "MyTokenItself"})
    with pytest.raises(FulcrumError, match="SHA-256 of the token, not the token") as refused:
        Actors(None, file)
    assert "MyTokenItself" not in str(refused.value)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry("admin", "a", "read")], "'admin' is the actor of FULCRUM_ADMIN_TOKEN"),
        ([entry("anna", "a", "read"), entry("anna", "b", "read")], "two actors have the name 'anna'"),
        ([entry("anna", "a", "read"), entry("ben", "a", "read")], "two actors have the sha256"),
        ([entry("anna", "a", "write")], "actors.anna.scopes"),
        ([{**entry("anna", "a", "read"), "token": "a"}], "unknown key"),
    ],
)
def test_a_file_that_is_wrong_at_the_start_is_refused_by_name(tmp_path, entries, message):
    with pytest.raises(FulcrumError, match=message):
        Actors(None, write(tmp_path / "t.yaml", *entries))
