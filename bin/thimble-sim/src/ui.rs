//! `ui`: the page of `explore`, with a server behind it that computes what follows from whatever is made to go wrong.

use std::io::Write;

use thimble_hal_sim::story::Path;

use crate::explore::{self, Explored, Verb, walk_help};
use crate::failure::Failure;
use crate::loopback::{self, Answer};
use crate::page::{self, policy};
use crate::subject::subject_help;

pub(crate) const HELP: &str = concat!(
    "\
Serves the page of `explore` on this machine, and lets you make things go wrong at every step.

At each step of a way the page says what else can happen there. Choose one, and the update goes on from there in the
real client; choose another at a later step, and so on. The address of the page holds what was chosen. Prints the
address, and serves until it is ended (Ctrl-C). Only programs on this machine can reach it.

Usage: thimble-sim ui OPTION...

",
    subject_help!(),
    "\n",
    walk_help!(),
    "  --path PATH           show this way first
  --port N              listen there on 127.0.0.1 [a free port]

One of the options of the first part must be there.

Examples:
  thimble-sim ui --artifact release-2.mender --scripts state-scripts
  thimble-sim ui --device slots --port 8080
",
);

/// Serves until the process is ended.
pub(crate) fn run(out: &mut dyn Write, words: &[&str]) -> Result<bool, Failure> {
    let options = explore::read(Verb::Ui, words, HELP)?;
    let port = options.port;
    let socket = loopback::listen(port).map_err(|error| format!("port {port}: {error}"))?;
    let address = socket.local_addr().map_err(|error| format!("port {port}: {error}"))?;
    let fragment = options.path.as_ref().map_or_else(String::new, |path| format!("#path={path}"));
    let explored = Explored::of(options);
    writeln!(out, "http://{address}/{fragment}")?;
    out.flush()?;
    let site = Site { page: page::of(explored.document(), true), explored };
    let served = loopback::serve(&socket, &|target| site.answer(target));
    served.map_err(|error| format!("http://{address}/ takes no connection any more: {error}"))?;
    Ok(true)
}

/// What is served.
struct Site {
    page: String,
    explored: Explored,
}

impl Site {
    fn answer(&self, target: &str) -> Answer {
        const JSON: &str = "application/json; charset=utf-8";
        match target.split_once('?').unwrap_or((target, "")) {
            ("/", _) => Answer {
                status: 200,
                kind: "text/html; charset=utf-8",
                body: self.page.clone(),
                policy: policy(true),
            },
            ("/document", "") => Answer::plain(200, JSON, self.explored.document().to_string()),
            ("/path", query) => match query.strip_prefix("at=").map(Path::read) {
                Some(Ok(path)) => Answer::plain(200, JSON, self.explored.way(path).to_string()),
                Some(Err(why)) => Answer::refusal(400, &why),
                None => Answer::refusal(400, "/path?at=14.3,52.7 is asked, with a path."),
            },
            _ => Answer::refusal(404, "There is /, /document and /path?at=14.3,52.7."),
        }
    }
}
