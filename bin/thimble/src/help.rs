//! Help texts, made from the table in `verbs`.

#[cfg(test)]
mod completions;
#[cfg(test)]
mod man;

use std::fmt::Write;

use crate::verbs::{ABOUT, ENVIRONMENT, EXIT_STATUS, GLOBALS, Switch, VerbName, page};

/// The help text: of `verb`, or the overview. `program` is the name the client was called by.
pub(crate) fn text(program: &str, verb: Option<VerbName>) -> String {
    verb.map_or_else(|| overview(program), |verb| verb_page(program, verb))
}

fn overview(program: &str) -> String {
    let mut out = format!(
        "{program} {}\n{ABOUT}\n\n\
         Usage: {program} [OPTIONS] VERB [ARGUMENT]\n\nVerbs:\n",
        env!("CARGO_PKG_VERSION")
    );
    for verb in VerbName::ALL {
        line(&mut out, verb.name(), page(verb).summary, 20);
    }
    options(&mut out, &[]);
    let _ = write!(out, "\nExit status: {EXIT_STATUS}\n\n{ENVIRONMENT}\n");
    let _ = writeln!(out, "'{program} VERB --help' says more of a verb.");
    out
}

fn verb_page(program: &str, verb: VerbName) -> String {
    let page = page(verb);
    let usage = usage(verb);
    let mut out = format!("{}.\n\nUsage: {program} [OPTIONS] {usage}\n", page.summary);
    if !page.text.is_empty() {
        let _ = write!(out, "\n{}\n", page.text);
    }
    options(&mut out, page.options);
    out.push_str("\nExamples:\n");
    for example in page.examples {
        let _ = writeln!(out, "  {program} {example}");
    }
    out
}

/// The verb and what stands behind it.
fn usage(verb: VerbName) -> String {
    format!("{} {}", verb.name(), page(verb).argument.placeholder()).trim_end().to_owned()
}

fn options(out: &mut String, own: &[Switch]) {
    out.push_str("\nOptions:\n");
    for switch in own.iter().chain(&GLOBALS) {
        let short = switch.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
        let name = format!("{short}--{} {}", switch.long, switch.value.placeholder());
        let words = if switch.value.lists_words() {
            format!(":\n{:32}{}", "", switch.value.words().join(&format!(",\n{:32}", "")))
        } else {
            String::new()
        };
        line(out, name.trim_end(), &format!("{}{words}", switch.text), 30);
    }
}

fn line(out: &mut String, name: &str, text: &str, width: usize) {
    let _ = writeln!(out, "  {name:width$}{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_fits_a_terminal_and_names_its_verb() {
        for verb in [None].into_iter().chain(VerbName::ALL.map(Some)) {
            let text = text("mender", verb);
            assert!(text.ends_with('\n') && !text.contains("\n\n\n"), "{text}");
            assert!(text.lines().all(|line| line.len() <= 110), "{text}");
            assert!(text.contains("Usage: mender [OPTIONS]") && text.contains("--datastore"), "{text}");
            if let Some(verb) = verb {
                assert!(
                    text.contains(&format!("\n  mender {}", verb.name())) || verb == VerbName::ShowProvides,
                    "{text}"
                );
                assert_eq!(
                    text.contains("ArtifactCommit_Leave\n") || text.contains("Cleanup"),
                    verb.takes("stop-before"),
                    "{text}"
                );
            }
        }
    }
}
