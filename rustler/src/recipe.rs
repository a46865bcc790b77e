//! Recipes: of which parts a context is made, and how much of it each may fill.
//!
//! A context has four parts, in this order, and each may leave room to those after it:
//! the target's row and its ancestors; bare label rows of its own entity, latest first; label rows
//! of others, each with a small neighbourhood; the neighbourhood of the target, breadth-first. What
//! is still free then goes to further label rows of others.
//!
//! Numbers of a recipe are lists. A batch draws one value of each; a context of given rows takes
//! the first.

use crate::error::{Result, argument};
use crate::rng::Stream;

/// In which order label rows of others come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Latest first; at random among those of one time.
    Recency,
    /// By how often random walks from the target visit them, then at random.
    Walks,
    Random,
    /// By how much their telling cells are like the target's (`telling`), then as by recency.
    Telling,
    /// The same, with weights that are fitted to the training labels.
    Fitted,
}

impl Order {
    pub const NAMES: [&str; 5] = ["recency", "walks", "random", "telling", "fitted"];

    pub fn named(name: &str) -> Option<Self> {
        let all = [
            Self::Recency,
            Self::Walks,
            Self::Random,
            Self::Telling,
            Self::Fitted,
        ];
        all.into_iter().find(|order| order.name() == name)
    }

    /// Whether rows come by how much they are like the target.
    pub fn is_by_likeness(self) -> bool {
        matches!(self, Self::Telling | Self::Fitted)
    }

    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// In which order label rows of the same entity come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnOrder {
    /// Latest first, whichever parent they share.
    Recency,
    /// First those that share the parents whose labels tell most (`telling`), of these latest first.
    Telling,
}

impl OwnOrder {
    pub const NAMES: [&str; 2] = ["recency", "telling"];

    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Recency, Self::Telling];
        all.into_iter().find(|order| order.name() == name)
    }

    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// See `rustler.pyi`. The default is the published recipe: the target's row, its ancestors and its
/// neighbourhood alone (Relational Transformer, arXiv 2510.06377).
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    pub name: String,
    pub weight: f64,
    pub ancestors: Vec<f64>,
    pub own_labels: Vec<f64>,
    pub own_order: Vec<OwnOrder>,
    pub own_columns: Vec<u32>,
    pub other_labels: Vec<f64>,
    pub other_order: Vec<Order>,
    pub other_cells: Vec<u32>,
    pub other_width: Vec<u32>,
    pub other_columns: Vec<u32>,
    pub walks: Vec<u32>,
    pub walk_length: Vec<u32>,
    pub width: Vec<u32>,
    pub parent_levels: Vec<u32>,
    pub recency: Vec<f64>,
    pub width_per_table: bool,
    pub with_labels: bool,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            name: "published".into(),
            weight: 1.0,
            ancestors: vec![1.0],
            own_labels: vec![0.0],
            own_order: vec![OwnOrder::Recency],
            own_columns: vec![0],
            other_labels: vec![0.0],
            other_order: vec![Order::Recency],
            other_cells: vec![16],
            other_width: vec![4],
            other_columns: vec![ALL_COLUMNS],
            walks: vec![10_000],
            walk_length: vec![20],
            width: vec![128],
            parent_levels: vec![ALL_LEVELS],
            recency: vec![0.0],
            width_per_table: false,
            with_labels: true,
        }
    }
}

/// Levels of ancestors that no chain of references reaches.
pub const ALL_LEVELS: u32 = 1_000_000;
/// All columns, and a neighbourhood.
pub const ALL_COLUMNS: u32 = 1_000_000;
/// Most steps of all walks of one context: about a second.
const MAX_STEPS: u64 = 50_000_000;

/// One value of each list of a recipe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parts {
    /// Shares of the context.
    pub ancestors: f64,
    pub own_labels: f64,
    pub own_order: OwnOrder,
    /// Telling columns in these rows beside time and label.
    pub own_columns: usize,
    pub other_labels: f64,
    pub other_order: Order,
    /// Most cells of one label row of another entity with its neighbourhood.
    pub other_cells: usize,
    pub other_width: usize,
    /// Telling columns in each of these rows and its ancestors; None for all, with a neighbourhood.
    pub other_columns: Option<usize>,
    pub walks: usize,
    pub walk_length: usize,
    pub width: usize,
    pub parent_levels: u32,
    pub recency: f64,
    pub width_per_table: bool,
    pub with_labels: bool,
}

impl Recipe {
    pub fn check(&self) -> Result<()> {
        let name = &self.name;
        let wrong = |what: String| argument(format!("recipe '{name}': {what}"));
        if !(self.weight.is_finite() && self.weight >= 0.0) {
            return wrong(format!("weight {} is not 0 or more", self.weight));
        }
        let shares = [
            ("ancestors", &self.ancestors),
            ("own_labels", &self.own_labels),
            ("other_labels", &self.other_labels),
            ("recency", &self.recency),
        ];
        for (field, values) in shares {
            if values.is_empty() || values.iter().any(|v| !(0.0..=1.0).contains(v)) {
                return wrong(format!("{field} must hold shares from 0 to 1: {values:?}"));
            }
        }
        let counts = [
            ("other_cells", &self.other_cells, 1),
            ("other_width", &self.other_width, 0),
            ("own_columns", &self.own_columns, 0),
            ("other_columns", &self.other_columns, 0),
            ("walks", &self.walks, 1),
            ("walk_length", &self.walk_length, 1),
            ("width", &self.width, 0),
            ("parent_levels", &self.parent_levels, 0),
        ];
        for (field, values, least) in counts {
            if values.is_empty() || values.iter().any(|&v| v < least) {
                return wrong(format!(
                    "{field} must hold whole numbers from {least} on: {values:?}"
                ));
            }
        }
        let orders = [
            ("own_order", self.own_order.is_empty()),
            ("other_order", self.other_order.is_empty()),
        ];
        if let Some((field, _)) = orders.iter().find(|(_, empty)| *empty) {
            return wrong(format!("{field} is empty"));
        }
        let most = |values: &[u32]| values.iter().copied().max().map_or(0, u64::from);
        let steps = most(&self.walks).saturating_mul(most(&self.walk_length));
        if steps > MAX_STEPS {
            return wrong(format!(
                "walks times walk_length gives {steps} steps a context, more than {MAX_STEPS}"
            ));
        }
        Ok(())
    }

    /// Whether contexts ask which columns and facts tell of labels.
    pub fn asks_columns(&self) -> bool {
        let others = self.other_columns.iter().any(|&count| count < ALL_COLUMNS);
        let own = self.own_columns.iter().any(|&count| count > 0);
        let by_likeness = self.other_order.iter().any(|order| order.is_by_likeness());
        self.with_labels && (own || others || by_likeness)
    }

    /// The first value of each list.
    pub fn first(&self) -> Parts {
        self.pick(|_| 0)
    }

    /// One value of each list, drawn.
    pub fn draw(&self, rng: &mut Stream) -> Parts {
        self.pick(|count| rng.below(count as u32) as usize)
    }

    fn pick(&self, mut place: impl FnMut(usize) -> usize) -> Parts {
        fn of<T: Copy>(values: &[T], place: &mut impl FnMut(usize) -> usize) -> T {
            values[place(values.len())]
        }
        let place = &mut place;
        Parts {
            ancestors: of(&self.ancestors, place),
            own_labels: of(&self.own_labels, place),
            other_labels: of(&self.other_labels, place),
            other_order: of(&self.other_order, place),
            other_cells: of(&self.other_cells, place) as usize,
            other_width: of(&self.other_width, place) as usize,
            walks: of(&self.walks, place) as usize,
            walk_length: of(&self.walk_length, place) as usize,
            width: of(&self.width, place) as usize,
            parent_levels: of(&self.parent_levels, place),
            recency: of(&self.recency, place),
            width_per_table: self.width_per_table,
            with_labels: self.with_labels,
            // drawn last, so that lists of one value leave the other draws as they were
            own_order: of(&self.own_order, place),
            own_columns: of(&self.own_columns, place) as usize,
            other_columns: Some(of(&self.other_columns, place))
                .filter(|&count| count < ALL_COLUMNS)
                .map(|count| count as usize),
        }
    }
}

impl Parts {
    /// Whether these ask what the training labels tell.
    pub fn ask_labels(&self) -> bool {
        let own = self.own_order == OwnOrder::Telling || self.own_columns > 0;
        let others = self.other_order.is_by_likeness() || self.other_columns.is_some();
        self.with_labels && (self.own_labels > 0.0 && own || self.other_labels > 0.0 && others)
    }
}

/// Why a row is in a context, as `row_part` of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    Target = 0,
    /// An ancestor of the target's row.
    Ancestor = 1,
    /// A label row that shares a parent with the target's.
    OwnLabel = 2,
    /// A label row of another entity.
    OtherLabel = 3,
    /// In the neighbourhood of such a row.
    OtherNeighbour = 4,
    /// In the neighbourhood of the target.
    Neighbour = 5,
}

/// The names of the parts, by number.
pub const PARTS: [&str; 6] = [
    "target",
    "ancestor",
    "own label",
    "other label",
    "around another label",
    "neighbourhood",
];
