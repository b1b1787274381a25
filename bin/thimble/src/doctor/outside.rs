//! The clock and the servers.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use thimble_core::time::Duration;
use thimble_hal_linux::network::HttpNetwork;
use thimble_hal_linux::policy::EARLIEST;

use crate::device::{Device, network_config};
use crate::doctor::{Findings, Severity};
use crate::exchange::greet;
use crate::output::Failure;

const SERVER: &str = "server";

/// How long one server has to answer, in seconds.
const EACH: u64 = 5;

/// How long all of them have together, in seconds. Where there is no whole second left, no other is asked.
const TOTAL: u64 = 15;

pub(super) fn clock(device: &Device, found: &mut Findings) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    judge_clock(now, device.conf.servers.iter().any(|server| server.starts_with("https://")), found);
}

fn judge_clock(now: u64, needs_it: bool, found: &mut Findings) {
    const NAME: &str = "clock";
    const MEND: &str = "set the clock: a battery, or NTP that is done before the client starts";
    match (now < EARLIEST, needs_it) {
        (false, _) => found.good(NAME, "not before 2025"),
        (true, true) => {
            found.stops(NAME, "it stands before 2025: no certificate of a server is valid then", MEND);
        }
        (true, false) => found.doubtful(NAME, "it stands before 2025: times in logs are wrong", MEND),
    }
}

/// Asks each for an update without saying who asks, which a Mender server answers by 401.
pub(super) fn servers(device: &Device, found: &mut Findings) {
    let servers = device.servers();
    if servers.is_empty() {
        return;
    }
    let mut network = match HttpNetwork::new(network_config(&device.conf), device.log.clone()) {
        Ok(network) => network,
        Err(error) => {
            let text = format!("none was asked: {error}");
            return found.add(Severity::Unseen, SERVER, text, "mend the certificates, or run this as root");
        }
    };
    let begin = Instant::now();
    let answers = servers.iter().map(|server| {
        let left = TOTAL.saturating_sub(begin.elapsed().as_secs()).min(EACH);
        let answer = (left > 0).then(|| greet(&mut network, server, Some(Duration::from_secs(left))));
        (*server, answer)
    });
    judge_servers(answers.collect(), found);
}

/// What each server answered; `None`: it was not asked. One that is good is enough.
fn judge_servers(answers: Vec<(&str, Option<Result<u16, Failure>>)>, found: &mut Findings) {
    let is_one_good = answers.iter().any(|(_, answer)| matches!(answer, Some(Ok(401))));
    let is_one_left = answers.iter().any(|(_, answer)| answer.is_none());
    for (server, answer) in answers {
        let text = match answer {
            None => {
                let text = format!("{server} was not asked: those before it took all of {TOTAL} s");
                found.add(Severity::Unseen, SERVER, text, "mend or delete those before it");
                if let Some(last) = found.0.last_mut() {
                    last.may_stop = !is_one_good;
                }
                continue;
            }
            Some(Ok(401)) => {
                found.good(SERVER, format_args!("{server} is a Mender server"));
                continue;
            }
            Some(Ok(status)) => format!("{server} answers {status} where a Mender server says 401"),
            Some(Err(failure)) => format!("{server}: {failure}"),
        };
        let mend = "check the URL, the network and its proxies, ServerCertificate, and the clock";
        if is_one_good || is_one_left {
            found.doubtful(SERVER, text, mend);
        } else {
            found.stops(SERVER, text, mend);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_stop_updates_only_if_all_were_asked_and_none_is_good() {
        let judged = |answers: &[Option<u16>]| {
            let mut found = Findings::default();
            let answers = answers.iter().map(|answer| ("http://x", answer.map(Ok)));
            judge_servers(answers.collect(), &mut found);
            found.can_update()
        };
        assert_eq!(judged(&[Some(200), Some(500)]), Some(false));
        assert_eq!(judged(&[Some(200), Some(200), Some(200), Some(401)]), Some(true));
        assert_eq!(judged(&[Some(200), None]), None);
        assert_eq!(judged(&[Some(401), None]), Some(true));
    }

    #[test]
    fn a_clock_of_1970_stops_updates_where_certificates_are_verified() {
        let judged = |now, needs_it| {
            let mut found = Findings::default();
            judge_clock(now, needs_it, &mut found);
            found.0.first().map(|finding| finding.severity)
        };
        assert_eq!(judged(0, true), Some(Severity::Stops));
        assert_eq!(judged(0, false), Some(Severity::Doubtful));
        assert_eq!(judged(EARLIEST - 1, true), Some(Severity::Stops));
        assert_eq!(judged(EARLIEST, true), Some(Severity::Good));
    }
}
