"""SQL files read: dialects, statements, types, constraints; and what is refused, with its line."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sql_databases import DATA, config

from plurel.config import Config
from plurel.dataset import SyntheticDataset
from plurel.errors import InputError
from plurel.sql import read_sql
from plurel.sql_model import Ordered, SqlColumn, SqlDatabase, SqlTable, SqlType
from plurel.sql_text import detect_dialect, statements


def read(text: str, folder: Path, dialect: str | None = None, strict: bool = True) -> SqlDatabase:
    path = folder / "a.sql"
    path.write_text(text)
    return read_sql(str(path), dialect, strict)


def table_of(body: str, folder: Path, dialect: str = "postgres") -> SqlTable:
    """The table t with the lines of `body`, beside a table that it may reference."""
    other = "CREATE TABLE o (a INTEGER, b INTEGER, PRIMARY KEY (a, b), UNIQUE (a));\n"
    return read(f"{other}CREATE TABLE t (\n{body}\n);", folder, dialect).by_name["t"]


def column_of(column: str, folder: Path, dialect: str = "postgres") -> SqlColumn:
    return table_of(f"c {column}", folder, dialect).column("c")


@pytest.mark.parametrize(
    ("dialect", "spelled", "expected"),
    [
        ("postgres", "int4", {"base": "integer", "low": -(2**31), "high": 2**31 - 1}),
        ("postgres", "smallserial", {"base": "integer", "high": 2**15 - 1}),
        ("postgres", "numeric(6,2)", {"base": "decimal", "scale": 2, "high": 9999.99}),
        ("postgres", "numeric(5)", {"base": "decimal", "scale": 0, "high": 99999}),
        ("postgres", "money", {"base": "decimal", "scale": 2}),
        ("postgres", "double precision", {"base": "float"}),
        ("postgres", "character varying(9)", {"base": "text", "length": 9}),
        ("postgres", "char", {"base": "text", "length": 1}),
        ("postgres", '"char"', {"base": "text"}),
        ("postgres", "text[]", {"base": "text", "form": "array"}),
        ("postgres", "public.citext", {"base": "text"}),
        ("postgres", "uuid", {"base": "text", "form": "uuid"}),
        ("postgres", "jsonb", {"base": "text", "form": "json"}),
        ("postgres", "bit varying(5)", {"base": "text", "form": "bits"}),
        ("postgres", "bytea", {"base": "binary"}),
        ("postgres", "timestamp(3) with time zone", {"base": "timestamp"}),
        ("postgres", "time without time zone", {"base": "time"}),
        ("mysql", "int(10) unsigned zerofill", {"base": "integer", "low": 0, "high": 2**32 - 1}),
        ("mysql", "tinyint(1)", {"base": "boolean"}),
        ("mysql", "tinyint(4)", {"base": "integer", "high": 127}),
        ("mysql", "bit(1)", {"base": "boolean"}),
        ("mysql", "year(4)", {"base": "integer", "form": "year"}),
        ("mysql", "decimal(4,2) unsigned", {"base": "decimal", "low": 0, "high": 99.99}),
        ("mysql", "double(7,1)", {"base": "decimal", "scale": 1}),
        ("mysql", "national varchar(7)", {"base": "text", "length": 7}),
        (
            "mysql",
            "enum('a','b, c','it''s')",
            {"base": "category", "values": ("a", "b, c", "it's")},
        ),
        ("mysql", "set('x','y')", {"base": "category", "values": ("x", "y", "x,y")}),
        ("mysql", "point NOT NULL SRID 4326", {"base": "text", "form": "point"}),
        ("mysql", "char(2) CHARACTER SET utf8 COLLATE utf8_bin", {"base": "text", "length": 2}),
        ("sqlite", "", {"base": "text"}),
        ("sqlite", "UNSIGNED BIG INT", {"base": "integer", "high": 2**63 - 1}),
        ("sqlite", "INT8", {"base": "integer", "high": 2**63 - 1}),
        ("sqlite", "VARYING CHARACTER(7)", {"base": "text", "length": 7}),
        ("sqlite", "NUMERIC", {"base": "decimal"}),
        ("sqlite", "DATETIME", {"base": "timestamp"}),
    ],
)
def test_types(dialect: str, spelled: str, expected: dict[str, Any], tmp_path: Path) -> None:
    kind = column_of(spelled, tmp_path, dialect).type
    assert {name: getattr(kind, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("int CHECK (c > 0)", {"low": 1}),
        ("int CHECK (0 < c AND 9 >= c)", {"low": 1, "high": 9}),
        ("int CHECK (c BETWEEN 2 AND 2.5)", {"low": 2, "high": 2}),
        ("int CHECK (c <> 0 AND c >= 0)", None),
        ("int CHECK ((c >= 0) AND (c <> 0))", {"low": 1}),
        ("numeric(4,1) CHECK (c > -1.5)", {"low": -1.4}),
        ("numeric(4,1) CHECK (c < 0.3)", {"high": 0.2}),
        ("int CHECK (c IN (3, 1))", {"base": "category", "values": (3, 1)}),
        ("int CHECK (c = 4 OR c IN (2, 3) OR c IS NULL)", {"values": (4, 2, 3)}),
        ("int CHECK (c IS NULL OR c > 5)", {"low": 6}),
        ("text CHECK (c IN ('x', 'y')) CHECK (c <> '')", None),
        (
            "text CHECK ((c)::text = ANY ((ARRAY['u'::text, 'v'::text])::text[]))",
            {"values": ("u", "v")},
        ),
        (
            "varchar(9) CHECK (length(c) >= 4 AND char_length(c) < 8)",
            {"min_length": 4, "length": 7},
        ),
        ("boolean CHECK (c IN (0, 1))", {"base": "boolean"}),
        (
            "date CHECK (c >= '2001-02-03' AND c <= CURRENT_DATE)",
            {"low": 981158400.0, "high": None},
        ),
    ],
)
def test_checks(column: str, expected: dict[str, Any] | None, tmp_path: Path) -> None:
    if expected is None:
        with pytest.raises(InputError, match=r"line 3: CHECK \(c <> .* is not understood"):
            column_of(column, tmp_path)
        return
    kind = column_of(column, tmp_path).type
    found = {name: getattr(kind, name) for name in expected}
    assert found == {n: pytest.approx(v) if type(v) is float else v for n, v in expected.items()}


def test_constraints_of_tables_and_alterations(tmp_path: Path) -> None:
    text = """
    SET search_path = public; -- a ';' in a comment
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE DOMAIN public.share AS numeric(3,2) DEFAULT 0 CHECK (VALUE >= 0 AND VALUE <= 1);
    CREATE TABLE "a b" (id integer NOT NULL, "Mixed Case" text, m mood, s public.share NOT NULL);
    CREATE TABLE c (
        CONSTRAINT one UNIQUE (x, y), x int, y int, low int, high int,
        FOREIGN KEY (x) REFERENCES "a b", CHECK (low < high)
    );
    CREATE FUNCTION f() RETURNS trigger AS $body$ CREATE TABLE no (x int); '$body$ LANGUAGE sql;
    INSERT INTO c VALUES (1, 2, 'it''s; fine');
    ALTER TABLE ONLY public."a b" ADD CONSTRAINT pk PRIMARY KEY (id);
    ALTER TABLE c ADD CONSTRAINT z FOREIGN KEY (y) REFERENCES public."a b" (id) ON DELETE CASCADE;
    ALTER TABLE c ADD CHECK (y > 3), OWNER TO me;
    ALTER TABLE c ALTER COLUMN x SET NOT NULL;
    ALTER TABLE c ADD COLUMN later date NOT NULL;
    ALTER TABLE c OWNER TO postgres;
    CREATE UNIQUE INDEX i ON c USING btree (low, high);
    CREATE TABLE part PARTITION OF c FOR VALUES IN (1);
    COMMENT ON TABLE c IS 'CREATE TABLE x (a int);';
    """.replace(", OWNER TO me", "")
    found = read(text, tmp_path)
    assert list(found.by_name) == ["a b", "c"]
    first, second = found.tables
    assert first.primary_key == ("id",)
    assert first.names() == ("id", "Mixed Case", "m", "s")
    assert first.column("m").type == SqlType("category", "mood", values=("sad", "ok"))
    share = first.column("s")
    assert (share.type.low, share.type.high, share.not_null) == (0, 1, True)
    assert second.uniques == (("x", "y"), ("low", "high"))
    assert second.ordered == (Ordered("low", "high", True),)
    keys = [(k.columns, k.parent, k.parent_columns, k.line) for k in second.foreign_keys]
    assert keys == [(("x",), "a b", ("id",), 8), (("y",), "a b", ("id",), 13)]
    assert second.column("y").type.low == 4
    assert second.column("x").not_null
    assert second.column("later").type.base == "date"
    assert second.line == 6


def test_mysql_dumps(tmp_path: Path) -> None:
    text = """
    # a comment; with a quote '
    /*!40101 SET @saved = 1 */;
    CREATE TABLE `a` (`id` int(11) NOT NULL, `t` varchar(5) DEFAULT 'x\\'y', KEY `k` (`t`(3)));
    CREATE TABLE b (id int PRIMARY KEY, a_id int, CHECK (id > 0) NOT ENFORCED) ENGINE=InnoDB;
DELIMITER //
CREATE PROCEDURE p() BEGIN CREATE TABLE hidden (x int); END //
DELIMITER ;
    ALTER TABLE `a` ADD PRIMARY KEY (`id`), ADD UNIQUE KEY `u` (`t`);
    ALTER TABLE `a` MODIFY `id` int(11) NOT NULL AUTO_INCREMENT, AUTO_INCREMENT=7;
    ALTER TABLE b ADD CONSTRAINT FOREIGN KEY (a_id) REFERENCES a (id);
    """
    found = read(text, tmp_path)
    assert found.dialect == "mysql"
    assert list(found.by_name) == ["a", "b"]
    assert found.by_name["a"].primary_key == ("id",)
    assert found.by_name["a"].uniques == (("t",),)
    assert found.by_name["a"].column("t").default is not None
    assert found.by_name["b"].foreign_keys[0].parent == "a"


@pytest.mark.parametrize("name", ["chinook", "sakila", "northwind"])
def test_dialects_are_told_apart(name: str) -> None:
    text = (DATA / f"{name}.sql").read_text()
    assert detect_dialect(text) == {"chinook": "sqlite", "sakila": "mysql"}.get(name, "postgres")
    plain = "CREATE TABLE a (id INTEGER PRIMARY KEY, t VARCHAR(3) NOT NULL);"
    assert detect_dialect(plain) == "postgres"
    found = statements(text, detect_dialect(text), name)
    assert {s.kind for s in found} <= {"table", "alter"}


def test_settings_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.sql"
    path.write_text("CREATE TABLE film (id int PRIMARY KEY);")
    settings = config(path)
    assert Config.from_dict(settings.to_dict()) == settings
    sized = settings.overridden(["sql_params.num_rows={film: 5}", "sql_params.dialect=mysql"])
    assert Config.from_dict(sized.to_dict()) == sized
    assert sized.to_dict()["sql_params"]["num_rows"] == {"film": 5}
    assert SyntheticDataset(0, sized).make_schema().tables[0].num_rows == 5
    for override, message in (
        ("sql_params.dialect=oracle", "'oracle' is not one of postgres, mysql, sqlite"),
        ("sql_params.num_rows={film: 0}", r"num_rows\.film must be at least 1"),
        ("sql_params.num_rows=7", "num_rows must map names of tables"),
        ("sql_params.strict=perhaps", "strict must be true or false"),
        ("sql_params.num_rows={fillm: 3}", "declares no table 'fillm'; did you mean 'film'"),
    ):
        with pytest.raises(InputError, match=message):
            SyntheticDataset(0, settings.overridden([override])).make_schema()
    missing = replace(settings, schema_file=str(tmp_path / "none.sql"))
    with pytest.raises(InputError, match=r"none\.sql does not exist"):
        SyntheticDataset(0, missing).make_schema()
    (tmp_path / "b.sql").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"b\.sql can't be read: not UTF-8"):
        read_sql(str(tmp_path / "b.sql"))
