"""`fulcrum rank`: what it asks, shows and refuses."""

from __future__ import annotations

import io
import json
import socket
from pathlib import Path

import pytest

from model.errors import FulcrumError
from service.commands.rank import rank, read_candidates


@pytest.fixture
def url(served):
    return str(served.http.base_url)


@pytest.fixture
def candidates(tmp_path):
    def write(text: str) -> Path:
        file = tmp_path / "candidates"
        file.write_text(text)
        return file

    return write


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("v1\n\n v2 \n", {"candidate_ids": ["v1", "v2"]}),
        ('["v1", "v2"]', {"candidate_ids": ["v1", "v2"]}),
        ('[{"id": "v1", "video_len": 3}]', {"candidates": [{"id": "v1", "video_len": 3}]}),
        ('{"user_id": "u", "candidate_ids": ["v1"]}', {"user_id": "u", "candidate_ids": ["v1"]}),
    ],
)
def test_candidates_come_in_many_shapes(candidates, text, body):
    assert read_candidates(candidates(text)) == body


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("v1\r\nv2\r\n", {"candidate_ids": ["v1", "v2"]}),
        ('["v1", "v2"]', {"candidate_ids": ["v1", "v2"]}),
        ('{"user_id": "u"}', {"user_id": "u"}),
    ],
)
def test_a_byte_order_mark_is_no_part_of_the_first_id(candidates, monkeypatch, text, body):
    file = candidates("\ufeff" + text)
    assert read_candidates(file) == body
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes()), "ascii"))
    assert read_candidates(Path("-")) == body


def test_candidates_come_from_stdin(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"v1\nv2"), "ascii"))
    assert read_candidates(Path("-")) == {"candidate_ids": ["v1", "v2"]}


def test_an_answer_is_shown_as_a_table(url, candidates, capsys):
    rank(candidates("v1\nv2\nv3"), "u1", url, top_k=2, explain=True, context=["hour=3"])
    shown = capsys.readouterr().out
    for word in ("v1", "vtr", "video_len term", "tiny-mlp", "scene default", "3 scored"):
        assert word in shown, word


def test_a_file_may_be_a_whole_request(url, candidates, capsys):
    rank(candidates('{"user_id": "u1", "candidate_ids": ["v1", "v2"], "top_k": 1}'), url=url, json=True)
    assert len(json.loads(capsys.readouterr().out)["items"]) == 1


def test_an_answer_may_stay_json(url, candidates, capsys):
    rank(candidates("v1\nv2"), "u1", url, json=True)
    assert json.loads(capsys.readouterr().out)["scored"] == 2


def test_a_refusal_names_the_field(url, candidates):
    with pytest.raises(FulcrumError, match=r"422 .*context\.tabb: unknown context feature"):
        rank(candidates("v1"), "u1", url, context=["tabb=1"])


def test_no_service_is_said_clearly(candidates):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(FulcrumError, match="is `fulcrum serve` running there"):
        rank(candidates("v1"), "u1", f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "socks5://127.0.0.1:1", "nonsense://127.0.0.1:1"])
def test_no_proxy_of_the_environment_stands_before_what_listens_here(
    url, candidates, capsys, monkeypatch, proxy
):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for address in (url, url.replace("127.0.0.1", "localhost")):
        rank(candidates("v1"), "u1", address, json=True)
        assert json.loads(capsys.readouterr().out)["scored"] == 1
    # To other hosts it is used, and one that cannot be is a line of its own.
    with pytest.raises(FulcrumError, match=r"no answer|no way there; correct or unset HTTP_PROXY"):
        rank(candidates("v1"), "u1", "http://ranking.example")


def test_an_address_is_shown_without_its_password(candidates):
    for address in (
        "http://someone:secret@127.0.0.1:1",
        "http://someone:secret@127.0.0.1:port",
        "ftp://a:secret@b",
    ):
        with pytest.raises(FulcrumError) as refused:
            rank(candidates("v1"), "u1", address)
        assert "secret" not in str(refused.value)


def test_another_service_is_said_clearly(url, candidates):
    with pytest.raises(FulcrumError, match="404 Not Found"):
        rank(candidates("v1"), "u1", f"{url}/elsewhere")


@pytest.mark.parametrize("text", ["", "[1,", "{"])
def test_a_bad_file_is_refused(url, candidates, text):
    with pytest.raises(FulcrumError, match=r"^candidates "):
        rank(candidates(text), "u1", url)


def test_a_missing_file_is_refused(url, tmp_path):
    with pytest.raises(FulcrumError, match="cannot read the file: No such file"):
        rank(tmp_path / "absent", "u1", url)


def test_a_missing_user_is_refused(url, candidates):
    with pytest.raises(FulcrumError, match="give --user"):
        rank(candidates("v1"), None, url)
