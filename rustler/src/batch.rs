//! Batches in closed form: the contexts of a batch depend on (seed, step, i) alone, not on what was
//! drawn before, nor on the number of threads or ranks.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::assemble::{Batch, assemble};
use crate::context::{Context, NewRow, Plan, Request, Scratch, build};
use crate::error::{Result, argument};
use crate::labels::TableIndex;
use crate::recipe::{Order, Parts, Recipe};
use crate::rng::{Name, Purpose};
use crate::settings::{Settings, Source, check_slots};
use crate::store::NO_TIME;
use crate::targets::cumulative_weights;
use crate::task::{Prepared, Task};
use crate::telling::{AGES, Told, View, age_numbered, nearest_age};
use crate::threads::work_on_threads;
use crate::visibility::Split;

/// One context to build.
#[derive(Clone, Copy)]
pub struct Item {
    pub task: usize,
    pub recipe: usize,
    pub row: u32,
    pub new: Option<NewRow>,
    pub cutoff: Option<i64>,
    pub name: Name,
}

/// A finished context and whose it is.
pub struct Built {
    pub task: usize,
    pub recipe: usize,
    pub store: usize,
    pub row: u32,
    pub new: Option<NewRow>,
    pub context: Context,
}

pub struct Sampler {
    pub paths: Vec<PathBuf>,
    pub settings: Settings,
    pub sources: Vec<Source>,
    pub tasks: Vec<Prepared>,
    /// By task.
    indices: Vec<Arc<TableIndex>>,
    /// Per split: sums of weights up to and with each task.
    pub(crate) cumulative: [Vec<f64>; 3],
    /// By task and split: the rows that have a label, once they are needed because they are few.
    pub(crate) labelled: Vec<[OnceLock<Vec<u32>>; 3]>,
    /// By task: what the training labels tell, once a recipe asks for it.
    told: Vec<OnceLock<Told>>,
    /// By task and age (`age_numbered`): the same for targets with an earlier cutoff.
    told_aged: Vec<OnceLock<Vec<OnceLock<Told>>>>,
}

impl Sampler {
    pub fn new(paths: Vec<PathBuf>, tasks: Vec<Task>, settings: Settings) -> Result<Self> {
        settings.check()?;
        let sources = Source::open_all(&paths, &settings)?;
        let mut prepared = Vec::with_capacity(tasks.len());
        for (number, task) in tasks.into_iter().enumerate() {
            let Some(source) = sources.get(task.store) else {
                return argument(format!(
                    "task {number}: there are {} stores, there is no store {}",
                    sources.len(),
                    task.store
                ));
            };
            task.check(number, &source.store.meta)?;
            prepared.push(Prepared::new(task, &source.store.meta));
        }
        Ok(Self {
            indices: table_indices(&sources, &prepared),
            labelled: prepared.iter().map(|_| Default::default()).collect(),
            told: prepared.iter().map(|_| OnceLock::new()).collect(),
            told_aged: prepared.iter().map(|_| OnceLock::new()).collect(),
            cumulative: [Split::Train, Split::Val, Split::Test]
                .map(|split| cumulative_weights(&prepared, split)),
            paths,
            settings,
            sources,
            tasks: prepared,
        })
    }

    /// One rank's part of global batch `step`: of its contexts in order of databases and tasks, the
    /// `rank`-th of `world` parts of equal size. So a rank meets few databases that others meet,
    /// and finds out less of what labels tell. A batch of shorter contexts has more of them.
    pub fn batch(&self, step: u64, rank: usize, world: usize, split: Split) -> Result<Batch> {
        if world == 0 || rank >= world {
            return argument(format!("rank {rank} is not below world_size {world}"));
        }
        let purpose = match split {
            Split::Train => Purpose::Train,
            Split::Val => Purpose::Val,
            Split::Test => Purpose::Test,
        };
        let name = |b| Name {
            purpose,
            seed: self.settings.seed,
            a: step,
            b,
        };
        let mut rng = name(0).batch_stream();
        let lengths = &self.settings.context_length;
        let length = lengths[rng.below(lengths.len() as u32) as usize];
        let recipes = &self.settings.recipes;
        let parts: Vec<Parts> = recipes.iter().map(|recipe| recipe.draw(&mut rng)).collect();
        let count = self.settings.batch_size * (self.settings.longest() / length);
        let draw = |i: usize| self.draw_target(name(i as u64), split);
        let items: Vec<Item> = (0..count).map(draw).collect::<Result<_>>()?;
        let items = self.part(&items, rank, world);
        self.build(&items, length, &parts)
    }

    /// The `rank`-th of `world` parts of these in order of databases and tasks, in their own order.
    fn part(&self, items: &[Item], rank: usize, world: usize) -> Vec<Item> {
        let mut order: Vec<usize> = (0..items.len()).collect();
        // a stable sort: of one task the first drawn come first
        order.sort_by_key(|&i| (self.tasks[items[i].task].task.store, items[i].task));
        let end_of = |rank: usize| items.len() * rank / world;
        let part = &mut order[end_of(rank)..end_of(rank + 1)];
        part.sort_unstable();
        part.iter().map(|&i| items[i]).collect()
    }

    /// One context for each row of the task's table, with the first value of each list of a recipe.
    pub fn contexts(
        &self,
        task: usize,
        rows: &[u32],
        cutoff: Option<i64>,
        (seed, recipe): (u64, usize),
    ) -> Result<Batch> {
        let prepared = self.given(task, recipe, rows.len())?;
        let item = |&row: &u32| Item {
            task,
            recipe,
            row,
            new: None,
            cutoff,
            name: Name {
                purpose: Purpose::Given,
                seed,
                a: u64::from(row),
                b: 0,
            },
        };
        if let Some(row) = rows.iter().find(|row| !prepared.rows.contains(row)) {
            return argument(format!(
                "row {row} is not of the table of {}, whose rows are {:?}",
                self.describe(task),
                prepared.rows
            ));
        }
        self.build_given(&rows.iter().map(item).collect::<Vec<_>>())
    }

    /// The same for rows that the store lacks, of a task's table of labels.
    pub fn new_contexts(
        &self,
        task: usize,
        rows: &[NewRow],
        cutoff: Option<i64>,
        (seed, recipe): (u64, usize),
    ) -> Result<Batch> {
        let prepared = self.given(task, recipe, rows.len())?;
        let meta = &self.sources[prepared.task.store].store.meta;
        let entities = meta.label_entities(prepared.task.table as usize);
        let Some(entities) = entities else {
            return argument(format!(
                "{} has no table of labels with one entity a row: give rows of its table",
                self.describe(task)
            ));
        };
        if let Some(row) = rows.iter().find(|row| !entities.contains(&row.entity)) {
            return argument(format!(
                "row {} is no entity of {}, which are rows {entities:?}",
                row.entity,
                self.describe(task)
            ));
        }
        let item = |&new: &NewRow| Item {
            task,
            recipe,
            row: meta.num_rows as u32,
            new: Some(new),
            cutoff,
            name: Name {
                purpose: Purpose::New,
                seed,
                a: u64::from(new.entity),
                b: new.time.unwrap_or(NO_TIME) as u64,
            },
        };
        self.build_given(&rows.iter().map(item).collect::<Vec<_>>())
    }

    /// The task of this number, checked with the other arguments of contexts for given rows.
    fn given(&self, task: usize, recipe: usize, count: usize) -> Result<&Prepared> {
        if recipe >= self.settings.recipes.len() {
            return argument(format!(
                "there are {} recipes, there is no recipe {recipe}",
                self.settings.recipes.len()
            ));
        }
        let Some(prepared) = self.tasks.get(task) else {
            return argument(format!(
                "there are {} tasks, there is no task {task}",
                self.tasks.len()
            ));
        };
        check_slots(count, self.settings.context_length[0])?;
        Ok(prepared)
    }

    fn build_given(&self, items: &[Item]) -> Result<Batch> {
        let parts: Vec<Parts> = self.settings.recipes.iter().map(Recipe::first).collect();
        self.build(items, self.settings.context_length[0], &parts)
    }

    pub(crate) fn describe(&self, task: usize) -> String {
        let prepared = &self.tasks[task].task;
        prepared.describe(task, &self.sources[prepared.store].store.meta)
    }

    fn build(&self, items: &[Item], length: usize, parts: &[Parts]) -> Result<Batch> {
        let threads = self.settings.num_threads.min(items.len().max(1));
        let next = AtomicUsize::new(0);
        let work = || {
            let mut scratch = Scratch::default();
            let mut done = Vec::new();
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(i) else {
                    return done;
                };
                let plan = Plan {
                    parts: parts[item.recipe],
                    budget: length,
                    extra_target_share: self.settings.extra_target_share,
                };
                done.push((i, self.build_one(item, &plan, &mut scratch)));
            }
        };
        let mut built = work_on_threads(threads, &work);
        built.sort_unstable_by_key(|&(i, _)| i);
        let built: Vec<Built> = built.into_iter().map(|(_, built)| built).collect();
        Ok(assemble(self, &built, length, threads))
    }

    fn build_one(&self, item: &Item, plan: &Plan, scratch: &mut Scratch) -> Built {
        let task = &self.tasks[item.task];
        let mut request = Request {
            store: &self.sources[task.task.store].store,
            children: &self.sources[task.task.store].children,
            keys: self.sources[task.task.store].keys.as_ref(),
            nodes: &self.sources[task.task.store].nodes,
            task,
            index: &self.indices[item.task],
            told: None,
            asks_columns: self.settings.recipes[item.recipe].asks_columns(),
            fits_weights: plan.parts.other_order == Order::Fitted,
            row: item.row,
            new: item.new,
            cutoff: item.cutoff,
            name: item.name,
        };
        if plan.parts.ask_labels() {
            request.told = Some(self.told(item.task, &request));
        }
        Built {
            task: item.task,
            recipe: item.recipe,
            store: task.task.store,
            row: item.row,
            new: item.new,
            context: build(request, plan, scratch),
        }
    }

    /// What the training labels of the request's task, of this number, tell; see `Request::told`.
    fn told(&self, number: usize, request: &Request) -> &Told {
        let arrays = request.store.arrays();
        let find = |age: i64| {
            let columns = self.settings.recipes.iter().any(Recipe::asks_columns);
            Told::new(&View::new(&arrays, request, age), columns)
        };
        let times = request.time().zip(request.cutoff);
        let beyond = times.map(|(time, cutoff)| time.saturating_sub(cutoff));
        let fresh = self.told[number].get_or_init(|| find(0));
        match beyond.and_then(|b| nearest_age(b, fresh.horizon)) {
            None => fresh,
            Some(age) => {
                let aged = self.told_aged[number]
                    .get_or_init(|| (0..AGES).map(|_| OnceLock::new()).collect());
                aged[age].get_or_init(|| find(age_numbered(age)))
            }
        }
    }
}

/// One index a table, shared by its tasks.
fn table_indices(sources: &[Source], tasks: &[Prepared]) -> Vec<Arc<TableIndex>> {
    let mut made: HashMap<(usize, u32), Arc<TableIndex>> = HashMap::new();
    let index = |task: &Prepared| {
        let key = (task.task.store, task.task.table);
        let arrays = sources[key.0].store.arrays();
        let make = || Arc::new(TableIndex::new(&arrays, task));
        made.entry(key).or_insert_with(make).clone()
    };
    tasks.iter().map(index).collect()
}
