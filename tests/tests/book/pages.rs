//! Pages, and the blocks of commands on them.

use std::fs;
use std::path::{Path, PathBuf};

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A page of the book.
pub(crate) struct Page {
    /// From the root of the repository.
    pub(crate) path: String,
    pub(crate) blocks: Vec<Block>,
}

/// A block of commands for a shell.
pub(crate) struct Block {
    /// The line of its first command.
    pub(crate) line: usize,
    pub(crate) marker: Result<Marker, String>,
    text: String,
    /// Lines that it prints, among others: those of the block behind it that has `<!-- printed -->` above it.
    printed: Vec<String>,
}

/// What becomes of a block.
pub(crate) enum Marker {
    /// It is run, and ends with this status.
    Run(u8),
    /// This test runs it.
    RunBy(String),
    /// Nobody does, and it says why.
    NotRun,
}

/// All pages of the table of contents, in its order.
pub(crate) fn book() -> Vec<Page> {
    let contents = fs::read_to_string(root().join("docs/SUMMARY.md")).expect("the table of contents");
    let targets = contents.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.map(|target| Page::read(&from_root(target))).collect()
}

/// A link of the table of contents as a path from the root.
fn from_root(target: &str) -> String {
    target.strip_prefix("../").map_or_else(|| format!("docs/{target}"), str::to_owned)
}

impl Page {
    pub(crate) fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut blocks = Vec::new();
        let mut lines = text.lines().enumerate();
        let mut before = "";
        while let Some((_, line)) = lines.next() {
            // An item of a list has its blocks indented.
            if line.trim_start() == "```sh" {
                let marker = marker(before);
                let mut block = Block { line: 0, marker, text: String::new(), printed: Vec::new() };
                for (number, line) in lines.by_ref().take_while(|(_, line)| line.trim_start() != "```") {
                    block.line = if block.line == 0 { number + 1 } else { block.line };
                    block.text += &format!("{line}\n");
                }
                blocks.push(block);
            } else if line == "```text" && before == "<!-- printed -->" {
                let lines = lines.by_ref().map(|(_, line)| line.to_owned()).take_while(|line| line != "```");
                blocks.last_mut().expect("commands above what is printed").printed = lines.collect();
            }
            before = line;
        }
        Self { path: path.to_owned(), blocks }
    }

    /// Its blocks that are run here, as a script for bash.
    pub(crate) fn script(&self) -> String {
        let mut script = String::new();
        for Block { line, marker, text, printed } in &self.blocks {
            let text =
                if printed.is_empty() { text.clone() } else { format!("{{\n{text}}} > printed 2>&1\n") };
            match marker {
                Ok(Marker::Run(0)) => script += &format!("at {line}\n{text}"),
                Ok(Marker::Run(status)) => {
                    script += &format!("at {line}\nended=0; {{\n{text}}} || ended=$?; is $ended {status}\n");
                }
                Ok(Marker::RunBy(_) | Marker::NotRun) | Err(_) => {}
            }
            for line in printed {
                script += &format!("prints '{}'\n", line.replace('\'', "'\\''"));
            }
        }
        script
    }
}

/// What the line above a block says.
fn marker(line: &str) -> Result<Marker, String> {
    let words = line.trim().strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->"));
    let words = words.ok_or("a block of commands has no comment above it; see tests/tests/book/main.rs")?;
    if words == "run" {
        return Ok(Marker::Run(0));
    }
    if let Some(status) = words.strip_prefix("run: status ") {
        return status.parse().map(Marker::Run).map_err(|_| format!("{status} is no exit status"));
    }
    if let Some(file) = words.strip_prefix("run by ") {
        return Ok(Marker::RunBy(file.to_owned()));
    }
    match words.strip_prefix("not run: ") {
        Some(reason) if !reason.trim().is_empty() => Ok(Marker::NotRun),
        Some(_) | None => Err(format!("what does \"{words}\" mean?")),
    }
}
