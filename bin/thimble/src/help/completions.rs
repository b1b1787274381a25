//! What shells complete, `support/completions/`: made from the table of verbs.

use std::fmt::Write;

use super::man::is_as_written;
use crate::verbs::{Argument, GLOBALS, Page, Switch, Value, VerbName, page};

/// The names that the program is installed under.
const NAMES: [&str; 4] = ["thimble", "mender-update", "mender", "mender-auth"];
const MADE: &str = "# Made from the table of verbs, bin/thimble/src/verbs.rs, by a test.\n";

#[test]
fn completions_are_what_the_table_says() {
    is_as_written("completions/thimble.bash", &bash());
    is_as_written("completions/_thimble", &zsh());
    is_as_written("completions/thimble.fish", &fish());
}

fn verbs() -> impl Iterator<Item = (&'static str, Page)> {
    VerbName::ALL.into_iter().map(|verb| (verb.name(), page(verb)))
}

/// Every option with a value, once.
fn valued() -> Vec<&'static Switch> {
    let mut found: Vec<&Switch> = Vec::new();
    for switch in GLOBALS.iter().chain(VerbName::ALL.into_iter().flat_map(|verb| page(verb).options)) {
        if switch.value != Value::Nothing && found.iter().all(|other| other.long != switch.long) {
            found.push(switch);
        }
    }
    found
}

fn spellings(switch: &Switch, between: &str) -> String {
    let short = switch.short.map_or(String::new(), |short| format!("-{short}{between}"));
    format!("{short}--{}", switch.long)
}

fn words(switches: &[Switch]) -> String {
    switches.iter().map(|switch| spellings(switch, " ")).collect::<Vec<_>>().join(" ")
}

fn bash() -> String {
    let mut out = format!("{MADE}_thimble() {{\n");
    out.push_str("    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb='' i\n    COMPREPLY=()\n");
    out.push_str("    # '=' is a word of its own.\n");
    out.push_str("    if [ \"$cur\" = = ]; then cur=''; elif [ \"$prev\" = = ]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi\n");
    let names: Vec<_> = valued().into_iter().map(|switch| spellings(switch, "|")).collect();
    let all: Vec<_> = VerbName::ALL.map(VerbName::name).to_vec();
    let _ = write!(
        out,
        "    for ((i = 1; i < COMP_CWORD; i++)); do\n        case ${{COMP_WORDS[i]}} in\n            \
         {}) [ \"${{COMP_WORDS[i+1]}}\" != = ] || ((i++)); ((i++)) ;;\n            \
         {}) verb=${{COMP_WORDS[i]}}; break ;;\n        esac\n    done\n    case $prev in\n",
        names.join("|"),
        all.join("|")
    );
    for switch in valued() {
        let what = match switch.value {
            Value::File => {
                "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")".to_owned()
            }
            Value::Directory => {
                "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- \"$cur\")".to_owned()
            }
            Value::Level | Value::State | Value::Points | Value::Compression => {
                format!(
                    "mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$cur\")",
                    switch.value.words().join(" ")
                )
            }
            Value::Other(_) | Value::Nothing => ":".to_owned(),
        };
        let _ = writeln!(out, "        {}) {what}; return ;;", spellings(switch, "|"));
    }
    let _ = write!(out, "    esac\n    local words='{}'\n    case $verb in\n", words(&GLOBALS));
    let _ = writeln!(out, "        '') words+=' {}' ;;", all.join(" "));
    for (name, page) in verbs() {
        let own = format!("{} {}", words(page.options), page.argument.words().join(" "));
        let files = if page.argument == Argument::Artifact {
            "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); "
        } else {
            ""
        };
        if !own.trim().is_empty() {
            let _ = writeln!(out, "        {name}) {files}words+=' {}' ;;", own.trim());
        }
    }
    out.push_str(
        "    esac\n    mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n}\n",
    );
    let _ = writeln!(out, "complete -F _thimble {}", NAMES.join(" "));
    out
}

fn zsh() -> String {
    let quoted =
        |text: &str| text.replace('\'', "'\\''").replace('[', "\\[").replace(']', "\\]").replace(':', "\\:");
    let spec = |switch: &Switch, level: &str| {
        let value = match switch.value {
            Value::Nothing => String::new(),
            Value::File => ":file:_files".to_owned(),
            Value::Directory => ":directory:_files -/".to_owned(),
            Value::Level | Value::State | Value::Points | Value::Compression => {
                format!(":{}:({})", switch.value.placeholder(), switch.value.words().join(" "))
            }
            Value::Other(name) => format!(":{name}: "),
        };
        let text = quoted(switch.text);
        let more = if switch.value == Value::State { "*" } else { "" };
        let long = |equals: &str| format!("{level}'{more}--{}{equals}[{text}]{value}' \\\n", switch.long);
        let equals = if switch.value == Value::Nothing { "" } else { "=" };
        let short =
            switch.short.map_or(String::new(), |short| format!("{level}'-{short}[{text}]{value}' \\\n"));
        format!("{short}{}", long(equals))
    };
    let mut out = format!("#compdef {}\n{MADE}local line state\n_arguments -C \\\n", NAMES.join(" "));
    for switch in &GLOBALS {
        out.push_str(&spec(switch, "    "));
    }
    out.push_str(
        "    '1: :->verb' \\\n    '*:: :->rest' && return\ncase $state in\nverb)\n    local -a verbs=(\n",
    );
    for (name, page) in verbs() {
        let _ = writeln!(out, "        '{name}:{}'", quoted(page.summary));
    }
    out.push_str("    )\n    _describe verb verbs ;;\nrest)\n    case $line[1] in\n");
    for (name, page) in verbs() {
        let _ = writeln!(out, "    {name})\n        _arguments \\");
        for switch in page.options.iter().chain(&GLOBALS) {
            out.push_str(&spec(switch, "            "));
        }
        let argument = match page.argument {
            Argument::Nothing => "            && return ;;\n".to_owned(),
            Argument::Artifact => "            '1:artifact:_files' && return ;;\n".to_owned(),
            Argument::Act | Argument::Dump => {
                format!("            '1:what:({})' && return ;;\n", page.argument.words().join(" "))
            }
        };
        out.push_str(&argument);
    }
    out.push_str("    esac ;;\nesac\n");
    out
}

fn fish() -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    let spec = |condition: &str, switch: &Switch| {
        let short = switch.short.map_or(String::new(), |short| format!(" -s {short}"));
        let value = match switch.value {
            Value::Nothing => String::new(),
            Value::File => " -r -F".to_owned(),
            Value::Directory => " -x -a '(__fish_complete_directories)'".to_owned(),
            Value::Level | Value::State | Value::Points | Value::Compression => {
                format!(" -x -a '{}'", switch.value.words().join(" "))
            }
            Value::Other(_) => " -x".to_owned(),
        };
        format!(
            "    complete -c $name{condition}{short} -l {}{value} -d '{}'\n",
            switch.long,
            quoted(switch.text)
        )
    };
    let mut out = format!("{MADE}for name in {}\n    complete -c $name -f\n", NAMES.join(" "));
    for switch in &GLOBALS {
        out.push_str(&spec("", switch));
    }
    let all = VerbName::ALL.map(VerbName::name).join(" ");
    for (name, page) in verbs() {
        let none = format!("-n 'not __fish_seen_subcommand_from {all}'");
        let _ = writeln!(out, "    complete -c $name {none} -a {name} -d '{}'", quoted(page.summary));
        let condition = format!(" -n '__fish_seen_subcommand_from {name}'");
        for switch in page.options {
            out.push_str(&spec(&condition, switch));
        }
        match page.argument {
            Argument::Nothing => {}
            Argument::Artifact => {
                let _ = writeln!(out, "    complete -c $name{condition} -F");
            }
            Argument::Act | Argument::Dump => {
                let _ = writeln!(
                    out,
                    "    complete -c $name{condition} -a '{}'",
                    page.argument.words().join(" ")
                );
            }
        }
    }
    out.push_str("end\n");
    out
}
