//! One page of Markdown, as far as its tests look at it: fenced blocks, headings, links.

use std::fs;
use std::path::{Path, PathBuf};

/// A Markdown file of the repository.
pub(super) struct Page {
    /// From the root of the repository, with `/`.
    pub(super) path: String,
    text: String,
}

impl Page {
    pub(super) fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path: path.to_owned(), text }
    }

    /// Where a relative link of this page leads, from the root of the repository.
    pub(super) fn relative(&self, link: &str) -> String {
        let path = link.split('#').next().unwrap_or_default();
        let mut parts: Vec<_> = self.path.split('/').collect();
        parts.pop();
        for part in path.split('/') {
            match part {
                ".." => drop(parts.pop()),
                "." | "" => {}
                part => parts.push(part),
            }
        }
        parts.join("/")
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The blocks whose language is `language`.
    pub(super) fn blocks(&self, language: &str) -> Vec<String> {
        let of_language = |(fence, _): &(String, String)| fence.split(',').next() == Some(language);
        self.fenced().into_iter().filter(of_language).map(|(_, block)| block).collect()
    }

    /// What stands behind the opening fence of each block.
    pub(super) fn fences(&self) -> Vec<String> {
        self.fenced().into_iter().map(|(fence, _)| fence).collect()
    }

    /// The commands of the blocks of a console, each without its comment.
    pub(super) fn commands(&self) -> Vec<String> {
        let blocks = self.blocks("console");
        let lines = blocks.iter().flat_map(|block| block.lines()).filter_map(|line| line.strip_prefix("$ "));
        let lines = lines.map(|line| line.split(" #").next().unwrap_or_default());
        let commands = lines.flat_map(|line| line.split("&&").flat_map(|part| part.split('|')));
        commands.map(|command| command.trim().to_owned()).filter(|command| !command.is_empty()).collect()
    }

    /// The identifiers of the headings, as GitHub and mdBook make them.
    pub(super) fn anchors(&self) -> Vec<String> {
        let prose = self.prose();
        let headings = prose.iter().filter(|line| line.starts_with('#'));
        headings.map(|heading| anchor(heading.trim_start_matches('#').trim())).collect()
    }

    /// The targets of links and pictures.
    pub(super) fn links(&self) -> Vec<String> {
        let prose = self.prose().join("\n");
        let code_removed: Vec<_> = prose.split('`').step_by(2).collect();
        let text = code_removed.join("");
        let starts = text.match_indices("](").map(|(start, _)| &text[start + 2..]);
        starts.filter_map(|rest| rest.split(')').next()).map(str::to_owned).collect()
    }

    /// The lines outside of fenced blocks.
    fn prose(&self) -> Vec<&str> {
        let mut inside = false;
        let outside = |line: &&str| {
            let fence = line.trim_start().starts_with("```");
            inside ^= fence;
            !inside && !fence
        };
        self.text.lines().filter(outside).collect()
    }

    /// The fenced blocks, each with what stands behind its opening fence.
    fn fenced(&self) -> Vec<(String, String)> {
        let mut blocks = Vec::new();
        let mut open: Option<(String, String)> = None;
        for line in self.text.lines() {
            match (line.trim_start().strip_prefix("```"), open.take()) {
                (Some(_), Some(block)) => blocks.push(block),
                (Some(fence), None) => open = Some((fence.to_owned(), String::new())),
                (None, Some((fence, block))) => open = Some((fence, block + line + "\n")),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block does not end", self.path);
        blocks
    }
}

/// All pages.
pub(super) fn pages() -> Vec<Page> {
    let mut paths = markdown_in(".");
    for folder in [".github", "crates", "deploy", "fuzz", "peers", "tests"] {
        paths.extend(markdown_below(folder));
    }
    let others = paths.iter().map(|path| Page::read(path));
    others.chain(book()).collect()
}

/// The pages of the book, in order of their paths.
pub(super) fn book() -> Vec<Page> {
    let mut paths = markdown_below("docs");
    paths.sort();
    paths.iter().map(|path| Page::read(path)).collect()
}

/// The root of the repository.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn markdown_below(folder: &str) -> Vec<String> {
    let mut paths = markdown_in(folder);
    let Ok(entries) = fs::read_dir(root().join(folder)) else { return paths };
    let folders = entries.map(|entry| entry.unwrap()).filter(|entry| entry.file_type().unwrap().is_dir());
    for name in folders.map(|entry| entry.file_name().into_string().unwrap()) {
        // What tools leave behind is not ours.
        if !["target", "node_modules"].contains(&name.as_str()) {
            paths.extend(markdown_below(&format!("{folder}/{name}")));
        }
    }
    paths
}

fn markdown_in(folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root().join(folder)) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let pages = names.filter(|name| name.ends_with(".md"));
    pages.map(|name| if folder == "." { name } else { format!("{folder}/{name}") }).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}
