//! The text of a vector file: written in one way only, so that a file can be compared as text.

use std::fmt::Display;

/// A value of the file. Integers are decimal text: not every reader of JSON has 64 bits.
#[derive(Clone)]
pub enum Json {
    Text(String),
    Flag(bool),
    List(Vec<Json>),
    Record(Vec<(&'static str, Json)>),
}

/// What fits on a line of this many characters is not broken.
const LINE_LEN: usize = 150;

/// Equal bytes in a row from which on they are counted: below that, counting does not make the text shorter by much.
const RUN_LEN_MIN: usize = 64;

impl Json {
    pub fn text(value: impl Display) -> Self {
        Self::Text(value.to_string())
    }

    /// Lower-case hex; a run of equal bytes, as in payloads at their cap, is `byte*count`, parted from the rest by spaces.
    pub fn hex(bytes: &[u8]) -> Self {
        let mut pieces: Vec<String> = vec![String::new()];
        for run in bytes.chunk_by(|a, b| a == b) {
            if run.len() < RUN_LEN_MIN {
                pieces.last_mut().unwrap().push_str(&hex::encode(run));
            } else {
                pieces.push(format!("{:02x}*{}", run[0], run.len()));
                pieces.push(String::new());
            }
        }
        pieces.retain(|piece| !piece.is_empty());
        Self::Text(pieces.join(" "))
    }

    pub fn list<T>(items: impl IntoIterator<Item = T>, of: impl Fn(T) -> Self) -> Self {
        Self::List(items.into_iter().map(of).collect())
    }

    /// The whole text, with a newline at its end.
    pub fn render(&self) -> String {
        let mut out = String::new();
        self.write(0, &mut out);
        out.push('\n');
        out
    }

    fn write(&self, indent: usize, out: &mut String) {
        let line = self.on_one_line();
        if line.len() + indent <= LINE_LEN {
            return out.push_str(&line);
        }
        match self {
            Self::Text(_) | Self::Flag(_) => out.push_str(&line),
            Self::List(items) => broken(('[', ']'), indent, items, out, |item, out| item.write(indent + 1, out)),
            Self::Record(fields) => broken(('{', '}'), indent, fields, out, |(name, value), out| {
                out.push_str(&format!("\"{name}\": "));
                value.write(indent + 1, out);
            }),
        }
    }

    fn on_one_line(&self) -> String {
        match self {
            Self::Text(text) => {
                assert!(text.chars().all(|c| (' '..='~').contains(&c) && c != '"' && c != '\\'), "{text:?}");
                format!("\"{text}\"")
            }
            Self::Flag(flag) => flag.to_string(),
            Self::List(items) => format!("[{}]", items.iter().map(Self::on_one_line).collect::<Vec<_>>().join(", ")),
            Self::Record(fields) => {
                let fields = fields.iter().map(|(name, value)| format!("\"{name}\": {}", value.on_one_line()));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn broken<T>(
    (open, close): (char, char),
    indent: usize,
    items: &[T],
    out: &mut String,
    write: impl Fn(&T, &mut String),
) {
    out.push(open);
    for (at, item) in items.iter().enumerate() {
        out.push_str(if at == 0 { "\n" } else { ",\n" });
        out.push_str(&" ".repeat(indent + 1));
        write(item, out);
    }
    out.push('\n');
    out.push_str(&" ".repeat(indent));
    out.push(close);
}
