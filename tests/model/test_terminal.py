"""Tables on a terminal: whatever the number of columns, every cell can be read."""

import math

import pytest
from rich.console import Console

from model.terminal import print_json, print_table


@pytest.mark.parametrize(("tasks", "tables"), [(1, 1), (7, 1), (40, 5)])
def test_a_table_wider_than_the_console_is_printed_in_parts_that_repeat_its_keys(tasks, tables, capsys):
    headers = ["rank", "id", *(f"task{task}" for task in range(tasks))]
    rows = [[str(rank), f"v{rank}", *(f"{rank}.{task:04}" for task in range(tasks))] for rank in (1, 2)]
    print_table(Console(width=80), headers, rows, keys=2)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    words = " ".join(lines).split()
    assert words.count("rank") == words.count("v1") == words.count("v2") == tables
    assert all(words.count(cell) == 1 for row in rows for cell in row[2:])


def test_one_column_too_wide_for_the_console_is_printed_all_the_same(capsys):
    print_table(Console(width=20), ["id", "text", "more"], [["v1", "x" * 50, "y" * 50]], keys=1)
    out = capsys.readouterr().out
    assert (out.count("v1"), out.count("x") > 1, out.count("y") > 1) == (2, True, True)


def test_a_number_that_json_has_no_word_for_is_null(capsys):
    print_json({"auc": math.nan, "interval": (math.nan, math.inf), "rows": 3})
    assert capsys.readouterr().out == '{"auc":null,"interval":[null,null],"rows":3}\n'
