//! What goes wrong in one deployment, by a seeded generator, and how the deployment must end then.

use thimble_hal_sim::listen::Wire;
use thimble_hal_sim::server::{Endpoint, Fault};
use thimble_tests::lab::Package;
use thimble_tests::managed::Managed;

/// SplitMix64: small, and every seed is good.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap_or(0)
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// What happens at a request of the deployment, counted from its first report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The operator aborts it.
    Abort,
    /// All tokens expire.
    Expire,
}

/// What goes wrong, and what must come of it.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// In words, for the log of a failed run and the count of a good one.
    pub(crate) names: Vec<&'static str>,
    /// At which request, from 0, something happens.
    pub(crate) events: Vec<(usize, Event)>,
    /// Pairs of SIGUSR1 and SIGUSR2 while it runs.
    pub(crate) storm: usize,
    /// The server forgets the device's acceptance for two requests for a token before it starts.
    pub(crate) rejected: bool,
    fails: bool,
}

impl Plan {
    /// Whether this last status is the truth.
    pub(crate) fn allows(&self, status: &str) -> bool {
        if self.events.iter().any(|(_, event)| *event == Event::Abort) {
            // The deployment may have ended before the report that was to meet the abort.
            return matches!(status, "aborted" | "success" | "failure");
        }
        status == if self.fails { "failure" } else { "success" }
    }

    fn calls_it(&mut self, name: &'static str) {
        self.names.push(name);
    }
}

const KINDS: usize = 15;

/// Kinds of [`plan_one`] that disturb downloads and reports.
const AT_SLOW_ENDPOINTS: [usize; 4] = [3, 4, 5, 6];

const POLLS: [Endpoint; 2] = [Endpoint::NextV1, Endpoint::NextV2];

/// Plans up to three things for the next deployment, in the lab and at the server. With `slow`, one of them is met
/// with a wait of a minute.
pub(crate) fn plan(
    random: &mut Random,
    managed: &Managed,
    mut package: Package,
    slow: bool,
) -> (Plan, Package) {
    let mut plan = Plan::default();
    if random.below(2) == 0 {
        // The module reads the streams itself; else the client stores the payload for it.
        managed.lab.on(
            "Download",
            "name=$(cat stream-next); while [ -n \"$name\" ]; do cat \"$name\" > /dev/null; \
             name=$(cat stream-next); done",
        );
    }
    if slow {
        plan_slow(random, managed, &mut plan, package.bytes(&managed.lab).len());
    }
    // Each at most once, and nothing that would change what a slow one does.
    let mut kinds: Vec<usize> =
        (0..KINDS).filter(|kind| !slow || !AT_SLOW_ENDPOINTS.contains(kind)).collect();
    for _ in 0..random.below(4) {
        let kind = kinds.swap_remove(random.below(kinds.len()));
        package = plan_one(random, managed, &mut plan, package, kind);
    }
    (plan, package)
}

fn plan_slow(random: &mut Random, managed: &Managed, plan: &mut Plan, size: usize) {
    if random.below(2) == 0 {
        plan.calls_it("download cut");
        let bytes = random.below(size);
        let wire = if random.below(2) == 0 { Wire::Close(bytes) } else { Wire::Reset(bytes) };
        managed.server.disturb(Endpoint::Artifact, 0, 1, wire);
    } else {
        plan.calls_it("final report lost");
        let fault = random.one(&[Fault::Status(500), Fault::Unreachable, Fault::AnswerLost]).clone();
        managed.server.with(|server| server.disturb(Endpoint::Status, 3, 1, fault));
    }
}

fn plan_one(
    random: &mut Random,
    managed: &Managed,
    plan: &mut Plan,
    package: Package,
    kind: usize,
) -> Package {
    let lab = &managed.lab;
    match kind {
        0 => {
            plan.calls_it("bad polls");
            for _ in 0..=random.below(3) {
                useless(random, managed, &POLLS);
            }
        }
        1 => {
            plan.calls_it("bad authentication");
            managed.server.with(thimble_hal_sim::server::Server::expire_tokens);
            useless(random, managed, &[Endpoint::Auth]);
        }
        2 => {
            plan.calls_it("bad inventory");
            useless(random, managed, &[Endpoint::Inventory]);
        }
        3 => {
            plan.calls_it("bad report");
            if random.below(2) == 0 {
                // The first one, which is not needed.
                useless(random, managed, &[Endpoint::Status]);
            } else {
                // One that must get through is repeated when the server says, not after a minute.
                let skip = u32::try_from(random.below(4)).unwrap_or(0);
                managed.server.with(|server| {
                    server.disturb(Endpoint::Status, skip, 1, Fault::RetryAfter("1".into()));
                });
            }
        }
        4 => {
            plan.calls_it("bad link");
            plan.fails = true;
            let status = *random.one(&[301, 400, 403, 404, 416, 500, 503]);
            let length = random.below(200_000);
            let faults = [Fault::Status(status), Fault::Body(random.bytes(length))];
            let fault = random.one(&faults).clone();
            managed.server.with(|server| server.disturb(Endpoint::Artifact, 0, 1, fault));
        }
        5 => {
            plan.calls_it("strange answer");
            let endpoints =
                [Endpoint::Artifact, Endpoint::Auth, Endpoint::NextV1, Endpoint::NextV2, Endpoint::Status];
            let endpoint = *random.one(&endpoints);
            strange(random, managed, endpoint);
        }
        6 => {
            plan.calls_it("device rejected");
            plan.rejected = true;
        }
        7 => {
            plan.calls_it("module fails");
            plan.fails = true;
            let call = *random.one(&["Download", "ArtifactInstall", "ArtifactCommit"]);
            lab.on(call, random.one::<&str>(&["echo broken >&2; exit 1", "kill -KILL $$", "kill -SEGV $$"]));
            if random.below(3) == 0 {
                lab.on("ArtifactRollback", "exit 1");
            }
            // The log is repeated when the server says.
            managed.server.with(|server| server.disturb(Endpoint::Log, 0, 1, Fault::RetryAfter("1".into())));
        }
        8 => {
            plan.calls_it("script fails");
            plan.fails = true;
            let name = *random.one(&["ArtifactInstall_Enter_00", "ArtifactCommit_Enter_00"]);
            lab.on(name, "echo broken >&2; exit 1");
            return package.script(name);
        }
        9 => {
            plan.calls_it("script asks for time");
            lab.on(
                "Download_Enter_00",
                "if [ -e \"$lab/later\" ]; then rm \"$lab/later\"; else : > \"$lab/later\"; exit 21; fi",
            );
        }
        10 => {
            plan.calls_it("much output");
            lab.on(
                "NeedsArtifactReboot",
                "head -c 300000 /dev/urandom >&2; head -c 300000 /dev/zero | tr '\\0' x >&2; echo No",
            );
        }
        11 => {
            plan.calls_it("child left behind");
            lab.on(
                "ArtifactInstall_Leave_00",
                random.one::<&str>(&["sleep 2 &", "sleep 2 > /dev/null 2>&1 &"]),
            );
            return package.script("ArtifactInstall_Leave_00");
        }
        12 => {
            plan.calls_it("abort");
            plan.events.push((random.below(5), Event::Abort));
        }
        13 => {
            plan.calls_it("expired token");
            plan.events.push((random.below(6), Event::Expire));
        }
        _ => {
            plan.calls_it("storm of signals");
            plan.storm = 1 + random.below(300);
        }
    }
    package
}

/// An answer that the client cannot use.
fn useless(random: &mut Random, managed: &Managed, endpoints: &[Endpoint]) {
    let status = *random.one(&[301, 400, 401, 403, 418, 500, 502, 503]);
    let length = random.below(3000);
    let garbage = random.bytes(length);
    let faults = [
        Fault::Status(status),
        Fault::Body(garbage.clone()),
        Fault::Body(b"{\"id\":".to_vec()),
        Fault::Body(vec![b'x'; 300_000]),
        Fault::RetryAfter("1".into()),
        Fault::Unreachable,
        Fault::AnswerLost,
        Fault::Cut(random.below(300)),
    ];
    let cut = random.below(300);
    let wires = [Wire::Reset(cut), Wire::Close(cut), Wire::Raw(garbage)];
    let (fault, wire) = (random.one(&faults).clone(), random.one(&wires).clone());
    let on_wire = random.below(3) == 0;
    for endpoint in endpoints {
        if on_wire {
            managed.server.disturb(*endpoint, 0, 1, wire.clone());
        } else {
            managed.server.with(|server| server.disturb(*endpoint, 0, 1, fault.clone()));
        }
    }
}

/// An answer that is good all the same.
fn strange(random: &mut Random, managed: &Managed, endpoint: Endpoint) {
    let wires = [
        Wire::NoLength,
        Wire::Chunked(1 + random.below(5000)),
        Wire::Interim,
        Wire::Surplus(b"HTTP/1.1 500 surplus\r\n\r\n".to_vec()),
        Wire::Header("X-Large: ".to_owned() + &"x".repeat(2000)),
        Wire::Header("Connection: close".into()),
    ];
    managed.server.disturb(endpoint, 0, 1, random.one(&wires).clone());
}
