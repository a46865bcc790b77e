"""Types of the extension module `rustler`: the mmapped store, the context sampler, CPU kernels.

Every error that bad input can cause is a `RustlerError` with one line that names the thing
(kernels: `ValueError`). A panic, which would be a bug in Rust, is a `RuntimeError`.
"""

from collections.abc import Sequence
from os import PathLike
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

FORMAT_VERSION: int
"""Version of the store format that this build reads and writes."""
NO_TIME: int
"""The value of row_time for rows without a time (the smallest int64)."""
NO_ROW: int
"""In parent_row: the row has no parent in this place (the largest uint32)."""
RECORD_PADDING: int
"""Bytes behind the last record of a store."""
SEMANTIC_TYPES: tuple[str, str, str, str]
"""("number", "text", "datetime", "boolean"): a cell's semantic type is an index into it."""

INSTRUCTIONS: str
"""The instructions that kernels use: "plain", "avx2" or "avx512"; the best that the processor has,
unless the environment variable RUSTLER_INSTRUCTIONS names another set when the module is loaded."""

FAST_BF16: bool
"""Whether this processor has instructions for products of bf16."""

MAX_HEAD_DIM: int
"""Most channels of a head that the kernels of attention take."""

def checksum(path: str | PathLike[str], start: int) -> int:
    """CRC-32 (IEEE) of a file's bytes from an offset on."""

class RustlerError(ValueError):
    """Bad store, task or argument; the message names it."""

@final
class Store:
    """A store folder, memory-mapped. Opening checks the header, the format version, the checksums,
    every offset and every index; a file cut short, changed or of another version is refused. A file
    that is replaced by renaming stays mapped as it was; one that is cut short in place while it is
    mapped lets the system end the process (SIGBUS), so write stores beside the old ones, as
    rt.store does."""

    def __init__(self, path: str | PathLike[str]) -> None: ...
    def __getnewargs__(self) -> tuple[Any, ...]: ...
    @property
    def name(self) -> str: ...
    @property
    def num_rows(self) -> int: ...
    @property
    def num_cells(self) -> int: ...
    @property
    def num_edges(self) -> int: ...
    def row(self, row: int) -> dict[str, Any]:
        """One row, for people and tests: {"table": int, "time": int | None,
        "cells": [(column, value: float | None, text: int | None)], "parents": [row],
        "children": [row]} (children in order of time)."""
    def distinct_texts(self, column: int, rows: tuple[int, int], limit: int) -> list[int]:
        """The text numbers of a text column's cells in a range of rows, each once and in the order
        in which they come; the first `limit` of them. A column with at least that many different
        texts is not read to its end."""

@final
class Task:
    """What is predicted: one column of one table of one store.

    store: index into the sampler's list of stores. table, column: numbers in its meta.json.
    splits: half-open ranges of global row numbers of train, val and test; they may be empty, may
    not overlap, and lie inside the table.
    horizon: seconds after a row's time at which its label is known (forecast: the task's
    timedelta); None or 0: a label counts as known strictly after its row's time.
    hidden_columns: columns that leak the label. A cell of one of them, or of the target column,
    is visible only in rows whose label would be known (rules 2 and 4 of src/visibility.rs).
    hidden_keys: foreign keys that leak the label, each a table and its place among that table's
    keys: nothing is reached by them, and no child is counted by them.
    weight: share of training targets, relative to the other tasks.
    classes: text numbers among which a text target is to be found (see `Sampler.contexts`)."""

    def __init__(
        self,
        store: int,
        table: int,
        column: int,
        splits: Sequence[tuple[int, int]],
        horizon: int | None = None,
        hidden_columns: Sequence[int] = (),
        weight: float = 1.0,
        classes: Sequence[int] = (),
        hidden_keys: Sequence[tuple[int, int]] = (),
    ) -> None: ...
    def __getnewargs__(self) -> tuple[Any, ...]: ...

PARTS: list[str]
"""Why a row is in a context: the meaning of the numbers in `row_part`."""

@final
class Recipe:
    """Of which parts a context is made, each with a budget, in this order: the target's row and its
    ancestors; bare label rows (time and label) of the target's entity, latest first; label rows of
    others, each with a small neighbourhood up to its own time; the neighbourhood of the target,
    breadth-first. What is still free then goes to more label rows of others. A label row is a row
    of the target's table whose label is there and known to the target; it has the target's entity
    if both share a parent (in a database table, rows of the fourth kind too count as others).

    The defaults are the published recipe: no label rows but those that the search meets. Every
    number is a value or a list; a batch draws one value of each list, `contexts` takes the first.
    weight: share of contexts, relative to the other recipes. ancestors, own_labels, other_labels:
    share of the context's cells that these parts may fill (the target's row comes whole); the rest
    passes on, and ancestors left out come with the neighbourhood. other_order: "recency",
    "walks" (by visits of `walks` random walks of `walk_length` steps from the target over visible
    rows, then at random), "random", "telling": the rows that are most like the target, among the
    last 16,384 whose labels may be known, in those 32 cells (of the row, and of what it leads to
    by up to three references) and facts (when it is; of the row and its parents how often and when
    last they were referenced, and the means of cells of rows that reference them, of what these
    reference, and of labels) that tell most of the training labels, each weighing as much as it
    tells; or "fitted": the same by weights with which like training rows have like labels, found
    when a task's first context is made, in up to a second. own_order: "recency", or
    "telling": first the rows that share those parents of the target whose labels tell most, without
    those that share less than half of what the nearest one shares. How much they tell is a number
    of each foreign key, from labels of the training split: the share of their variance (by ranks;
    for texts, of the misses) that the last labels of the same parent, as they were known then,
    explain; below 0.01 it counts as 0.
    other_columns: how many columns, of the label row and of what it leads to, come with a label row
    of others: those that tell most of the training labels, by adjusted R2 of eight bins (fifteen
    texts); in a database table they stand in the place of the neighbourhood; 1,000,000: whole rows.
    own_columns: how many of the same columns, as far as they are of the row itself, come with time
    and label of an own label row. other_cells: most cells of one label row with its neighbourhood;
    other_width: most children of one row in it. width: most children of one row that are followed,
    of all tables together or of each (width_per_table), and most of its label rows. parent_levels:
    levels of ancestors that come with a row that is no ancestor of the target. recency: share of
    the rows whose children are taken latest first instead of at random.
    with_labels: False hides the labels of all other rows, as if none were known."""

    def __init__(
        self,
        name: str,
        *,
        weight: float = 1.0,
        ancestors: float | Sequence[float] = 1.0,
        own_labels: float | Sequence[float] = 0.0,
        own_order: str | Sequence[str] = "recency",
        own_columns: int | Sequence[int] = 0,
        other_labels: float | Sequence[float] = 0.0,
        other_order: str | Sequence[str] = "recency",
        other_cells: int | Sequence[int] = 16,
        other_width: int | Sequence[int] = 4,
        other_columns: int | Sequence[int] = 1_000_000,
        walks: int | Sequence[int] = 10_000,
        walk_length: int | Sequence[int] = 20,
        width: int | Sequence[int] = 128,
        parent_levels: int | Sequence[int] = 1_000_000,
        recency: float | Sequence[float] = 0.0,
        width_per_table: bool = False,
        with_labels: bool = True,
    ) -> None: ...
    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]: ...

@final
class Sampler:
    """Draws contexts. Cheap to pickle (paths and settings only); the stores are mapped again.

    A context holds the target's row first, then the parts of its recipe, each row once, until
    `context_length` cells are in. The row that fills it gives its first cells in order of columns;
    the target cell is always in.

    embedder: name of the text embedder whose file text.<embedder>.safetensors is read.
    context_length: slots of a context (S), or several lengths that divide the longest: each batch
    draws one. recipes: what contexts are made of; each context of a batch draws one by weight.
    batch_size: contexts of one global batch of the longest contexts; batches of shorter ones have
    as many more, so that the number of slots is the same. extra_target_share: per context a share
    is drawn uniformly from this interval, and each visible number, boolean or datetime cell beside
    the target becomes a target too with that probability (0, 0: only the target). num_threads:
    threads that build one batch; the result does not depend on it. child_counts: count the visible
    children of every row (see `contexts`); the stores must name their foreign keys."""

    def __init__(
        self,
        stores: Sequence[str | PathLike[str]],
        tasks: Sequence[Task],
        *,
        embedder: str,
        context_length: int | Sequence[int] = 1024,
        recipes: Sequence[Recipe] = ...,
        batch_size: int = 32,
        extra_target_share: tuple[float, float] = (0.0, 0.0),
        seed: int = 0,
        num_threads: int = 1,
        child_counts: bool = False,
    ) -> None: ...
    def batch(
        self, step: int, *, rank: int = 0, world_size: int = 1, split: str = "train"
    ) -> dict[str, NDArray[Any]]:
        """A rank's part of global batch `step`, whose contexts i are each a function of (seed,
        step, i) alone: in order of databases and tasks the `rank`-th of `world_size` parts of equal
        size, so that ranks meet few tasks that others meet. Each context draws a task by weight,
        then one of the split's rows whose target is not null. No cutoff (protocol "rolling").
        See `contexts` for the arrays. Tasks without rows in the split have no share; a drawn
        task whose target is null in the whole split is an error."""
    def contexts(
        self,
        task: int,
        rows: NDArray[np.uint32],
        *,
        cutoff: int | None = None,
        seed: int = 0,
        recipe: int = 0,
    ) -> dict[str, NDArray[Any]]:
        """One context for each of the given rows of the task's table, a function of (seed, row)
        and the settings, with the first value of each list of the recipe of this number.
        `cutoff`: nothing later is visible (protocol "split").
        A row whose target cell is null gets a target slot of value 0: prediction without label.

        Arrays, B contexts of S slots, cells in row order (rows in the order they entered):
        row i32[B, S]: position of the cell's row within its context, -1 padding;
        column i32[B, S]: number in the batch's column table, -1 padding;
        semantic_type u8[B, S]; value f32[B, S]: normalised, 0 for text and padding;
        text i32[B, S]: index into text_embedding for text cells, else -1;
        is_target, is_padding bool[B, S];
        target_slot i32[B]: slot of the context's own target; target_row u32[B], context_task
        i32[B], context_store i32[B], context_recipe i32[B]; context_classes i32[B]: which list
        of classes the context's task has, -1 for none: those of list l are
        class_text[class_ptr[l]:class_ptr[l + 1]], places in text_embedding (class_ptr i64[L + 1],
        class_text i32[m]); context_told f32[B]: the share of what the training labels differ by
        that the most telling cell or fact explains, 0 if the recipe does not ask;
        context_row_ptr i64[B + 1]: rows of context b are [ptr[b], ptr[b+1]) of the row arrays:
        row_number u32[n] (in the store), row_table i32[n], row_time i64[n], row_depth i32[n]: steps
        from the target's row (label rows that come by themselves: 1, and what is around them from
        there); row_part u8[n]: why the row is there, an index into PARTS; row_origin i32[n]:
        position within the context of the row that it was reached from, -1 for none; row_alike
        f32[n]: of rows of the parts "own label" and "other label" how much they are like the target
        in those of the 32 cells and facts that it has, from 0 to 1; -1 of other rows, and if the
        recipe does not ask for cells that tell, which are then no further targets;
        parent_ptr i64[n + 1], parent i32[m]: positions within the context of the row's parents
        that are in it;
        column_text i32[K], column_number i32[K] (in the store's meta.json), column_store i32[K];
        count_ptr i64[n + 1], count_key i32[m], count u32[m]: the foreign keys by which each row has
        visible children, none for label rows, and how many these are in the store, the target's own
        row among them; key_text i32[K']: the text "<column> of <table>" of each such key. All
        four are empty unless the sampler was made with child_counts;
        text_embedding f16[U, d_text]: each text of the batch once."""
    def new_contexts(
        self,
        task: int,
        entities: NDArray[np.uint32],
        times: NDArray[np.int64],
        time_values: NDArray[np.float32],
        *,
        cutoff: int | None = None,
        seed: int = 0,
        recipe: int = 0,
    ) -> dict[str, NDArray[Any]]:
        """The same for N rows that the store lacks, of a task that has a table of labels: each of
        one entity (a row of the store) at one time (seconds; NO_TIME for none), with the normalised
        value of the time in the table's column of times (NaN: no cell). A function of (seed,
        entity, time) and the settings. In target_row and row_number such a row is `Store.num_rows`.

        A row of this entity and time in the store would have the same context, but for draws."""
    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]: ...

def encode_distinct(
    values: NDArray[np.uint32], valid: NDArray[np.bool_] | None, limit: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint16]] | None:
    """Distinct values in the order in which they come, and for each value its place among them;
    None if there are more than `limit` (at most 65536). Where `valid` is false the place is 0."""

# Kernels of the CPU training path (used by rt.cpu). Arrays are contiguous; results are written into
# the arrays that are passed for them. N cells, H heads, D channels a head. Numbers are float32, or
# bfloat16 as the uint16 of the same bits, all of one call alike.

_Floats = NDArray[np.float32]
_Numbers = NDArray[np.float32] | NDArray[np.uint16]

@final
class Groups:
    """Groups as in rt.plan.Groups, whose queries and keys are numbers of rows: those of context b
    are query_row_ptr[b]:query_row_ptr[b+1] and key_row_ptr[b]:key_row_ptr[b+1]. Copied and checked:
    ValueError for a wrong offset or index."""

    def __init__(
        self,
        query_ptr: NDArray[np.int32],
        query: NDArray[np.int32],
        key_ptr: NDArray[np.int32],
        key: NDArray[np.int32],
        group_ptr: NDArray[np.int32],
        query_row_ptr: NDArray[np.int32],
        key_row_ptr: NDArray[np.int32],
    ) -> None: ...

def attention_forward(
    qkv: Sequence[_Numbers],
    weight: _Floats | None,
    groups: Groups,
    out: _Numbers,
    lse: _Floats,
    num_threads: int,
) -> None:
    """Attention over groups of [qkv], [N, 3, H, D], or [q, kv], [M, H, D] and [K, 2, H, D]. With a
    weight [D], queries and keys are RMS-normalised per head and queries multiplied by it; without,
    queries are multiplied by 1 / sqrt(D). Fills out [M, H, D] and lse [M, H], the log-sum-exp of
    each query's scores."""

def attention_backward(
    qkv: Sequence[_Numbers],
    weight: _Floats | None,
    groups: Groups,
    saved: tuple[_Numbers, _Floats, _Numbers],
    gradients: tuple[Sequence[_Numbers], _Floats],
    num_threads: int,
) -> None:
    """saved: out, lse and the gradient of out. Fills gradients: of qkv, as it came, and of weight
    [D]."""

def norm_forward(
    x: _Floats, update: _Numbers | None, y: _Numbers, factor: _Floats, num_threads: int
) -> None:
    """Adds update to x [N, d] in place, then RMS norm of its rows without a weight: fills
    y = x * factor and factor [N]."""

def norm_backward(
    saved: tuple[_Numbers, _Floats],
    grad_y: _Numbers,
    grad_x: _Floats,
    copies: tuple[_Numbers, _Numbers, _Numbers],
    num_threads: int,
) -> None:
    """saved: y and factor. Adds the gradient through the norm to grad_x in place. Fills copies:
    grad_x [N, d], and it and y transposed [d, N or more]."""

def swiglu_forward(gates: _Numbers, a: _Numbers, num_threads: int) -> None:
    """Fills a [N, f] = silu(g) * u from the halves g, u of the rows of gates [N, 2f]."""

def swiglu_backward(gates: _Numbers, grad_a: _Numbers, num_threads: int) -> None:
    """In place: gates become their gradients; grad_a, the gradient of a, becomes a itself."""

def transpose_rows(x: _Numbers, to: _Numbers, num_threads: int) -> None:
    """Writes x [R, d] transposed into to [d, R or more]."""

ACTIVATIONS: list[str]
"""Activation functions of synthetic tables' models, in the order of their codes."""
INITIALIZERS: list[str]
"""Rules of weight matrices, in the order of their codes."""
AGGREGATIONS: list[str]
"""Ways to join the encoded parents of a node, in the order of their codes."""
MAX_DIM: int
"""Most components of an embedding."""
MAX_CATEGORIES: int
"""Most categories of a node."""
NOISE_PARAMETERS: tuple[float, float]
"""Least and largest alpha and beta of noise that need no table of quantiles."""

@final
class EncodedRows:
    """A parent table's encoded and aggregated columns, per aggregation."""

    def rows(self, aggregation: int) -> NDArray[np.float32]:
        """float32 [rows + 1, d], the last row the aggregation's neutral element; [0, d] for an
        aggregation that was not wanted."""

@final
class TableModel:
    """The structural causal model of one synthetic table (PluRel, arXiv 2602.04029).

    key: 32 bytes that decide every draw. dim: d, components of an embedding. functions: arrays
    [functions] decodes bool, categories u32 (0: numbers), weight f32, depth u8, embedding u8 (rule
    of category embeddings), and arrays [layers of all functions] initializer u8, density f32,
    activation u8, scale f32 (those of a function's last layer go unused). nodes: arrays [nodes], in
    topological order, aggregation u8, decoder i64 (-1: values are given), noise_alpha f32,
    noise_beta f32, and parent_ptr i64 [nodes + 1], parent i64 [edges] (a node), encoder i64 [edges]
    (a function). outputs: the nodes whose values are wanted. quantiles: per node 4,096 quantiles of
    its noise, needed where alpha or beta is outside of NOISE_PARAMETERS.

    Raises RustlerError naming what is missing, of the wrong length or kind, or out of range."""

    def __init__(
        self,
        key: bytes,
        dim: int,
        functions: dict[str, NDArray[Any]],
        nodes: dict[str, NDArray[Any]],
        outputs: Sequence[int],
        quantiles: dict[int, NDArray[np.float32]],
    ) -> None: ...
    def encode(
        self, first: int, columns: Sequence[NDArray[np.float32]], aggregations: Sequence[int]
    ) -> EncodedRows:
        """A parent table's columns (numbers or codes, float32 [rows] each) through the functions
        from number `first` on, aggregated in each of the wanted ways."""
    def propagate(
        self,
        first: int,
        count: int,
        given: dict[int, NDArray[np.float32]],
        foreign: Sequence[tuple[EncodedRows, NDArray[np.int64]]],
    ) -> list[NDArray[np.float32]]:
        """The values of `outputs`, float32 [count] each (codes of categories too), for the rows
        from number `first` on, a multiple of 64. given: values of the nodes without a decoder.
        foreign: encoded rows and which of them each row references (-1: none)."""
    def noise(self, node: int, first: int, count: int) -> NDArray[np.float32]:
        """The noise of rows from number `first` on, a multiple of 64: float32 [count, d]."""
    def function(self, number: int) -> dict[str, Any]:
        """What was drawn. kind "encoder" or "decoder": layers [(weights [in, out], (activation,
        scale, sines) or None)], a decoder's also categories; "constant": values [d]; "table":
        values [d, at least categories], categories."""

def activate(name: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The activation of that name, clipped to +-1e6; `random_sines` is 0."""

def draw_matrices(
    key: bytes, shape: tuple[int, int, int], initializer: str, density: float
) -> NDArray[np.float32]:
    """`count` matrices [count, inputs, outputs] by a rule, masked with a density."""
