//! The seeds in `corpus/`, made from real encodings: when the bytes change they are written anew by `cargo run --example seeds`.

mod decoders;
mod programs;

use std::path::{Path, PathBuf};

/// One file of a corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Whose corpus it belongs to.
    pub target: &'static str,
    /// Name of the file: what it shows. A decoder's seed begins with its verdict.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// What the name of a seed begins with that once was a failure: it is kept as it was found, not made.
pub const REGRESSION: &str = "regression-";

impl Seed {
    fn new(target: &'static str, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { target, name: name.into(), bytes: bytes.into() }
    }

    /// Where the seed is kept.
    pub fn path(&self) -> PathBuf {
        corpus().join(self.target).join(&self.name)
    }
}

/// The folder of all corpora.
pub fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// All seeds that are made.
pub fn all() -> Vec<Seed> {
    [decoders::seeds(), programs::seeds()].concat()
}
