//! `setup`: writes `mender.conf` and `device_type`, by options or by answers, and asks the server whether it is there.

mod answers;
mod login;
mod questions;

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::rc::Rc;

use thimble_core::hal::Level;
use thimble_hal_linux::SharedLog;
use thimble_hal_linux::config::{Draft, MenderConf, Source, replace};
use thimble_hal_linux::log::Logger;
use thimble_hal_linux::network::HttpNetwork;
use thimble_hal_linux::paths::Paths;
use thimble_hal_linux::storage::DataDirectory;

use self::answers::{Answers, Known};
use self::questions::Questions;
use crate::args::Invocation;
use crate::device::{Device, network_config};
use crate::exchange::greet;
use crate::output::{Failure, SUCCESS, hint, tell};

/// Where Mender's demo server is to be found by its name.
const HOSTS: &str = "/etc/hosts";

pub(crate) fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let is_quiet = invocation.switch("quiet") == Some(true);
    let paths = Paths::from_environment(invocation.globals.datastore.as_deref());
    let mut questions = Questions::new(is_quiet);
    let config = invocation.globals.config.clone().unwrap_or_else(|| paths.config());
    let log: SharedLog = Rc::new(RefCell::new(Logger::new(Level::Warning, paths.deployment_logs())));
    let mut answers = Answers::collect(invocation, &paths, &log, &Known::of(&config), &mut questions)?;
    let fallback = invocation.globals.fallback_config.clone().unwrap_or_else(|| paths.fallback_config());
    let fallback = Source { path: &fallback, required: invocation.globals.fallback_config.is_some() };
    let (mut draft, conf) = drafted(&config, fallback, &answers)?;
    // Certificates are read now, and not by a daemon that then does not start.
    let mut network = network_config(&conf);
    network.skip_verify |= invocation.globals.skip_verify;
    HttpNetwork::new(network.clone(), log.clone()).map_err(Failure::new)?;
    if let Some(account) = answers.account.take() {
        drop(draft);
        let token = account.tenant_token(&network, &log, &answers.server, &mut questions)?;
        answers.tenant_token = Some(token);
        (draft, _) = drafted(&config, fallback, &answers)?;
    }
    let device_type = match (&answers.device_type_file, &conf.device_type_file) {
        (Some(path), _) | (None, Some(path)) => path.clone(),
        (None, None) => paths.device_type(),
    };
    let cannot = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| Failure::new(format_args!("{path}: {error}"))
    };
    if device_type.parent() == Some(paths.datastore()) {
        DataDirectory::open_or_create(paths.datastore()).map_err(cannot(paths.datastore()))?;
    }
    replace(&device_type, &format!("device_type={}\n", answers.device_type)).map_err(cannot(&device_type))?;
    draft.keep().map_err(cannot(&config))?;
    if let Some(ip) = &answers.demo_address {
        add_host(ip, &answers.server);
    }
    if answers.ignores_account {
        hint(
            "warning: --username and --password are used with hosted.mender.io alone, and not beside --tenant-token",
        );
    }
    if answers.forgets_token {
        hint("warning: the tenant token was another server's, and is taken out; --tenant-token sets one");
    }
    if !is_quiet {
        tell(&format!("Wrote {} and {}.", config.display(), device_type.display()));
    }
    match ask_server(invocation) {
        Ok(said) if !is_quiet => tell(&said),
        Ok(_) => {}
        // A device may well be set up where there is no network yet.
        Err(failure) => hint(&format!("warning: the server did not answer as one: {failure}")),
    }
    if !is_quiet {
        tell(
            "A daemon that is running reads this when it is started again: systemctl restart mender-updated",
        );
    }
    Ok(SUCCESS)
}

/// The new configuration, not yet in its place, and what the daemon reads in it.
fn drafted(config: &Path, fallback: Source<'_>, answers: &Answers) -> Result<(Draft, MenderConf), Failure> {
    let draft = Draft::of(config, &answers.changes(fallback.path)).map_err(Failure::new)?;
    // What cannot be read by the daemon must not take the place of what can.
    let in_place = |text: String| {
        Failure::new(text.replace(&*draft.path().to_string_lossy(), &config.to_string_lossy()))
    };
    let (conf, _) = MenderConf::load(fallback, Source { path: draft.path(), required: true })
        .map_err(|error| in_place(error.to_string()))?;
    match &conf.unusable_server {
        Some(unusable) => Err(in_place(unusable.to_string())),
        None => Ok((draft, conf)),
    }
}

/// Asks for a deployment without a token, which a Mender server answers by 401: nothing is changed there.
fn ask_server(invocation: &Invocation) -> Result<String, Failure> {
    let device = Device::open(invocation)?;
    let Some(server) = device.servers().first().map(|server| (*server).to_owned()) else {
        return Err(Failure::new("no server is configured: set ServerURL"));
    };
    let config = network_config(&device.conf);
    let mut network = HttpNetwork::new(config, device.log.clone()).map_err(Failure::new)?;
    let status = greet(&mut network, &server, None)
        .map_err(|failure| Failure::new(format_args!("{server}: {failure}")))?;
    match status {
        401 => Ok(format!(
            "{server} is a Mender server. Accept this device there once it has asked: 'thimble bootstrap'."
        )),
        status => Err(Failure::new(format_args!(
            "{server} answers {status} where a Mender server says 401; is the URL right?"
        ))),
    }
}

/// The demo server's name is in no DNS: a line for it, and for the name of its storage, unless there is one.
fn add_host(ip: &str, server: &str) {
    let host = server.split_once("://").map_or(server, |(_, rest)| rest);
    let host = host.split(['/', ':']).next().unwrap_or(host);
    let line = format!("{ip} {host} s3.{host}");
    let added = fs::read_to_string(HOSTS).and_then(|text| {
        let entries = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let known = entries.map(|line| line.split_whitespace().collect::<Vec<_>>());
        if let Some(known) = known.into_iter().find(|words| words.iter().skip(1).any(|word| *word == host)) {
            let address = known.first().copied().unwrap_or_default();
            if address != ip {
                hint(&format!(
                    "warning: {HOSTS} has the address {address} for {host}, which stays; it should be {ip}"
                ));
            }
            return Ok(());
        }
        let before = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        // What is there stays as it is, also when the disk is full; and not by a new file: it is often a mount of its own.
        let mut file = fs::File::options().append(true).open(HOSTS)?;
        file.write_all(format!("{before}{line}\n").as_bytes())?;
        file.sync_all()
    });
    if let Err(error) = added {
        hint(&format!("warning: {HOSTS}: {error}; add the line \"{line}\" yourself"));
    }
}
