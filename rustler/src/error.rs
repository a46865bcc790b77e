//! One error for everything that bad input can cause; its text is one line for the user.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {source}; check the file and its rights")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: no store here, {file} is missing; preprocess the database first")]
    Missing { path: PathBuf, file: String },
    #[error(
        "{path}: format version {found}, but this build reads version {expected}; preprocess the \
         database again"
    )]
    Version {
        path: PathBuf,
        found: String,
        expected: u32,
    },
    #[error("{path}: {what}; the store is damaged, preprocess the database again")]
    Damaged { path: PathBuf, what: String },
    #[error(
        "{path}: no text embeddings of embedder '{embedder}' (there: {available}); preprocess the \
         database again with it, or name one that is there"
    )]
    Embedder {
        path: PathBuf,
        embedder: String,
        available: String,
    },
    /// A wrong argument; the text names it.
    #[error("{0}")]
    Argument(String),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn io(path: &Path, source: std::io::Error) -> Self {
        Error::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// `found` is what the file says, whatever that is.
    pub fn version(path: &Path, found: impl Into<String>, expected: u32) -> Self {
        Error::Version {
            path: path.to_owned(),
            found: one_line(found.into()),
            expected,
        }
    }

    pub fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Error::Damaged {
            path: path.to_owned(),
            what: one_line(what.into()),
        }
    }
}

/// Most characters of a message.
const MAX_MESSAGE: usize = 500;

/// Names of tables and columns come from a file and may hold anything: control characters are
/// escaped and a long text is cut, so that a message stays one line.
fn one_line(text: String) -> String {
    let plain = |c: char| !c.is_control() && c != '\u{2028}' && c != '\u{2029}';
    if text.len() <= MAX_MESSAGE && text.chars().all(plain) {
        return text;
    }
    let mut line = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == MAX_MESSAGE {
            line.push_str("...");
            break;
        }
        match plain(c) {
            true => line.push(c),
            false => line.extend(c.escape_debug()),
        }
    }
    line
}

/// Shorthand for `Err(Error::Argument(..))`.
pub fn argument<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::Argument(one_line(what.into())))
}

/// What `work` gives, or the one line of its panic. Nothing that `work` changed may be used after
/// a panic, but to be dropped.
pub fn caught<T>(work: impl FnOnce() -> T) -> std::result::Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        one_line(text.unwrap_or_else(|| "a panic without a text".into()))
    })
}

#[cfg(test)]
mod tests {
    use super::caught;

    #[test]
    fn a_panic_becomes_one_line() {
        assert_eq!(caught(|| 7), Ok(7));
        let text = |work: fn()| caught(work).unwrap_err();
        assert_eq!(text(|| panic!("plain")), "plain");
        assert_eq!(text(|| panic!("of\n{}", "parts")), "of\\nparts");
        let nothing = text(|| std::panic::panic_any(5_u8));
        assert_eq!(nothing, "a panic without a text");
    }
}
