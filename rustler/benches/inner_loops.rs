//! The inner loops one by one: `cargo bench --features bench`, with ` -- open` for some of them.
//! Whole paths (preprocessing, sampling, training) are measured by `benchmarks/`.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rustler::assemble::{Batch, assemble};
use rustler::batch::{Built, Sampler};
use rustler::context::{Cell, Context};
use rustler::idmap::IdMap;
use rustler::kernels::attention::{Input, Qkv, forward};
use rustler::kernels::backward::{Saved, backward};
use rustler::kernels::groups::{GroupArrays, Groups};
use rustler::recipe::{Order, Recipe};
use rustler::store::Store;
use rustler::visibility::Split;

#[path = "../tests/common/mod.rs"]
mod common;

use common::exercise::{first_columns, published, settings, with_labels};
use common::{Row, Table, folder_in_memory, write};

const CELLS: usize = 1024;

/// Numbers in 0..n without a generator's crate: a linear congruence, its high bits.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(n)) as u32
    }
}

/// Customers, products and orders of one product by one customer, in time; four cells a row.
fn shop(orders: u32) -> Vec<Table> {
    let mut draw = Draw(1);
    let (customers, products) = (orders / 20, orders / 100);
    let mut rows = |count: u32, with_parents: bool| -> Vec<Row> {
        let row = |i: u32| Row {
            time: with_parents.then_some(i64::from(i)),
            parents: match with_parents {
                true => vec![draw.below(customers), customers + draw.below(products)],
                false => vec![],
            },
            cells: (0..4).map(|_| Some(draw.below(1000))).collect(),
        };
        (0..count).map(row).collect()
    };
    let table = |rows| Table {
        is_task: false,
        columns: vec![0, 1, 2, 3],
        rows,
    };
    let tables = [(customers, false), (products, false), (orders, true)];
    tables.map(|(n, parents)| table(rows(n, parents))).into()
}

fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("open");
    for orders in [1_000, 100_000] {
        let folder = folder_in_memory();
        write(folder.path(), &shop(orders));
        let rows = Store::open(folder.path()).unwrap().meta.num_rows;
        group.throughput(Throughput::Elements(rows));
        group.bench_function(BenchmarkId::new("rows", rows), |b| {
            b.iter(|| Store::open(folder.path()).unwrap());
        });
    }
}

fn sampler(folder: &std::path::Path, recipe: Recipe, contexts: usize) -> Sampler {
    write(folder, &shop(100_000));
    let store = Store::open(folder).unwrap();
    // Targets are orders.
    let tasks = first_columns(&store, None).split_off(2);
    Sampler::new(
        vec![folder.to_owned()],
        tasks,
        settings(CELLS, vec![recipe], contexts),
    )
    .unwrap()
}

fn context(c: &mut Criterion) {
    let recipes = [
        ("breadth-first", published(128)),
        ("label rows by recency", with_labels(16, Order::Recency, 1)),
        (
            "label rows by 10,000 walks",
            with_labels(16, Order::Walks, 10_000),
        ),
    ];
    let mut group = c.benchmark_group("context of 1024 cells and its arrays");
    group.throughput(Throughput::Elements(CELLS as u64));
    for (name, recipe) in recipes {
        let folder = folder_in_memory();
        let sampler = sampler(folder.path(), recipe, 1);
        let mut step = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                step += 1;
                sampler.batch(step, 0, 1, Split::Test).unwrap()
            });
        });
    }
}

/// The contexts that a batch of one store was assembled from.
fn contexts_of(batch: &Batch) -> Vec<Built> {
    let context = |b: usize| {
        let rows = batch.context_row_ptr[b] as usize..batch.context_row_ptr[b + 1] as usize;
        let first = batch.parent_ptr[rows.start];
        let slots = b * batch.num_slots..(b + 1) * batch.num_slots;
        let cell = |slot: usize| Cell {
            row: batch.row[slot] as u32,
            column: batch.column_number[batch.column[slot] as usize] as u32,
            bits: Some(match batch.text[slot] {
                -1 => batch.value[slot].to_bits(),
                // Any text does, as long as they are as many.
                text => text as u32,
            }),
            is_target: batch.is_target[slot],
        };
        let pointers = &batch.parent_ptr[rows.start..=rows.end];
        let parents = first as usize..batch.parent_ptr[rows.end] as usize;
        Context {
            rows: batch.row_number[rows.clone()].to_vec(),
            depth: batch.row_depth[rows.clone()]
                .iter()
                .map(|&d| d as u32)
                .collect(),
            part: batch.row_part[rows.clone()].to_vec(),
            origin: batch.row_origin[rows.clone()].to_vec(),
            alike: batch.row_alike[rows].to_vec(),
            told: batch.context_told[b],
            cells: slots.filter(|&s| !batch.is_padding[s]).map(cell).collect(),
            target_cell: batch.target_slot[b] as usize,
            parent_ptr: pointers.iter().map(|p| (p - first) as u32).collect(),
            parent: batch.parent[parents].iter().map(|&p| p as u32).collect(),
            ..Context::default()
        }
    };
    let built = |b: usize| Built {
        new: None,
        task: 0,
        recipe: 0,
        store: 0,
        row: batch.target_row[b],
        context: context(b),
    };
    (0..batch.num_contexts).map(built).collect()
}

fn arrays(c: &mut Criterion) {
    let folder = folder_in_memory();
    let sampler = sampler(folder.path(), published(128), 32);
    let built = contexts_of(&sampler.batch(0, 0, 1, Split::Test).unwrap());
    let mut group = c.benchmark_group("assemble");
    group.throughput(Throughput::Elements(32 * CELLS as u64));
    group.bench_function("32 contexts of 1024 cells", |b| {
        b.iter(|| assemble(&sampler, &built, CELLS, 1));
    });
}

fn idmap(c: &mut Criterion) {
    let mut draw = Draw(2);
    let keys: Vec<u32> = (0..CELLS).map(|_| draw.below(10_000_000)).collect();
    let mut group = c.benchmark_group("idmap");
    group.throughput(Throughput::Elements(CELLS as u64));
    let mut map = IdMap::default();
    group.bench_function("clear, insert 1024", |b| {
        b.iter(|| {
            map.clear();
            for (value, &key) in keys.iter().enumerate() {
                map.insert(key, value as u32);
            }
        });
    });
    group.bench_function("get 1024", |b| {
        b.iter(|| keys.iter().filter_map(|&key| map.get(key)).max());
    });
}

/// Contexts of 256 cells; in each, groups of 16 queries with 32 keys.
fn attention(c: &mut Criterion) {
    const CONTEXTS: i32 = 8;
    const PER_CONTEXT: i32 = 256;
    const GROUPS: i32 = CONTEXTS * PER_CONTEXT / 16;
    let (heads, dim, cells) = (4, 32, (CONTEXTS * PER_CONTEXT) as usize);
    let mut draw = Draw(3);
    let context_of = |group: i32| group / (GROUPS / CONTEXTS) * PER_CONTEXT;
    let key: Vec<i32> = (0..GROUPS * 32)
        .map(|k| context_of(k / 32) + draw.below(PER_CONTEXT as u32) as i32)
        .collect();
    let multiples = |n: i32, of: i32| (0..=n).map(|i| i * of).collect::<Vec<i32>>();
    let groups = GroupArrays {
        query_ptr: &multiples(GROUPS, 16),
        query: &(0..CONTEXTS * PER_CONTEXT).collect::<Vec<_>>(),
        key_ptr: &multiples(GROUPS, 32),
        key: &key,
        group_ptr: &multiples(CONTEXTS, GROUPS / CONTEXTS),
        query_row_ptr: &multiples(CONTEXTS, PER_CONTEXT),
        key_row_ptr: &multiples(CONTEXTS, PER_CONTEXT),
    };
    let mut floats = |count: usize| -> Vec<f32> {
        let unit = |n: u32| n as f32 / 1000.0 - 0.5;
        (0..count).map(|_| unit(draw.below(1000))).collect()
    };
    let width = heads * dim;
    let (qkv, weight, grad_out) = (
        floats(3 * width * cells),
        floats(dim),
        floats(width * cells),
    );
    let input = Input {
        qkv: Qkv::Joint(&qkv),
        weight: Some(&weight),
        groups: &Groups::new(&groups).unwrap(),
        heads,
        dim,
    };
    let (mut out, mut lse) = (vec![0.0; width * cells], vec![0.0; heads * cells]);
    let mut group = c.benchmark_group("attention");
    group.throughput(Throughput::Elements(cells as u64));
    group.bench_function("forward, 4 heads of 32", |b| {
        b.iter(|| forward(&input, &mut out, &mut lse, 1).unwrap());
    });
    let saved = Saved {
        out: &out,
        lse: &lse,
        grad_out: &grad_out,
    };
    group.bench_function("backward, 4 heads of 32", |b| {
        b.iter_batched_ref(
            || (vec![0.0; qkv.len()], vec![0.0; dim]),
            |(grad_qkv, grad_weight)| {
                backward(&input, &saved, Qkv::Joint(grad_qkv), grad_weight, 1).unwrap()
            },
            BatchSize::LargeInput,
        );
    });
}

criterion_group!(benches, open, context, arrays, idmap, attention);
criterion_main!(benches);
