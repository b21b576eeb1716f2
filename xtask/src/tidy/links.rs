//! Relative links in Markdown: the file exists, and so does the heading.

use std::collections::{BTreeMap, BTreeSet};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::{File, Finding};

/// Checks the links of all documents. `paths` are the files of the repository.
pub fn check(paths: &BTreeSet<String>, documents: &[&File]) -> Vec<Finding> {
    let documents: BTreeMap<_, _> =
        documents.iter().map(|file| (file.path.as_str(), Document::parse(&file.text))).collect();
    let links = documents.iter().flat_map(|(path, document)| document.links.iter().map(move |link| (*path, link)));
    let broken = links.filter_map(|(path, (line, target))| {
        let message = broken(paths, &documents, path, target)?;
        Some(Finding::new(path, *line, message))
    });
    broken.collect()
}

/// What a document links to, and what can be linked to in it.
#[derive(Default)]
struct Document {
    links: Vec<(usize, String)>,
    anchors: BTreeSet<String>,
}

impl Document {
    fn parse(text: &str) -> Self {
        let mut document = Self::default();
        let mut heading = None;
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    let line = text[..range.start].matches('\n').count() + 1;
                    document.links.push((line, dest_url.into_string()));
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => document.add_anchor(&heading.take().unwrap_or_default()),
                Event::Text(part) | Event::Code(part) => heading.iter_mut().for_each(|heading| heading.push_str(&part)),
                _ => {}
            }
        }
        document
    }

    /// A heading's anchor as code hosts make it: lower case, hyphens for spaces, no punctuation, a number when it is taken.
    fn add_anchor(&mut self, heading: &str) {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        let slug: String = kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect();
        let numbered = (1..).map(|n| format!("{slug}-{n}"));
        let free = std::iter::once(slug.clone()).chain(numbered).find(|slug| !self.anchors.contains(slug));
        self.anchors.extend(free);
    }
}

/// Why a link leads nowhere, if it does.
fn broken(paths: &BTreeSet<String>, documents: &BTreeMap<&str, Document>, from: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let Some(path) = (if file.is_empty() { Some(from.to_owned()) } else { resolve(from, file) }) else {
        return Some(format!("link {target} leaves the repository"));
    };
    let exists = path.is_empty() || paths.contains(&path) || paths.iter().any(|p| p.starts_with(&format!("{path}/")));
    if !exists {
        return Some(format!("link {target}: there is no {path}"));
    }
    let has_anchor = anchor.is_empty() || documents.get(path.as_str()).is_none_or(|d| d.anchors.contains(anchor));
    (!has_anchor).then(|| format!("link {target}: {path} has no such heading"))
}

/// The path from the root that a link in the file `from` means; none outside the repository.
fn resolve(from: &str, link: &str) -> Option<String> {
    if link.starts_with('/') {
        return None;
    }
    let mut parts: Vec<_> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(documents: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = documents.iter().map(|&(p, t)| File { path: p.into(), text: t.into() }).collect();
        let paths = files
            .iter()
            .map(|file| file.path.clone())
            .chain(["LICENSE".into(), "crates/cli/src/main.rs".into()])
            .collect();
        check(&paths, &files.iter().collect::<Vec<_>>()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn links_that_lead_somewhere() {
        let readme = "[a](docs/b.md), [c](LICENSE) ![d](./crates/cli/) [e][f] [h](#top-h) <https://example.org>\n\n[f]: docs/b.md#g\n\n# Top `h`!\n";
        assert!(
            found(&[("README.md", readme), ("docs/b.md", "# G\n\n[up](../README.md) [in](../crates/cli/src/main.rs)")])
                .is_empty()
        );
    }

    #[test]
    fn links_that_do_not() {
        assert_eq!(found(&[("docs/a.md", "one\n[b](b.md)")]), ["docs/a.md:2: link b.md: there is no docs/b.md"]);
        assert_eq!(found(&[("a.md", "[b](../b.md)")]), ["a.md:1: link ../b.md leaves the repository"]);
        assert_eq!(found(&[("a.md", "[b](/LICENSE)")]), ["a.md:1: link /LICENSE leaves the repository"]);
        assert_eq!(found(&[("a.md", "# A\n\n[b](#b)")]), ["a.md:3: link #b: a.md has no such heading"]);
        assert_eq!(found(&[("a.md", "[b][c]\n\n[c]: gone.md")]), ["a.md:1: link gone.md: there is no gone.md"]);
    }

    #[test]
    fn code_is_no_link() {
        assert!(found(&[("a.md", "`[b](c.md)`\n\n```\n[b](c.md)\n```\n")]).is_empty());
    }

    #[test]
    fn equal_headings_are_numbered() {
        let document = Document::parse("# Same\n\n# Same\n");
        assert_eq!(document.anchors, ["same", "same-1"].map(String::from).into());
    }
}
