"""A manifest that is broken is refused in one line, by everything that reads folders."""

from collections.abc import Callable
from pathlib import Path

import pytest

from plurel.canvas import read_manifest
from plurel.errors import InputError
from plurel.manifest import read_tables
from rt.raw import read_database

TABLES = "tables:\n  users: {pkey: id}\n  visits: {pkey: id, time_col: t, fkeys: {user: users}}\n"

BROKEN = [
    ("tables: [a: {", "broken YAML"),
    ("val_timestamp: 2020-13-45", "broken YAML"),
    ("val_timestamp: 2020-01-01 00:00:00+99:00", "broken YAML"),
    ("- 1", "must hold keys"),
    ("name: x", "'tables' must name"),
    ("tables: {users: 3}", "table 'users' must be a mapping"),
    ("tables: {users: {fkeys: [a]}}", "table 'users' must be a mapping"),
    ("tables: {users: {pkey: [id]}}", r"table 'users' has \['id'\] for a key"),
    ("tables: {users: {pkey: id, fkeys: {a: [users]}}}", r"has \['users'\] for a key"),
    ("tables: {users: {fkeys: {a: shops}}}", "'users.a' references table 'shops'"),
    ("tables: {users: {fkeys: {a: users}}}", "which has no primary key"),
]


@pytest.mark.parametrize("reader", [read_tables, read_manifest, read_database])
@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_broken_manifests(
    text: str, message: str, reader: Callable[[Path], object], tmp_path: Path
) -> None:
    (tmp_path / "manifest.yaml").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        reader(tmp_path)
    assert str(tmp_path / "manifest.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="broken YAML"):
        read_tables(tmp_path)


def test_keys_of_a_good_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_text("name: shop\n" + TABLES)
    manifest, tables = read_tables(tmp_path)
    assert manifest["name"] == "shop"
    assert tables["users"].foreign_keys == {}
    visits = tables["visits"]
    assert (visits.primary_key, visits.time_column) == ("id", "t")
    assert visits.foreign_keys == {"user": "users"}
    visits.check("visits", ["id", "t", "user"], tmp_path, "visits.parquet")
    with pytest.raises(InputError, match="table 'visits' has no column 'user' in"):
        visits.check("visits", ["id", "t"], tmp_path, "visits.parquet")
