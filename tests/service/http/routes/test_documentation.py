"""The interactive documentation: whole without the internet, and behind a prefix of paths."""

from __future__ import annotations

import re
from urllib.parse import urljoin

import pytest

REFERENCES = re.compile(r"""(?:href=|src=|["']?url["']?: ?)["']([^"']*)["']""")


@pytest.fixture
def page(served):
    answer = served.http.get("/docs")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    return answer.text


def test_the_page_names_no_other_host(page):
    assert "//" not in re.sub(r"^\s*//.*", "", page.replace("<!-- ", ""), flags=re.MULTILINE)


@pytest.mark.parametrize("prefix", ["/", "/ranking/", "/a/b/"])
def test_all_that_the_page_names_is_there_behind_any_prefix_that_a_proxy_strips(served, page, prefix):
    found = [urljoin(f"http://host{prefix}docs", reference) for reference in REFERENCES.findall(page)]
    paths = [url.removeprefix(f"http://host{prefix}") for url in found]
    assert sorted(paths) == [
        "docs/favicon.png",
        "docs/swagger-ui-bundle.js",
        "docs/swagger-ui.css",
        "openapi.json",
    ]
    for path in paths:
        assert served.http.get(f"/{path}").status_code == 200
    (server,) = served.http.get("/openapi.json").json()["servers"]
    assert urljoin(f"http://host{prefix}openapi.json", server["url"]) == f"http://host{prefix}"


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("swagger-ui-bundle.js", "text/javascript"),
        ("swagger-ui.css", "text/css"),
        ("favicon.png", "image/png"),
    ],
)
def test_a_part_of_the_page_says_what_it_is(served, name, media_type):
    answer = served.http.get(f"/docs/{name}")
    assert answer.headers["content-type"].split(";")[0] == media_type
    assert len(answer.content) > 1000


@pytest.mark.parametrize("name", ["redoc.standalone.js", "..%2fcore.py", "%2fetc%2fpasswd"])
def test_nothing_else_of_the_folder_is_served(served, name):
    answer = served.http.get(f"/docs/{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("path", ["/livez/", "/docs/", "/v1/fusion/", "/docs//elsewhere.example/"])
def test_no_caller_is_sent_to_a_host_of_its_own_choice(served, path):
    for host in ("elsewhere.example", "x/y?z"):
        answer = served.http.get(path, headers={"host": host})
        assert (answer.status_code, "location" in answer.headers) == (404, False)
        assert f"there is no {path};" in answer.json()["detail"]
