"""Packed rows: what is written is what is read, generation by generation, or an error that names the file."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from model.encoding import Column, EncodedRows, Encoder
from model.errors import FulcrumError
from model.schema import Schema
from model.store.arrays import CHECKSUMS, StoreDamagedError, read_checksums
from model.store.packed import PackedLayout, current_generation, open_tables, update_store, write_store


def encoder_of(words=("a", "b")):
    schema = Schema.model_validate(
        {
            "name": "s",
            "data": {"user": "user", "item": "item", "time": "time", "split": {"last": 0.5}},
            "features": [
                {"name": "word", "side": "user", "kind": "categorical"},
                {"name": "age", "side": "user", "kind": "numeric"},
                {"name": "tab", "side": "context", "kind": "categorical"},
                {"name": "likes", "side": "item", "kind": "numeric"},
            ],
            "tasks": [{"name": "vtr", "type": "binary", "label": "y"}],
        }
    )
    columns = {
        "word": Column(list(words)),
        "age": Column([1.0, None]),
        "tab": Column(["t"]),
        "likes": Column([1.0, 3.0]),
    }
    return Encoder.fit(schema, columns)


ENCODER = encoder_of()


def tables(encoder=ENCODER, words=("b", "a", None), likes=(1.0, 2.0)):
    """Users u0, u1, ... of these words and items v0, v1, ... of these likes."""
    users = encoder.sides["user"].encode({"word": Column(list(words))}, len(words))
    items = encoder.sides["item"].encode({"likes": Column(list(likes))}, len(likes))
    lengths = np.array([31.5, np.nan])[: len(likes)]
    yield "users", [f"u{row}" for row in range(len(words))], PackedLayout.of(encoder, "users").pack(users)
    yield (
        "items",
        [f"v{row}" for row in range(len(likes))],
        PackedLayout.of(encoder, "items").pack(items, lengths),
    )


def current(root, encoder=ENCODER):
    return open_tables(root, encoder)[1]


def test_rows_come_back_as_they_were_packed(tmp_path):
    folder = write_store(tmp_path, ENCODER, tables())
    name, opened = open_tables(tmp_path, ENCODER)
    assert folder == tmp_path / ENCODER.fingerprint / name
    users, items = opened["users"], opened["items"]
    assert (len(users), len(items)) == (3, 2)
    assert users.find(["u2", "unknown", "u0"]).tolist() == [2, -1, 0]
    assert users.records["ids"].tolist() == [[3], [2], [0]]
    assert users.records["numeric"].tolist() == [[0.0, 1.0]] * 3
    assert items.records["numeric"].tolist() == [[-1.0], [0.0]]
    np.testing.assert_array_equal(items.records["video_len_s"], [31.5, np.nan])
    assert "video_len_s" not in users.records.dtype.names


def test_a_user_row_holds_no_context():
    layout = PackedLayout.of(ENCODER, "users")
    assert (layout.ids, layout.numeric, layout.length) == (1, 2, False)
    packed = layout.pack(EncodedRows(np.array([[7]]), np.array([[0.5, 1.0]], np.float32)))
    assert packed["ids"].tolist() == [[7]]


def test_an_empty_table_is_a_table(tmp_path):
    write_store(tmp_path, ENCODER, tables(words=(), likes=()))
    users = current(tmp_path)["users"]
    assert len(users) == 0
    assert users.find(["u0"]).tolist() == [-1]


def test_a_reader_keeps_its_rows_while_new_ones_are_published(tmp_path):
    write_store(tmp_path, ENCODER, tables())
    reader = current(tmp_path)["users"]
    before = reader.records.copy()
    for _ in range(3):
        write_store(tmp_path, ENCODER, tables(words=("a", "a", "a", "a")))
    assert (reader.records == before).all()
    assert reader.find(["u2", "u3"]).tolist() == [2, -1]
    assert current(tmp_path)["users"].records["ids"].tolist() == [[2]] * 4


def test_old_generations_go_but_for_the_one_before(tmp_path):
    written = [write_store(tmp_path, ENCODER, tables()) for _ in range(4)]
    home = tmp_path / ENCODER.fingerprint
    assert {path for path in home.iterdir() if path.is_dir()} == set(written[-2:])
    assert [path.name for path in home.iterdir() if path.is_file()] == ["CURRENT"]


def test_a_publishing_that_fails_midway_leaves_the_old_rows_and_no_trace(tmp_path):
    write_store(tmp_path, ENCODER, tables())
    before = set(tmp_path.rglob("*"))

    def failing():
        yield next(tables(words=("a",)))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_store(tmp_path, ENCODER, failing())
    with pytest.raises(FulcrumError, match="keys are unique"):
        write_store(tmp_path, ENCODER, [("users", ["u0", "u0"], np.zeros(2))])
    assert set(tmp_path.rglob("*")) == before
    assert len(current(tmp_path)["users"]) == 3


def test_a_crash_before_the_pointer_moves_leaves_the_old_rows_current(tmp_path, monkeypatch):
    write_store(tmp_path, ENCODER, tables())

    def crash(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", crash)
        with pytest.raises(OSError, match="no space left"):
            write_store(tmp_path, ENCODER, tables(words=("a",)))
    assert len(current(tmp_path)["users"]) == 3
    write_store(tmp_path, ENCODER, tables(words=("a",)))
    assert len(current(tmp_path)["users"]) == 1


def test_rows_of_two_encoders_live_side_by_side(tmp_path):
    other = encoder_of(("b", "c", "d"))
    write_store(tmp_path, ENCODER, tables())
    write_store(tmp_path, other, tables(other))
    assert current(tmp_path)["users"].records["ids"].tolist() == [[3], [2], [0]]
    assert current(tmp_path, other)["users"].records["ids"].tolist() == [[2], [1], [0]]


def test_a_store_without_this_encoders_rows_names_the_command_that_makes_them(tmp_path):
    with pytest.raises(FulcrumError, match=r"it holds none\); run `fulcrum publish` for"):
        open_tables(tmp_path / "nowhere", ENCODER)
    other = encoder_of(("z",))
    write_store(tmp_path, other, tables(other))
    with pytest.raises(
        FulcrumError, match=rf"no rows of encoder {ENCODER.fingerprint} \(it holds {other.fingerprint}"
    ):
        open_tables(tmp_path, ENCODER)


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def _empty(path):
    path.write_bytes(b"")


def _garbage(path):
    path.write_bytes(b"not an array at all" * 10)


def _foreign(path):
    np.save(path, np.zeros(len(np.load(path)), [("ids", "<i4", (1,))]))


def _pickled(path):
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)


def _shorter(path):
    np.save(path, np.load(path)[:-1])


def _two_dimensional(path):
    np.save(path, np.load(path)[None])


@pytest.mark.parametrize("part", ["rows", "hashes", "index"])
@pytest.mark.parametrize("table", ["users", "items"])
@pytest.mark.parametrize(
    "harm", [_truncate, _empty, _garbage, _foreign, _pickled, _shorter, _two_dimensional, Path.unlink]
)
def test_a_damaged_table_is_refused_by_name(tmp_path, harm, table, part):
    folder = write_store(tmp_path, ENCODER, tables())
    harm(folder / f"{table}.{part}.npy")
    with pytest.raises(FulcrumError, match=rf"{table}\..*publish again") as refused:
        open_tables(tmp_path, ENCODER)
    assert "\n" not in str(refused.value)


def test_an_index_that_points_beyond_the_rows_is_refused(tmp_path):
    folder = write_store(tmp_path, ENCODER, tables())
    np.save(folder / "users.index.npy", np.array([0, 1, 3]))
    with pytest.raises(FulcrumError, match=r"users\.\* disagree about their rows"):
        open_tables(tmp_path, ENCODER)


def test_a_damaged_header_never_passes_for_other_rows(tmp_path):
    folder = write_store(tmp_path, ENCODER, tables())
    path = folder / "items.rows.npy"
    sound, before = path.read_bytes(), current(tmp_path)["items"].records.copy()
    header = len(sound) - before.nbytes
    for position in range(header):
        for bit in (0x01, 0x04, 0x80):
            damaged = bytearray(sound)
            damaged[position] ^= bit
            path.write_bytes(damaged)
            try:
                found = current(tmp_path)["items"].records
            except FulcrumError:
                continue
            assert found.tobytes() == before.tobytes()


def test_a_pointer_to_a_generation_that_is_gone_is_refused(tmp_path):
    write_store(tmp_path, ENCODER, tables())
    (tmp_path / ENCODER.fingerprint / "CURRENT").write_text("20000101T000000-abcdef")
    with pytest.raises(FulcrumError, match=r"20000101T000000-abcdef/users\.rows\.npy is missing or damaged"):
        open_tables(tmp_path, ENCODER)


def rows_of(root, name, keys):
    table = current(root)[name]
    return table.records[table.find(keys)]


def test_an_update_changes_what_differs_and_adds_what_is_new(tmp_path):
    first = update_store(tmp_path, ENCODER, tables())
    before = current_generation(tmp_path, ENCODER)
    users = rows_of(tmp_path, "users", ["u0", "u2"]).copy()
    # u1 has another word, u3 is new; of the items nothing changes.
    changed = update_store(tmp_path, ENCODER, tables(words=("b", "b", None, "a")))
    assert (first, changed) == ({"users": 3, "items": 2}, {"users": 2, "items": 0})
    assert current_generation(tmp_path, ENCODER) != before
    assert rows_of(tmp_path, "users", ["u0", "u2"]).tobytes() == users.tobytes()
    assert rows_of(tmp_path, "users", ["u1", "u3"])["ids"].tolist() == [[3], [2]]


def test_an_update_with_nothing_new_makes_no_generation(tmp_path):
    update_store(tmp_path, ENCODER, tables())
    before = sorted(tmp_path.rglob("*"))
    assert update_store(tmp_path, ENCODER, tables()) == {"users": 0, "items": 0}
    assert sorted(tmp_path.rglob("*")) == before


def test_rows_that_an_update_does_not_name_stay(tmp_path):
    update_store(tmp_path, ENCODER, tables())
    before = rows_of(tmp_path, "users", ["u1", "u2"]).copy()
    update_store(tmp_path, ENCODER, tables(words=("a",), likes=()))
    assert len(current(tmp_path)["users"]) == 3
    assert rows_of(tmp_path, "users", ["u1", "u2"]).tobytes() == before.tobytes()
    assert (current(tmp_path)["items"].find(["v0", "v1"]) >= 0).all()


def test_a_table_that_did_not_change_is_linked(tmp_path):
    update_store(tmp_path, ENCODER, tables())
    update_store(tmp_path, ENCODER, tables(words=("a",)))
    assert {path.stat().st_nlink for path in tmp_path.rglob("items.*")} == {2}


def test_an_update_of_a_damaged_store_makes_it_anew(tmp_path):
    folder = write_store(tmp_path, ENCODER, tables())
    (folder / "users.rows.npy").write_bytes(b"no array")
    assert update_store(tmp_path, ENCODER, tables()) == {"users": 3, "items": 2}
    assert len(current(tmp_path)["users"]) == 3


def test_many_updates_give_what_one_would(tmp_path):
    random = np.random.default_rng(4)
    expected = {}
    layout = PackedLayout.of(ENCODER, "items")
    empty = np.zeros(0, PackedLayout.of(ENCODER, "users").dtype)
    for _ in range(20):
        names = [f"v{number}" for number in random.choice(500, 40, replace=False)]
        records = np.zeros(40, layout.dtype)
        records["numeric"] = random.normal(size=(40, layout.numeric))
        records["video_len_s"] = np.where(random.random(40) < 0.3, np.nan, 12.5)
        expected |= dict(zip(names, records, strict=True))
        update_store(tmp_path, ENCODER, [("users", [], empty), ("items", names, records)])
    found = rows_of(tmp_path, "items", list(expected))
    assert found.tobytes() == b"".join(record.tobytes() for record in expected.values())
    assert len(current(tmp_path)["items"]) == len(expected)


def test_what_a_killed_publishing_left_behind_is_cleared_away(tmp_path):
    write_store(tmp_path, ENCODER, tables())
    home = tmp_path / ENCODER.fingerprint
    (home / ".unfinished-killed").mkdir()
    (home / ".unfinished-killed" / "users.rows.npy").write_bytes(b"half")
    update_store(tmp_path, ENCODER, tables(words=("a",)))
    assert not list(home.glob(".unfinished-*"))


def test_two_publishings_at_once_lose_nothing(tmp_path):
    """Each adds an item of its own to what is there."""
    layout = PackedLayout.of(ENCODER, "items")
    empty = np.zeros(0, PackedLayout.of(ENCODER, "users").dtype)

    def add(number: int) -> None:
        update_store(
            tmp_path, ENCODER, [("users", [], empty), ("items", [f"n{number}"], np.zeros(1, layout.dtype))]
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(24)))
    assert (current(tmp_path)["items"].find([f"n{number}" for number in range(24)]) >= 0).all()


@pytest.mark.parametrize("table", ["users", "items"])
@pytest.mark.parametrize("part", ["rows", "hashes", "index"])
def test_content_that_changed_within_a_file_is_refused(tmp_path, table, part):
    path = write_store(tmp_path, ENCODER, tables()) / f"{table}.{part}.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreDamagedError, match=rf"{table}\.(\*|{part}\.npy is damaged: expected checksum)"):
        open_tables(tmp_path, ENCODER)


def test_an_index_in_another_order_is_refused(tmp_path):
    path = write_store(tmp_path, ENCODER, tables()) / "users.index.npy"
    np.save(path, np.load(path)[::-1])
    with pytest.raises(StoreDamagedError, match=r"users\.index\.npy is damaged: expected checksum"):
        open_tables(tmp_path, ENCODER)


def test_a_table_that_was_linked_has_its_checksums_too(tmp_path):
    update_store(tmp_path, ENCODER, tables())
    update_store(tmp_path, ENCODER, tables(words=("a",)))
    folder = tmp_path / ENCODER.fingerprint / str(current_generation(tmp_path, ENCODER))
    assert read_checksums(folder).keys() == {path.name for path in folder.glob("*.npy")}


def test_a_generation_of_before_there_were_checksums_still_opens(tmp_path):
    (write_store(tmp_path, ENCODER, tables()) / CHECKSUMS).unlink()
    assert len(current(tmp_path)["users"]) == 3


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"users.rows.npy": 1}', b"\xff", b"x" * 100_000])
def test_checksums_that_are_damaged_are_refused(tmp_path, content):
    (write_store(tmp_path, ENCODER, tables()) / CHECKSUMS).write_bytes(content)
    with pytest.raises(StoreDamagedError, match="publish again"):
        open_tables(tmp_path, ENCODER)


def _pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("name", ["users.rows.npy", "items.index.npy", CHECKSUMS, "../CURRENT"])
def test_a_pipe_in_place_of_a_file_is_refused_without_waiting_and_published_over(tmp_path, name):
    _pipe(write_store(tmp_path, ENCODER, tables()) / name)
    with pytest.raises(StoreDamagedError, match="regular file"):
        open_tables(tmp_path, ENCODER)
    assert update_store(tmp_path, ENCODER, tables())["users"] == 3
    assert len(current(tmp_path)["users"]) == 3


def test_a_table_knows_whether_its_files_were_written_to(tmp_path):
    folder = write_store(tmp_path, ENCODER, tables())
    users = current(tmp_path)["users"]
    write_store(tmp_path, ENCODER, tables(words=("a",)))  # another generation: other files
    assert users.untouched
    os.truncate(folder / "users.rows.npy", 10)
    assert not users.untouched
