"""`fulcrum rank`: asks a running service, and shows its answer as a table."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.text import Text

from model.errors import FulcrumError
from model.terminal import print_table

_WIDTH, _TOP_K = 240, 20


def rank(
    candidates: Annotated[
        Path,
        typer.Option(
            "--candidates", help="Ids, one per line, a JSON list, or a whole request; - for standard input."
        ),
    ],
    user: Annotated[str | None, typer.Option("--user", help="User id, if the file names none.")] = None,
    url: Annotated[str, typer.Option("--url", help="Where the service listens.")] = "http://127.0.0.1:8000",
    scene: Annotated[
        str | None, typer.Option("--scene", help="Scene of the fusion config; default where absent.")
    ] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", help="Items to return; 20 where absent.")] = None,
    context: Annotated[
        list[str] | None, typer.Option("--context", metavar="NAME=VALUE", help="A context feature.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show each term of the score.")] = False,
    timeout_ms: Annotated[float | None, typer.Option("--timeout-ms", help="Deadline of the ranking.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the service's answer as it is.")] = False,
) -> None:
    """Ask a running service to rank candidates for a user: a client for people."""
    from model.client import ask  # httpx takes a tenth of a second to import

    body = {"top_k": _TOP_K} | read_candidates(candidates)
    given = {"user_id": user, "scene": scene, "top_k": top_k, "timeout_ms": timeout_ms}
    body |= {name: value for name, value in given.items() if value is not None}
    if explain:
        body["explain"] = True
    if context:
        body["context"] = {**body.get("context", {}), **_context(context)}
    if "user_id" not in body:
        raise FulcrumError(f"candidates {candidates}: no user_id in this request; give --user")
    answer = ask(url, "/v1/rank", body)
    if json:
        sys.stdout.write(answer.decode() + "\n")
        return
    # A file or a pipe is as wide as the table; a terminal is as wide as it is.
    _show(orjson.loads(answer), Console(width=None if sys.stdout.isatty() else _WIDTH))


def read_candidates(file: Path) -> dict[str, Any]:
    """The file as a request's body, or the part of one that names candidates.

    Raises:
        FulcrumError: it cannot be read, or holds no candidates.
    """
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        text = content.decode("utf-8-sig")  # Windows' editors begin a file with a byte order mark
    except OSError as error:
        raise FulcrumError(f"candidates {file}: cannot read the file: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FulcrumError(f"candidates {file}: byte {error.start} is not UTF-8") from error
    if not text.lstrip().startswith(("{", "[")):
        ids = [line.strip() for line in text.splitlines() if line.strip()]
        if not ids:
            raise FulcrumError(f"candidates {file}: empty; expected one id a line, or JSON")
        return {"candidate_ids": ids}
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise FulcrumError(f"candidates {file}: not valid JSON ({error})") from error
    if isinstance(document, dict):
        return document
    whole = any(isinstance(entry, dict) for entry in document)
    return {"candidates" if whole else "candidate_ids": document}


def _context(pairs: list[str]) -> dict[str, Any]:
    context: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise FulcrumError(f"--context {pair}: expected NAME=VALUE, such as hour=21")
        try:
            context[name] = orjson.loads(text)
        except orjson.JSONDecodeError:
            context[name] = text
    return context


def _show(answer: Mapping[str, Any], console: Console) -> None:
    items = answer["items"]
    tasks = next((list(item["predictions"]) for item in items if item.get("predictions")), [])
    terms = next((list(item["terms"]) for item in items if item.get("terms")), [])
    headers = ["rank", "id", "score", *tasks, *(f"{term} term" for term in terms), "status"]
    rows = []
    for item in items:
        predictions, explained = item.get("predictions") or {}, item.get("terms") or {}
        numbers = [predictions.get(task) for task in tasks]
        numbers += [explained.get(term, {}).get("term") for term in terms]
        named = (str(item["rank"]), Text(item["id"]), _number(item["score"]))
        rows.append([*named, *map(_number, numbers), item["status"]])
    print_table(console, headers, rows, keys=3)
    model, fusion = answer["model"], answer["fusion"]
    console.print(
        f"{model['name']} {model['version'][:19]} ({model['variant']}), "
        f"fusion {fusion['version'][:19]} scene {fusion['scene']}"
        + (f" segment {fusion['segment']}" if fusion.get("segment") else "")
        + "".join(f" {name}" for name in fusion["experiments"])
        + ", "
        f"{answer['scored']} scored in {answer['took_ms']} ms"
        + (f", degraded: {', '.join(answer['degraded'])}" if answer["degraded"] else ""),
        markup=False,
        highlight=False,
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
