//! The manual page and the shells' completions, as `man` and the shells read them. That they say what the table of verbs says is
//! tested beside the table.

use std::fs;
use std::process::Command;

use thimble_tests::lab::{has, thimble};

use super::{run, support};

/// The verbs, from the list in the help text.
fn verbs() -> Vec<String> {
    let (_, text) = run(Command::new(thimble()).arg("--help"));
    let list = text.split("Verbs:\n").nth(1).and_then(|text| text.split("\n\n").next()).expect("the list");
    let verbs: Vec<_> =
        list.lines().filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect();
    assert!(verbs.len() > 10, "{text}");
    verbs
}

/// The page as `man` shows it, and what groff warns of: macros that do not exist, texts that do not fit.
fn page(name: &str) -> Option<(String, String)> {
    if !has("man") {
        thimble_tests::lab::left_out("man");
        return None;
    }
    let output = Command::new("man")
        .args(["--warnings", "--encoding=UTF-8", "--local-file"])
        .arg(support().join("man").join(name))
        .env("MANWIDTH", "80")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .expect("it runs");
    let [text, warnings] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    Some((text, warnings))
}

#[test]
fn man_understands_the_page_and_it_has_every_verb() {
    let Some((text, warnings)) = page("thimble.1") else { return };
    assert_eq!(warnings, "");
    for verb in verbs() {
        assert!(text.lines().any(|line| line.trim_start().starts_with(&verb)), "{verb}: {text}");
    }
    assert!(text.contains("thimble install --reboot-exit-code release-2.mender"), "{text}");
}

#[test]
fn man_understands_the_page_of_the_configuration() {
    let Some((text, warnings)) = page("mender.conf.5") else { return };
    assert_eq!(warnings, "");
    assert!(text.lines().any(|line| line.trim() == "UpdatePollIntervalSeconds"), "{text}");
    assert!(text.contains("default 1800"), "{text}");
}

#[test]
fn the_page_of_the_makers_has_the_options_that_they_have() {
    let Some((text, warnings)) = page("artifact-gen.1") else { return };
    assert_eq!(warnings, "");
    let (_, help) = run(Command::new(support().join("makers/single-file-artifact-gen")).arg("--help"));
    let options: Vec<_> =
        help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2).collect();
    assert!(options.len() > 5, "{help}");
    for option in options {
        assert!(text.contains(option), "{option}: {text}");
    }
}

/// What is offered for the last word of each line, a line each: `words: offer offer`.
fn bash(lines: &[&str]) -> String {
    let file = support().join("completions/thimble.bash");
    let ask = "source \"$1\"; shift\n\
               compopt() { :; }\n\
               for line; do COMP_WORDS=($line); [[ $line == *' ' ]] && COMP_WORDS+=('')\n\
               COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _thimble; echo \"$line: ${COMPREPLY[*]}\"; done";
    let (good, text) = run(Command::new("bash").args(["--norc", "-c", ask, "bash"]).arg(file).args(lines));
    assert!(good, "{text}");
    text
}

#[test]
fn bash_completes_verbs_options_and_values() {
    let said = bash(&[
        "thimble co",
        "mender --log-level = w",
        "thimble -l ",
        "thimble install --st",
        "thimble commit --reb",
        "thimble -c control status --js",
        "thimble control pause --at ",
        "thimble control pause --for ",
        "thimble -c /etc/passw",
    ]);
    let expected = "thimble co: commit control\n\
                    mender --log-level = w: warning\n\
                    thimble -l : trace debug info warning error fatal\n\
                    thimble install --st: --stop-before\n\
                    thimble commit --reb: \n\
                    thimble -c control status --js: --json\n\
                    thimble control pause --at : install reboot commit\n\
                    thimble control pause --for : \n";
    let (mine, files) = said.split_at(expected.len().min(said.len()));
    assert_eq!(mine, expected);
    assert!(files.contains("/etc/passwd"), "{files}");
    let all = bash(&["thimble "]);
    for verb in verbs() {
        assert!(all.split_whitespace().any(|word| word == verb), "{verb}: {all}");
    }
}

#[test]
fn fish_completes_verbs_options_and_values() {
    if !has("fish") {
        thimble_tests::lab::left_out("fish");
        return;
    }
    let file = support().join("completions/thimble.fish");
    let home = tempfile::tempdir().expect("a directory");
    let ask = |line: &str| {
        let (good, text) = run(Command::new("fish")
            .env("HOME", home.path())
            .args(["--no-config", "--command"])
            .arg(format!("source {}; complete -C '{line}'", file.display())));
        assert!(good, "{text}");
        let words: Vec<_> =
            text.lines().filter_map(|line| line.split('\t').next().map(str::to_owned)).collect();
        words
    };
    assert_eq!(ask("thimble co"), ["commit", "control"]);
    assert_eq!(ask("mender-update -l "), ["debug", "error", "fatal", "info", "trace", "warning"]);
    assert_eq!(ask("thimble install --st"), ["--stop-before"]);
    assert_eq!(ask("thimble control pause --at "), ["commit", "install", "reboot"]);
    let all = ask("thimble ");
    assert!(verbs().iter().all(|verb| all.contains(verb)), "{all:?}");
}

#[test]
fn zsh_completes_verbs_options_and_values() {
    if !has("zsh") {
        thimble_tests::lab::left_out("zsh");
        return;
    }
    // A shell at a terminal of its own has a key that completes each line, one after the other, and notes what is offered.
    let begin = "PS1= PROMPT_SP=; fpath=($completions $fpath); autoload -U compinit; compinit -u -d $home/dump\n\
                 compadd() { local -a offers; builtin compadd -O offers \"$@\"\n\
                 print -r -- $offers >> $home/offers; builtin compadd \"$@\" }\n\
                 ask() { local line; while read -r line; do print -r -- \"$line:\" >> $home/offers\n\
                 BUFFER=\"${line% .}\"; CURSOR=$#BUFFER; zle complete-word; done < $home/lines\n\
                 BUFFER=\"echo fini''shed\"; zle accept-line }\n\
                 LISTMAX=10000; zle -N ask; bindkey '^X' ask; echo read''y\n";
    let script = "zmodload zsh/zpty; zpty shell zsh -f -i; zpty -w shell \". $home/begin\"\n\
                  zpty -r -m shell said '*ready*'; zpty -w -n shell $'\\030'\n\
                  zpty -r -m shell said '*finished*'; zpty -d shell";
    let home = tempfile::tempdir().expect("a directory");
    fs::write(home.path().join("begin"), begin).expect("it is written");
    // A full stop stands for the end of a line with a blank.
    let lines = "thimble  .\nthimble install --\nmender -l  .\nthimble control  .\n";
    fs::write(home.path().join("lines"), lines).expect("it is written");
    let (good, said) = run(Command::new("timeout")
        .args(["60", "zsh", "-f", "-c", script, "zsh"])
        .env("completions", support().join("completions"))
        .env("home", home.path())
        .env("HOME", home.path())
        .env("TERM", "vt100"));
    assert!(good, "{said}");
    let offers = fs::read_to_string(home.path().join("offers")).expect("offers");
    let of =
        |line: &str| offers.split(&format!("{line}:\n")).nth(1).and_then(|rest| rest.split(":\n").next());
    let offered = |line: &str, word: &str| {
        let offers = of(line).unwrap_or_default();
        assert!(offers.split_whitespace().any(|offer| offer == word), "{line}, {word}: {offers}");
    };
    for verb in verbs() {
        offered("thimble  .", &verb);
    }
    offered("thimble install --", "--stop-before");
    offered("mender -l  .", "fatal");
    offered("thimble control  .", "continue");
}
