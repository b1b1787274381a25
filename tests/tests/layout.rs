//! No file of a crate imports another that imports it, directly or by way of others; and no room does, a room being a
//! module right below the crate's root with all of its files.
//!
//! Read are the paths in the code that begin with `crate`, `self`, `super` or a module's own name, in `use` and
//! elsewhere. A name that one file takes from another and passes on counts for the file that defines it. A file may use
//! what its own parents define (`super::Error`): the parent then is the room's common ground. Tests are not read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A crate, its sources, and the other crates of this project that it may use.
const CRATES: [(&str, &[&str]); 5] = [
    ("core", &[]),
    ("hal-linux", &["thimble_core"]),
    ("hal-sim", &["thimble_core"]),
    ("bin/thimble", &["thimble_core", "thimble_hal_linux"]),
    ("bin/thimble-sim", &["thimble_core", "thimble_hal_linux", "thimble_hal_sim"]),
];

/// Circles that are known and still to be taken apart. One that is gone, or has become smaller, has to be changed here.
const KNOWN: [(&str, &[&str]); 0] = [];

#[test]
fn no_file_and_no_room_imports_what_imports_it() {
    let mut known = KNOWN.to_vec();
    let mut wrong = String::new();
    for (name, _) in CRATES {
        let sources = Sources::read(name);
        for (kind, arrows) in [("files", sources.arrows()), ("rooms", sources.rooms())] {
            for circle in circles(&arrows) {
                if let Some(index) = known.iter().position(|(of, known)| *of == name && *known == circle) {
                    known.remove(index);
                    continue;
                }
                wrong += &format!("{name}: these {kind} import each other: {}\n", circle.join(", "));
                for ((from, to), names) in &arrows {
                    if circle.contains(from) && circle.contains(to) {
                        let names: Vec<&str> = names.iter().map(String::as_str).collect();
                        wrong += &format!("  {from} -> {to}: {}\n", names.join(", "));
                    }
                }
            }
        }
    }
    for (name, circle) in known {
        wrong += &format!("{name}: a known circle is gone, remove it from KNOWN: {}\n", circle.join(", "));
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn no_crate_uses_one_beside_or_above_it() {
    for (name, allowed) in CRATES {
        for (file, source) in &Sources::read(name).files {
            for path in &source.paths {
                let first = path.first().map(String::as_str).unwrap_or_default();
                let is_ours = first.starts_with("thimble_") && first != "thimble_tests";
                assert!(!is_ours || allowed.contains(&first), "{name}: {file} uses {first}");
            }
        }
    }
}

/// In a board's image, Rust's notation of a value brings the names of all its fields, and is nothing for people.
#[test]
fn core_shows_nothing_in_rusts_notation() {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src"), "", &mut files);
    for (file, text) in
        files.iter().filter(|(file, _)| !file.ends_with("tests.rs") && !file.ends_with("/walk.rs"))
    {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (number, line) in (1..).zip(code.lines()) {
            assert!(!line.contains(":?}") && !line.contains(":#?}"), "core/src/{file}:{number}: {line}");
        }
    }
}

#[test]
fn circles_are_found_across_reexports_and_through_others() {
    let sources = Sources::of(&[
        ("lib.rs", "mod a; mod b; mod c; mod d; pub(crate) struct Common;"),
        (
            "a.rs",
            "use crate::b::{self, inner::Deep as Other, Thing};\n#[cfg(test)]\nmod tests {\n use crate::d::X;\n}",
        ),
        ("b/mod.rs", "mod inner; // use crate::a::No;\npub use inner::Deep; pub struct Thing;"),
        ("b/inner.rs", "use super::Thing; pub struct Deep; fn f() { crate::c::f(crate::Common) }"),
        (
            "c.rs",
            "use crate::d; pub fn f<'a>() { d::g(); \"{ \\\" use crate::a;\"; r#\"crate::a::b \"\"#; '\"'; }",
        ),
        ("d.rs", "use crate::b::Deep; pub fn g() -> impl Sized + use<> { a; b }"),
    ]);
    assert_eq!(circles(&sources.arrows()), [["b/inner.rs", "c.rs", "d.rs"]]);
    assert_eq!(circles(&sources.rooms()), [["b", "c", "d"]]);
    let names = &sources.arrows()[&("a.rs".to_owned(), "b/inner.rs".to_owned())];
    assert_eq!(names.iter().collect::<Vec<_>>(), ["Deep"]);
}

/// The sources of a crate.
struct Sources {
    files: BTreeMap<String, Source>,
}

/// One file.
struct Source {
    /// Where its module is, from the root of the crate.
    module: Vec<String>,
    /// Every path in it that may lead to another file.
    paths: Vec<Vec<String>>,
    /// What it takes from elsewhere by `use`, under the name it has here.
    imports: BTreeMap<String, Vec<String>>,
}

/// Who takes which names from whom.
type Arrows = BTreeMap<(String, String), BTreeSet<String>>;

impl Sources {
    fn read(name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name).join("src");
        let mut texts = Vec::new();
        collect(&root, "", &mut texts);
        let texts: Vec<(&str, &str)> = texts.iter().map(|(file, text)| (&**file, &**text)).collect();
        Self::of(&texts)
    }

    fn of(texts: &[(&str, &str)]) -> Self {
        let source = |(file, text): &(&str, &str)| ((*file).to_owned(), Source::of(file, text));
        Self { files: texts.iter().map(source).collect() }
    }

    fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (file, source) in &self.files {
            for path in &source.paths {
                let Some((target, name)) = self.resolve(source, path, 0) else { continue };
                let is_own_parent = source.module.starts_with(&self.files[target].module);
                if !is_own_parent {
                    arrows.entry((file.clone(), target.clone())).or_default().insert(name);
                }
            }
        }
        arrows
    }

    /// The arrows between modules right below the root.
    fn rooms(&self) -> Arrows {
        let room = |file: &String| self.files[file].module.first().cloned();
        let mut rooms = Arrows::new();
        for ((from, to), names) in self.arrows() {
            if let (Some(from), Some(to)) = (room(&from), room(&to))
                && from != to
            {
                rooms.entry((from, to)).or_default().extend(names);
            }
        }
        rooms
    }

    /// The file that defines what a path names, and the name.
    fn resolve(&self, source: &Source, path: &[String], depth: usize) -> Option<(&String, String)> {
        let (mut module, mut rest) = match path.first()?.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (source.module.clone(), &path[1..]),
            "super" => {
                let up = path.iter().take_while(|part| *part == "super").count();
                (source.module[..source.module.len().checked_sub(up)?].to_vec(), &path[up..])
            }
            _ => (source.module.clone(), path),
        };
        let mut found = self.module(&module)?;
        let is_relative = rest.len() == path.len();
        while let Some(next) = rest.first() {
            module.push(next.clone());
            let Some(deeper) = self.module(&module) else { break };
            (found, rest) = (deeper, &rest[1..]);
        }
        // A word that is no module here is one of another crate, or was imported and is seen there.
        if is_relative && rest.len() == path.len() {
            return None;
        }
        let (file, definer) = found;
        let name =
            rest.first().cloned().unwrap_or_else(|| definer.module.last().cloned().unwrap_or_default());
        match definer.imports.get(&name).filter(|_| depth < 8) {
            Some(import) if !rest.is_empty() => {
                self.resolve(definer, import, depth + 1).or(Some((file, name)))
            }
            Some(_) | None => Some((file, name)),
        }
    }

    fn module(&self, module: &[String]) -> Option<(&String, &Source)> {
        self.files.iter().find(|(_, source)| source.module == module)
    }
}

impl Source {
    fn of(file: &str, text: &str) -> Self {
        let mut module: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        let last = module.last().map(String::as_str).unwrap_or_default();
        if last == "mod" || (module.len() == 1 && matches!(last, "lib" | "main")) {
            module.pop();
        }
        let (mut paths, mut imports) = (Vec::new(), BTreeMap::new());
        let words = words(text);
        let mut at = 0;
        while at < words.len() {
            // `use<'a>` says what a type captures.
            if words[at] == "use" && words.get(at + 1).is_some_and(|word| word != "<") {
                at += 1;
                let mut leaves = Vec::new();
                tree(&words, &mut at, &[], &mut leaves);
                for (name, path) in leaves {
                    imports.insert(name, path.clone());
                    paths.push(path);
                }
                continue;
            }
            let begin = at;
            while words.get(at + 1).is_some_and(|word| word == "::")
                && words.get(at + 2).is_some_and(|word| is_name(word))
            {
                at += 2;
            }
            if at > begin && is_name(&words[begin]) {
                paths.push(words[begin..=at].iter().step_by(2).cloned().collect());
            }
            at += 1;
        }
        Self { module, paths, imports }
    }
}

/// Every source below a folder that is no test.
fn collect(folder: &Path, prefix: &str, texts: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            if name != "tests" {
                collect(&entry.path(), &format!("{prefix}{name}/"), texts);
            }
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            texts.push((format!("{prefix}{name}"), fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

/// The code of a file in words and signs, without comments, texts and the tests at its end.
fn words(text: &str) -> Vec<String> {
    let mut rest = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut words = Vec::new();
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(length) = literal(rest) {
            length
        } else if rest.starts_with("::") {
            2
        } else if is_name(rest) {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (word, behind) = rest.split_at(length);
        if is_name(word) || word.len() <= 2 && !word.starts_with([' ', '\n', '/', '"']) {
            words.push(word.to_owned());
        }
        rest = behind;
    }
    words
}

/// The length of the text or character that `code` begins with, if it does.
fn literal(code: &str) -> Option<usize> {
    let hashes = code.strip_prefix('r').map(|raw| raw.len() - raw.trim_start_matches('#').len());
    if let Some(hashes) = hashes.filter(|hashes| code[1 + hashes..].starts_with('"')) {
        let end = format!("\"{}", "#".repeat(hashes));
        return code[2 + hashes..].find(&end).map(|at| 2 + hashes + at + end.len());
    }
    let quote = code.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    if quote == '\'' && !code.starts_with("'\\") && code.chars().nth(2).is_none_or(|third| third != '\'') {
        // A lifetime.
        return None;
    }
    let mut escaped = false;
    let end = code.char_indices().skip(1).find(|&(_, c)| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.map(|(at, _)| at + 1)
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_') && literal(word).is_none()
}

/// Reads one branch of what follows `use`: each leaf with the name it gets.
fn tree(words: &[String], at: &mut usize, prefix: &[String], leaves: &mut Vec<(String, Vec<String>)>) {
    let mut path = prefix.to_vec();
    let mut name = None;
    while let Some(word) = words.get(*at) {
        match word.as_str() {
            "{" => {
                *at += 1;
                while words.get(*at).is_some_and(|word| word != "}" && word != ";") {
                    tree(words, at, &path, leaves);
                    if words.get(*at).is_some_and(|word| word == ",") {
                        *at += 1;
                    }
                }
                *at += 1;
                return;
            }
            "," | "}" | ";" => break,
            "as" => {
                name = words.get(*at + 1).cloned();
                *at += 1;
            }
            "::" => {}
            "self" if !path.is_empty() => {}
            _ => path.push(word.clone()),
        }
        *at += 1;
    }
    let last = path.last().cloned().unwrap_or_default();
    leaves.push((name.unwrap_or(last), path));
}

/// The largest groups whose members all reach each other, sorted.
fn circles(arrows: &Arrows) -> Vec<Vec<String>> {
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in arrows.keys() {
        reached.entry(from).or_default().insert(to);
    }
    loop {
        let before: usize = reached.values().map(BTreeSet::len).sum();
        for (from, targets) in reached.clone() {
            let further =
                targets.iter().filter_map(|to| reached.get(to)).flatten().copied().collect::<Vec<_>>();
            reached.entry(from).or_default().extend(further);
        }
        if reached.values().map(BTreeSet::len).sum::<usize>() == before {
            break;
        }
    }
    let mut circles = BTreeSet::new();
    for (member, targets) in reached.iter().filter(|(member, targets)| targets.contains(*member)) {
        let back = |to: &&&str| reached.get(**to).is_some_and(|targets| targets.contains(member));
        circles.insert(targets.iter().filter(back).map(|to| (*to).to_owned()).collect::<Vec<String>>());
    }
    circles.into_iter().collect()
}
