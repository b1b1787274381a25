//! The clock and the servers.

use std::time::{SystemTime, UNIX_EPOCH};

use thimble_core::time::Duration;
use thimble_hal_linux::network::HttpNetwork;

use crate::device::{Device, network_config};
use crate::doctor::{Findings, Severity};
use crate::exchange::greet;

/// 1 January 2025: no device that has this client had a right clock before.
const EARLIEST: u64 = 1_735_689_600;

/// How long one server has to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Servers that are asked.
const SERVERS: usize = 3;

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
    const NAME: &str = "server";
    let servers = device.servers();
    if servers.is_empty() {
        return;
    }
    let mut network = match HttpNetwork::new(network_config(&device.conf), device.log.clone()) {
        Ok(network) => network,
        Err(error) => {
            let text = format!("none was asked: {error}");
            return found.add(Severity::Unseen, NAME, text, "mend the certificates, or run this as root");
        }
    };
    let answers: Vec<_> = servers
        .iter()
        .take(SERVERS)
        .map(|server| (*server, greet(&mut network, server, Some(PATIENCE))))
        .collect();
    let is_one_good = answers.iter().any(|(_, answer)| matches!(answer, Ok(401)));
    for (server, answer) in answers {
        let text = match answer {
            Ok(401) => {
                found.good(NAME, format_args!("{server} is a Mender server"));
                continue;
            }
            Ok(status) => format!("{server} answers {status} where a Mender server says 401"),
            Err(failure) => format!("{server}: {failure}"),
        };
        let mend = "check the URL, the network and its proxies, ServerCertificate, and the clock";
        if is_one_good {
            found.doubtful(NAME, text, mend);
        } else {
            found.stops(NAME, text, mend);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
