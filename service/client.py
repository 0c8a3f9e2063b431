"""A client for hands: posts a ranking request, shows the answer as a table. Knows only the HTTP contract."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from model.errors import FulcrumError

__all__ = ["rank", "read_candidates"]

_TIMEOUT_S = 30.0
_WIDTH = 240


def rank(
    url: str,
    user: str | None,
    candidates: Path,
    scene: str | None = None,
    top_k: int | None = None,
    explain: bool = False,
    context: Mapping[str, Any] | None = None,
    timeout_ms: float | None = None,
    as_json: bool = False,
) -> None:
    """Ask the service at `url` and print its answer: a table, or the raw JSON.

    Args:
        url: of the service, `http://127.0.0.1:8000`.
        user: the user's id; None where the file is a whole request.
        candidates: ids one a line, a JSON list of ids or candidates, or a JSON request; `-` is stdin.
        scene: scene of the fusion config.
        top_k: items to ask for.
        explain: ask for the terms of the score.
        context: context features by name.
        timeout_ms: milliseconds that the service may take.
        as_json: print the body as it came.

    Raises:
        FulcrumError: the file cannot be read, the service cannot be reached, or it refused.
    """
    body = read_candidates(candidates)
    given = {"user_id": user, "scene": scene, "top_k": top_k, "timeout_ms": timeout_ms}
    body |= {name: value for name, value in given.items() if value is not None}
    if explain:
        body["explain"] = True
    if context:
        body["context"] = {**body.get("context", {}), **context}
    if "user_id" not in body:
        raise FulcrumError(f"{candidates}: no user_id in this request; give --user")
    answer = _post(url, body)
    if as_json:
        sys.stdout.write(answer.text + "\n")
        return
    # A file or a pipe is as wide as the table; a terminal is as wide as it is.
    _show(orjson.loads(answer.content), Console(width=None if sys.stdout.isatty() else _WIDTH))


def read_candidates(file: Path) -> dict[str, Any]:
    """The file as a request's body, or the part of one that names candidates.

    Raises:
        FulcrumError: it cannot be read, or holds no candidates.
    """
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FulcrumError(f"candidates {file}: cannot be read ({error})") from error
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


def _post(url: str, body: Mapping[str, Any]) -> httpx.Response:
    endpoint = f"{url.rstrip('/')}/v1/rank"
    try:
        answer = httpx.post(
            endpoint,
            content=orjson.dumps(body),
            headers={"content-type": "application/json"},
            timeout=_TIMEOUT_S,
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise FulcrumError(f"{endpoint}: no answer ({error}); is `fulcrum serve` running there?") from error
    if answer.status_code != httpx.codes.OK:
        raise FulcrumError(f"{endpoint}: {_refusal(answer)}")
    return answer


def _refusal(answer: httpx.Response) -> str:
    try:
        problem = orjson.loads(answer.content)
        detail = "; ".join(f"{e['field']}: {e['message']}" for e in problem.get("errors", ()))
        return f"{problem['status']} {problem['title']}: {detail or problem['detail']}"
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return f"status {answer.status_code}; expected a Fulcrum service there"


def _show(answer: Mapping[str, Any], console: Console) -> None:
    items = answer["items"]
    tasks = next((list(item["predictions"]) for item in items if item.get("predictions")), [])
    terms = next((list(item["terms"]) for item in items if item.get("terms")), [])
    headers = ["rank", "id", "score", *tasks, *(f"{term} term" for term in terms), "status"]
    table = Table(*headers, box=box.SIMPLE_HEAD, padding=(0, 1))
    for item in items:
        predictions, explained = item.get("predictions") or {}, item.get("terms") or {}
        table.add_row(
            str(item["rank"]),
            Text(item["id"]),
            _number(item["score"]),
            *(_number(predictions.get(task)) for task in tasks),
            *(_number(explained.get(term, {}).get("term")) for term in terms),
            item["status"],
        )
    console.print(table)
    model, fusion = answer["model"], answer["fusion"]
    console.print(
        f"{model['name']} {model['version'][:19]} ({model['variant']}), "
        f"fusion {fusion['version'][:19]} scene {fusion['scene']}, "
        f"{answer['scored']} scored in {answer['took_ms']} ms"
        + (f", degraded: {', '.join(answer['degraded'])}" if answer["degraded"] else ""),
        markup=False,
        highlight=False,
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
