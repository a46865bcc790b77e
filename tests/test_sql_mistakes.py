"""SQL files with mistakes: refused with their line, or named; and what is skipped with reason."""

from pathlib import Path

import pytest
from sql_databases import config

from plurel.dataset import SyntheticDataset
from plurel.errors import InputError
from plurel.sql import read_sql
from plurel.sql_model import SqlDatabase


def read(text: str, folder: Path, dialect: str | None = None, strict: bool = True) -> SqlDatabase:
    path = folder / "a.sql"
    path.write_text(text)
    return read_sql(str(path), dialect, strict)


U = "CREATE TABLE u (a int PRIMARY KEY);\n"
BAD = {
    "CREATE TABLE t (id int PRIMARY KEY,\n x frobnicator);": (
        r"line 2: column t\.x has the type frobnicator, which is neither"
    ),
    "CREATE TABLE t (id int PRIMARY KEY,\n\n x int y z);": r"line 3: not understood at",
    "CREATE TABLE t (id int,\n FOREIGN KEY (id) REFERENCES u (id));": (
        r"line 2: foreign key \(id\) of table t references table u, which the file doesn't declare"
    ),
    "CREATE TABLE u (a int);\nCREATE TABLE t (a int REFERENCES u);": (
        r"line 2: foreign key \(a\) of table t: u has no primary key"
    ),
    U + "CREATE TABLE t (a int, b int,\n FOREIGN KEY (a, b) REFERENCES u);": (
        r"line 3: foreign key \(a, b\) of table t has 2 columns, but references 1"
    ),
    "CREATE TABLE u (a int);\nCREATE TABLE t (a int REFERENCES u (a));": (
        r"line 2: .* references u \(a\), which is neither its primary key nor unique"
    ),
    U + "CREATE TABLE t (a int REFERENCES u (b));": r"line 2: table u has no column b",
    "CREATE TABLE t (a int,\n PRIMARY KEY (b));": r"line 2: table t has no column b",
    "CREATE TABLE t (a int);\nCREATE TABLE T (a int);": r"line 2: table T is .*twice; rename one",
    "CREATE TABLE t (a int, A text);": r"line 1: table t has two columns A",
    "SELECT 1;\n": r"line 1: there is no CREATE TABLE statement",
    "CREATE TABLE t AS SELECT 1 AS a;": r"line 1: .* list the table's columns in parentheses",
    U + "ALTER TABLE v ADD PRIMARY KEY (a);": r"line 2: table v is not declared before",
    "CREATE TABLE t (a text DEFAULT 'open);\n": r"line 1: this quote ' is never closed",
    U + "CREATE TABLE t (a int)\nCREATE TABLE c (a int);": (
        r"line 3: 'CREATE TABLE c \(a int\)' stands inside the statement of line 2; end that"
    ),
    "SET x = 1\n" + U + "CREATE TABLE t (a int);": r"line 2: 'CREATE TABLE u .* stands inside",
    "DROP TABLE u\n;" + U + "CREATE TABLE t (a int) CREATE TABLE c (a int);": (
        r"line 3: 'CREATE TABLE c \(a int\)' can't follow a table's columns"
    ),
    U + "CREATE TABLE t (\n a int)\nCREAT TABLE c (a int);": r"line 4: 'TABLE c .*can't follow",
    U + "CREATE TABLE t (\n a int\n));": r"line 4: '\)' can't follow a table's columns",
    "CREATE TABLE t (\n a int CHECK (a > 5 AND a < 3));": (
        r"line 2: CHECK \(a < 3\) of table t leaves no value of column a; change the check"
    ),
    U + "CREAT TABLE t (a int);": r"line 2: 'CREAT TABLE t \(a int\)' is not understood",
    U + "\nCREATE TABEL t (a int);": r"line 3: 'CREATE TABEL t \(a int\)' is not understood",
    U + "TABLE t (a int);": r"line 2: 'TABLE t \(a int\)' is not understood",
    U + "CREATE UNQIUE INDEX i ON u (a);": r"line 2: 'CREATE UNQIUE INDEX .* is not understood",
    U + "ALTER TABEL u ADD UNIQUE (a);": r"line 2: 'ALTER TABEL u .* is not understood",
    U
    + "ALTER TABLE u ADD UNIQE (sequence);": r"line 2: 'ALTER TABLE u ADD UNIQE .* not understood",
    "CREATE TABLE t (a int PRIMARY KEY,\n,\n b text DEFAULT ',,');": r"line 2: a comma too many",
    "CREATE TABLE t (a int PRIMARY KEY,\n b int,\n);": r"line 2: a comma too many",
    "CREATE TABLE t (\n, a int PRIMARY KEY);": r"line 2: a comma too many",
    "CREATE TABLE t (a int PRIMARY KEY,\n b varchar(ten));": (
        r"line 2: column t\.b has the type VARCHAR\(TEN\), which is neither"
    ),
    "CREATE TABLE u (k varchar(3) PRIMARY KEY);\nCREATE TABLE t (k int REFERENCES u);": (
        r"line 2: t\.k can't hold what u\.k holds; give both the same type"
    ),
}


@pytest.mark.parametrize("text", BAD)
def test_bad_files_are_refused_with_their_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text(text)
    with pytest.raises(InputError, match=BAD[text]) as caught:
        SyntheticDataset(0, config(tmp_path / "a.sql")).make_schema()
    assert str(caught.value).startswith(f"{tmp_path / 'a.sql'}, line ")
    assert "\n" not in str(caught.value)


SKIPPED = """
/*!40101 SET NAMES utf8 */;
USE shop; BEGIN; LOCK TABLES `a` WRITE; UNLOCK TABLES; COMMIT;
GRANT SELECT ON t TO PUBLIC;
CREATE DATABASE IF NOT EXISTS d; CREATE SCHEMA s; CREATE EXTENSION IF NOT EXISTS x;
CREATE OR REPLACE VIEW v AS SELECT 1; CREATE MATERIALIZED VIEW w AS SELECT 1;
CREATE ALGORITHM=UNDEFINED DEFINER=`root`@`localhost` SQL SECURITY DEFINER VIEW v AS SELECT 1;
CREATE INDEX i ON t (a); CREATE FULLTEXT INDEX f ON t (a);
CREATE SEQUENCE q; ALTER SEQUENCE q OWNED BY t.a; ALTER DEFAULT PRIVILEGES GRANT SELECT ON x TO y;
CREATE TEXT SEARCH CONFIGURATION c (COPY = simple); CREATE EVENT TRIGGER e ON ddl_command_start;
CREATE TEMPORARY TABLE z (a int);
INSERT INTO t VALUES ('
CREATE TABLE hidden (a int);
');
DELIMITER ;;
CREATE PROCEDURE p() BEGIN
CREATE TABLE hidden (a int);
lab: LOOP LEAVE lab; END LOOP;
END ;;
DELIMITER ;
CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET a = 1; DELETE FROM t; END;
CREATE OR REPLACE TABLE event (a int PRIMARY KEY) ENGINE=InnoDB COMMENT='drop table;';
"""


def test_what_declares_no_table_is_skipped(tmp_path: Path) -> None:
    found = read(SKIPPED, tmp_path, "mysql")
    assert list(found.by_name) == ["event"]
    assert found.by_name["event"].line == 22
    assert found.left_out == ()


LEFT_OUT = """CREATE TABLE t (
  id int PRIMARY KEY,
  a int CHECK (a % 2 = 0),
  b int GENERATED ALWAYS AS (a * 2) STORED,
  c int CHECK (c > id), d text CHECK (d LIKE '%x%'),
  EXCLUDE USING gist (a WITH =)
);
CREATE UNIQUE INDEX i ON t (lower(d));
ALTER TABLE t RENAME TO u;
CREAT TABLE v (id int);
"""


def test_what_is_not_understood_is_named_or_left_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 4: the expression that computes column t\.b is"):
        read(LEFT_OUT, tmp_path)
    found = read(LEFT_OUT, tmp_path, strict=False)
    assert [note.split(":")[0] for note in found.left_out] == [
        *("line 4", "line 6", "line 8", "line 9", "line 10", "line 3", "line 5"),
    ]
    loose = config(tmp_path / "a.sql", strict=False)
    schema = SyntheticDataset(0, loose).make_schema()
    assert schema.left_out == found.left_out
    assert schema.tables[0].sql is not None
    assert schema.tables[0].sql.ordered == ()
