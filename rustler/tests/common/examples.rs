//! A few tiny stores that between them have every shape: the starts of the fuzzer.

use super::{Row, Table};

fn table(is_task: bool, columns: &[usize], rows: Vec<Row>) -> Table {
    Table {
        is_task,
        columns: columns.to_vec(),
        rows,
    }
}

fn row(time: Option<i64>, parents: &[u32], cells: &[Option<u32>]) -> Row {
    Row {
        time,
        parents: parents.to_vec(),
        cells: cells.to_vec(),
    }
}

/// Users, their orders in time, and label rows of users.
fn shop() -> Vec<Table> {
    let users = (0..3).map(|i| row(None, &[], &[Some(i), (i > 0).then_some(i)]));
    let orders = (0..6).map(|i| row(Some(i64::from(i)), &[i % 3], &[Some(i), None, Some(1)]));
    let labels = (0..4).map(|i| row(Some(i64::from(i) * 2), &[i % 2], &[Some(i)]));
    vec![
        table(false, &[0, 1], users.collect()),
        table(false, &[0, 1, 3], orders.collect()),
        table(true, &[3], labels.collect()),
    ]
}

/// Rows that reference themselves, each other, the same row twice; tables without rows or columns.
fn odd() -> Vec<Table> {
    let knots = vec![
        row(Some(-1), &[0, 1, 1], &[Some(3)]),
        row(None, &[0, 1, 2], &[None]),
        row(Some(i64::MAX), &[1, 3], &[Some(0)]),
    ];
    vec![
        table(false, &[2], knots),
        table(false, &[0, 0], vec![]),
        table(false, &[], vec![row(Some(i64::MIN + 1), &[0], &[])]),
        table(true, &[1], vec![row(Some(4), &[2], &[Some(1)])]),
    ]
}

/// A row with more parents and one with more children than are searched one by one.
fn wide() -> Vec<Table> {
    let many: Vec<u32> = (0..80).collect();
    let mut rows = vec![row(None, &many, &[Some(1)])];
    rows.extend((1..80).map(|i| row(Some(i % 7), &[0], &[Some(2)])));
    vec![table(false, &[0], rows)]
}

pub fn all() -> Vec<Vec<Table>> {
    vec![shop(), odd(), wide(), vec![]]
}
