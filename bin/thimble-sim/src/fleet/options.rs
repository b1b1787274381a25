//! The options of `fleet`.

use std::path::Path;

use thimble_core::deployment::Point;
use thimble_core::hal::Permit;
use thimble_core::time::Duration;
use thimble_hal_linux::config::{MenderConf, Source};
use thimble_hal_linux::policy::{AtDeadline, Local, Passage, Settings};
use thimble_hal_sim::fleet::{Overload, Phase, Plan, Share, Start};
use thimble_hal_sim::near::meant;

use super::HELP;
use super::assertion::Assertion;
use super::values::{answer, bytes, devices, hold, phase, rate, share, window, zone};
use crate::failure::{Failure, no_option};
use crate::values::{self, Once};

/// Options that may stand there more than once.
const REPEATABLE: [&str; 3] = ["--phase", "--window", "--assert"];

/// Most assertions, and most windows.
const MOST: usize = 100;

pub(super) struct Options {
    /// Without its policy: that borrows `windows`.
    pub(super) plan: Plan<'static>,
    /// The policies of each device.
    pub(super) windows: Settings,
    pub(super) asserts: Vec<Assertion>,
    pub(super) svg: Option<String>,
    pub(super) json: bool,
}

pub(super) fn read(words: &[&str]) -> Result<Options, Failure> {
    let plan = Plan::default();
    let mut options =
        Options { plan, windows: Settings::default(), asserts: Vec::new(), svg: None, json: false };
    let (mut phases, mut deploy, mut overload) = (Vec::new(), None, None);
    let (mut words, mut once) = (words.iter(), Once::but(&REPEATABLE));
    while let Some(word) = words.next() {
        once.read(word)?;
        let mut value = || words.next().copied().ok_or_else(|| format!("{word} needs a value"));
        let wrong = |why: String| format!("{word} {why}");
        let plan = &mut options.plan;
        match *word {
            "--devices" => plan.devices = devices(value()?).map_err(wrong)?,
            "--for" => plan.time = values::time(value()?).map_err(wrong)?,
            "--config" => {
                let main = Source { path: Path::new(value()?), required: true };
                let config = MenderConf::load(main, main).map_err(|error| error.to_string())?.0;
                plan.config = config.core_config();
                if !config.policies.inhibitors.is_empty() {
                    eprintln!(
                        "{}: inhibitors are left out: they ask things of a device",
                        main.path.display()
                    );
                }
                options.windows.windows.extend(config.policies.windows);
            }
            "--start" => {
                plan.start = match value()? {
                    "spread" => Start::Spread,
                    "all-at-once" => Start::AllAtOnce,
                    other => {
                        let hint = meant(other, ["spread", "all-at-once"]);
                        return Err(wrong(format!("{other:?}: spread or all-at-once is wanted{hint}")).into());
                    }
                };
            }
            "--seed" => {
                let text = value()?;
                plan.seed = text.parse().map_err(|_| wrong(format!("{text:?}: a number is wanted")))?;
            }
            "--deploy" => deploy = Some(value()?),
            "--phase" => phases.push(phase(value()?).map_err(wrong)?),
            "--size" => plan.size = bytes(value()?).map_err(wrong)?,
            "--install" => plan.install = values::time(value()?).map_err(wrong)?,
            "--reboot" => {
                plan.reboot = match value()? {
                    "none" => None,
                    text => Some(values::time(text).map_err(wrong)?),
                };
            }
            "--fail" => plan.fail = share(value()?).map_err(wrong)?,
            "--offline" => plan.offline = share(value()?).map_err(wrong)?,
            "--hold" => plan.hold = Some(hold(value()?).map_err(wrong)?),
            "--window" => options.windows.windows.push(window(value()?).map_err(wrong)?),
            "--zones" => {
                plan.zones = value()?.split(',').map(zone).collect::<Result<_, _>>().map_err(wrong)?
            }
            "--capacity" => {
                let text = value()?;
                let number = text.strip_suffix("/s").unwrap_or(text).parse().ok();
                let number =
                    number.ok_or_else(|| wrong(format!("{text:?}: a number like 50/s is wanted")))?;
                plan.capacity = Some((number, Overload::TooMany(None)));
            }
            "--overload" => overload = Some(answer(value()?).map_err(wrong)?),
            "--latency" => plan.latency = values::time(value()?).map_err(wrong)?,
            "--link" => plan.link = rate(value()?).map_err(wrong)?,
            "--assert" => options.asserts.push(Assertion::read(value()?).map_err(wrong)?),
            "--svg" => options.svg = Some(value()?.to_owned()),
            "--json" => options.json = true,
            other if other.starts_with('-') => return Err(no_option("fleet", other, HELP).into()),
            other => {
                let hint = meant(other, ["together"]);
                return Err(format!("fleet does not know {other:?}{hint}").into());
            }
        }
        if options.asserts.len() > MOST || options.windows.windows.len() > MOST {
            return Err(format!("{word}: at most {MOST} are possible").into());
        }
    }
    let plan = &mut options.plan;
    match (deploy, phases.is_empty()) {
        (Some(_), false) => {
            return Err("--deploy and --phase: only one of them is possible".to_owned().into());
        }
        (Some("never"), true) => plan.phases.clear(),
        (Some(text), true) => {
            let at = values::time(text).map_err(|why| format!("--deploy {why}"))?;
            plan.phases = vec![Phase { share: Share::ALL, at }];
        }
        (None, true) => {}
        (None, false) => plan.phases = phases,
    }
    match (&mut plan.capacity, overload) {
        (Some((_, answer)), Some(wanted)) => *answer = wanted,
        (None, Some(_)) => return Err("--overload wants --capacity".to_owned().into()),
        (_, None) => {}
    }
    plan.config.policies = !options.windows.is_empty();
    plan.check().map_err(|fault| Failure::Usage(fault.to_string()))?;
    Ok(options)
}

/// What the windows say at this minute of the week. A closed window is asked again after so many whole waits of the client
/// as have the same answer: the moment at which it goes on is the client's, and the time between costs nothing.
pub(super) fn permit(windows: &Settings, point: Point, minute: u32, waited: Duration) -> Permit {
    const WEEK: u32 = 7 * 24 * 60;
    let passage = |later: Duration| {
        let minutes = u32::try_from(later.as_secs() / 60).unwrap_or(WEEK);
        windows.passage(point, Some(Local::of_week((minute + minutes) % WEEK)), waited.plus(later))
    };
    let mut later = Duration::ZERO;
    loop {
        match passage(later) {
            Passage::Closed(again) if later.as_secs() < u64::from(WEEK) * 60 => later = later.plus(again),
            Passage::Open | Passage::Late(AtDeadline::Continue) if later == Duration::ZERO => {
                return Permit::Go;
            }
            Passage::Late(AtDeadline::Fail) if later == Duration::ZERO => return Permit::Fail,
            Passage::Open | Passage::Closed(_) | Passage::Late(_) => return Permit::Wait(later),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(words: &[&str]) -> String {
        match read(words) {
            Err(Failure::Usage(why)) => why,
            Err(_) => "another failure".into(),
            Ok(_) => "no failure".into(),
        }
    }

    #[test]
    fn a_plan_is_read() {
        let words = "--devices 5000 --for 2d --start all-at-once --seed 7 --phase 10%@0h --phase 50%@4h --size 10MB \
                     --install 1min --reboot none --fail 2% --offline 0.5% --hold commit@3h --window 02:00-05:00 \
                     --window 22:00-24:00@reboot --zones -8,0,+5:30 --capacity 50/s --overload 429:60 --latency 50ms \
                     --link 1MB/s";
        let words: Vec<&str> = words.split_whitespace().collect();
        let Options { plan, windows, .. } = read(&words).ok().unwrap();
        let seconds = Duration::from_secs;
        let part = |millionths| Share::millionths(millionths).unwrap();
        assert_eq!(
            (plan.devices, plan.time, plan.start, plan.seed),
            (5000, seconds(172_800), Start::AllAtOnce, 7)
        );
        let phase = |share, hours: u64| Phase { share: part(share), at: seconds(hours * 3600) };
        assert_eq!(plan.phases, [phase(100_000, 0), phase(500_000, 4)]);
        assert_eq!((plan.size, plan.link, plan.reboot), (10_000_000, 1_000_000, None));
        assert_eq!((plan.fail, plan.offline), (part(20_000), part(5000)));
        assert_eq!(plan.zones, [-480, 0, 330]);
        assert_eq!(plan.capacity, Some((50, Overload::TooMany(Some(60)))));
        assert!(plan.config.policies && windows.windows.len() == 2);
        assert!(read(&["--deploy", "never"]).is_ok_and(|options| options.plan.phases.is_empty()));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (words, why) in [
            (&["--devices", "0"][..], "--devices \"0\": a number from 1 to 1000000 is wanted"),
            (&["--devices"], "--devices needs a value"),
            (&["--device", "3"], "fleet has no option --device; is --devices meant?"),
            (&["togehter"], "fleet does not know \"togehter\"; is together meant?"),
            (&["--start", "sprad"], "--start \"sprad\": spread or all-at-once is wanted; is spread meant?"),
            (&["--for", "0"], "milliseconds of virtual time: 0 is not from 1"),
            (&["--for", "9999d"], "--for \"9999d\" is no time"),
            (&["--seed", "x"], "--seed \"x\": a number is wanted"),
            (&["--phase", "10%"], "--phase \"10%\": SHARE@TIME like 10%@4h is wanted"),
            (&["--phase", "50%@1h", "--phase", "10%@2h"], "the phase of 10% at 2 hours does not come later"),
            (&["--phase", "50%@1h", "--deploy", "1h"], "--deploy and --phase: only one"),
            (
                &["--hold", "instal@1h"],
                "--hold \"instal\": install, reboot or commit is wanted; is install meant?",
            ),
            (&["--window", "2-5"], "--window \"2-5\": FROM-TO like 02:00-05:00 is wanted"),
            (&["--window", "02:00-25:00"], "--window \"02:00-25:00\": FROM-TO"),
            (&["--zones", "0,x"], "--zones \"x\": hours from UTC"),
            (&["--zones", "15"], "--zones \"15\": hours from UTC"),
            (&["--capacity", "many"], "--capacity \"many\": a number like 50/s is wanted"),
            (&["--capacity", "0/s"], "requests a second of the server: 0"),
            (&["--overload", "503"], "--overload wants --capacity"),
            (
                &["--capacity", "1", "--overload", "500"],
                "--overload \"500\": 429, 429:SECONDS or 503 is wanted",
            ),
            (&["--link", "8"], "--link \"8\": a rate like 8Mbit/s"),
            (&["--size", "1"], "bytes of the artifact: 1 is not from"),
            (&["--size", "99999999999GB"], "--size \"99999999999GB\": a size"),
            (&["--offline", "95%"], "95% of the devices offline: at most 90%"),
            (&["--fail", "2"], "--fail \"2\": a share like 2%"),
            (&["--assert", "all done"], "--assert \"all done\": one of these is wanted"),
            (&["--config", "/no/such/file"], "configuration file /no/such/file: cannot be read"),
        ] {
            let told = told(words);
            assert!(told.starts_with(why), "{words:?}: {told}");
        }
        let many: Vec<&str> = std::iter::repeat_n(["--window", "01:00-02:00"], 101).flatten().collect();
        assert_eq!(told(&many), "--window: at most 100 are possible");
    }

    #[test]
    fn a_closed_window_is_asked_again_after_whole_waits_of_the_client() {
        let windows = Settings { windows: vec![window("02:00-05:00").unwrap()], ..Settings::default() };
        let minutes = |minutes: u64| Permit::Wait(Duration::from_secs(60 * minutes));
        let ask = |minute| permit(&windows, Point::Install, minute, Duration::ZERO);
        assert_eq!(ask(0), minutes(120));
        assert_eq!(ask(119), minutes(1));
        assert_eq!([ask(120), ask(299)], [Permit::Go; 2]);
        assert_eq!(ask(300), minutes(21 * 60));
        // On Sunday evening the week begins anew.
        assert_eq!(ask(7 * 24 * 60 - 1), minutes(121));
        assert_eq!(permit(&windows, Point::Reboot, 0, Duration::ZERO), Permit::Go);
        // After a week the update goes on, as on a device; and no sooner.
        let week = Duration::from_secs(7 * 24 * 3600);
        assert_eq!(permit(&windows, Point::Install, 0, week), Permit::Go);
        assert_eq!(permit(&windows, Point::Install, 0, week.minus(Duration::from_secs(90))), minutes(2));
        let mut fails = windows.clone();
        fails.windows[0].then = AtDeadline::Fail;
        assert_eq!(permit(&fails, Point::Install, 0, week), Permit::Fail);
    }
}
