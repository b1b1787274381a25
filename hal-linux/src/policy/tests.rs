use super::*;
use crate::testing::{self, Waits, now, script};

impl Waits for Policies {
    fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        Policies::wants(self, set);
    }

    fn deadline(&self) -> Option<Instant> {
        Policy::deadline(self)
    }
}

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn noon() -> Option<Local> {
    Some(Local { weekday: 3, minute: Minute::parse("12:00").unwrap() })
}

fn at_night(then: AtDeadline) -> Settings {
    let minute = |text| Minute::parse(text).unwrap();
    let points = Points::default().with(Point::Reboot);
    let window =
        Window { points, from: minute("02:00"), to: minute("04:00"), days: 0x7f, deadline: WEEK, then };
    Settings { windows: vec![window], ..Settings::default() }
}

fn inhibited(sign: Sign, then: AtDeadline) -> Settings {
    let points = Points::default().with(Point::Install).with(Point::Commit);
    let inhibitor = Inhibitor { points, sign, deadline: Duration::from_secs(3600), then };
    Settings { inhibitors: vec![inhibitor], ..Settings::default() }
}

/// Asks for an update that has stood before `point` for so many seconds.
fn ask(policies: &mut Policies, point: Point, waited: u64) -> Permit {
    let since = now();
    policies.start(since + Duration::from_secs(waited), point, since);
    testing::run(policies, |policies, now| policies.poll(now))
}

fn policies(settings: Settings, clock: fn() -> Option<Local>) -> Policies {
    Policies { clock, ..Policies::new(settings, testing::log().1) }
}

#[test]
fn a_window_is_about_its_points_only() {
    let mut policies = policies(at_night(AtDeadline::Continue), noon);
    assert_eq!(ask(&mut policies, Point::Install, 0), Permit::Go);
    assert_eq!(ask(&mut policies, Point::Reboot, 0), Permit::Wait(LOOK_AGAIN));
    assert_eq!(policies.reason(), "outside the update window 02:00-04:00 (it is Wed 12:00)");
    policies.clock = || Some(Local { weekday: 3, minute: Minute::parse("03:00").unwrap() });
    assert_eq!(ask(&mut policies, Point::Reboot, 0), Permit::Go);
    assert_eq!(policies.reason(), "");
}

#[test]
fn one_open_window_of_several_is_enough() {
    let mut settings = at_night(AtDeadline::Continue);
    let minute = |text| Minute::parse(text).unwrap();
    settings.windows.push(Window { from: minute("11:00"), to: minute("13:00"), ..settings.windows[0] });
    assert_eq!(ask(&mut policies(settings, noon), Point::Reboot, 0), Permit::Go);
}

#[test]
fn the_deadline_of_a_window_ends_the_wait() {
    let seconds = WEEK.as_secs();
    let mut go_on = policies(at_night(AtDeadline::Continue), noon);
    assert_eq!(ask(&mut go_on, Point::Reboot, seconds - 1), Permit::Wait(LOOK_AGAIN));
    assert_eq!(ask(&mut go_on, Point::Reboot, seconds), Permit::Go);
    let mut fail = policies(at_night(AtDeadline::Fail), noon);
    assert_eq!(ask(&mut fail, Point::Reboot, seconds), Permit::Fail);
    assert!(fail.reason().contains("its deadline has passed"), "{}", fail.reason());
}

#[test]
fn a_clock_that_is_not_set_is_a_reason_of_its_own_and_has_the_same_deadline() {
    let mut policies = policies(at_night(AtDeadline::Continue), || None);
    assert_eq!(ask(&mut policies, Point::Reboot, 0), Permit::Wait(LOOK_AGAIN));
    assert!(policies.reason().starts_with("the clock is not set"), "{}", policies.reason());
    assert_eq!(ask(&mut policies, Point::Reboot, WEEK.as_secs()), Permit::Go);
}

#[test]
fn a_file_holds_updates_up_while_it_is_there() {
    let lab = tempfile::tempdir().unwrap();
    let path = lab.path().join("busy");
    let mut policies = policies(inhibited(Sign::File(path.clone()), AtDeadline::Fail), noon);
    assert_eq!(ask(&mut policies, Point::Install, 0), Permit::Go);
    std::fs::write(&path, "").unwrap();
    assert_eq!(ask(&mut policies, Point::Install, 0), Permit::Wait(FILE_AGAIN));
    assert_eq!(policies.reason(), format!("{} exists", path.display()));
    assert_eq!(ask(&mut policies, Point::Reboot, 0), Permit::Go, "not about this point");
    assert_eq!(ask(&mut policies, Point::Commit, 3600), Permit::Fail);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(ask(&mut policies, Point::Commit, 3600), Permit::Go, "nobody objects any more");
}

#[test]
fn a_program_says_whether_and_why() {
    let lab = tempfile::tempdir().unwrap();
    let path = lab.path().join("is-driving");
    let mut policies = policies(inhibited(Sign::Program(path.clone()), AtDeadline::Continue), noon);
    script(&path, "exit 0");
    assert_eq!(ask(&mut policies, Point::Install, 0), Permit::Go);
    for (text, said) in [
        ("printf 'the car\\033 moves\\nmore\\n'; exit 3", format!("{}: the car moves", path.display())),
        ("exit 3", format!("{} ended with exit status 3", path.display())),
        ("kill -9 $$", format!("{} ended with signal 9", path.display())),
        ("yes | head -c 100000; exit 1", format!("{}: y", path.display())),
    ] {
        script(&path, text);
        assert_eq!(ask(&mut policies, Point::Install, 0), Permit::Wait(LOOK_AGAIN), "{text}");
        assert_eq!(policies.reason(), said);
    }
    assert_eq!(
        ask(&mut policies, Point::Install, 3600),
        Permit::Go,
        "it has been listened to for long enough"
    );
}

#[test]
fn a_program_that_cannot_be_run_holds_up_and_is_named() {
    let lab = tempfile::tempdir().unwrap();
    let path = lab.path().join("missing");
    let mut policies = policies(inhibited(Sign::Program(path.clone()), AtDeadline::Continue), noon);
    assert_eq!(ask(&mut policies, Point::Install, 0), Permit::Wait(LOOK_AGAIN));
    assert!(policies.reason().contains(path.to_str().unwrap()), "{}", policies.reason());
    script(&path, "exit 0");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    assert_eq!(ask(&mut policies, Point::Install, 0), Permit::Wait(LOOK_AGAIN), "anybody may write to it");
}

#[test]
fn a_program_that_does_not_end_is_ended() {
    let lab = tempfile::tempdir().unwrap();
    let path = lab.path().join("hangs");
    script(&path, "exec sleep 1000");
    let mut policies = policies(inhibited(Sign::Program(path), AtDeadline::Continue), noon);
    let start = now();
    policies.start(start, Point::Install, start);
    assert_eq!(policies.poll(start), Poll::Pending);
    // By the client's clock an hour has passed.
    let late = Duration::from_secs(3600);
    assert_eq!(Policy::deadline(&policies).map(|at| at <= start + late), Some(true));
    let permit = testing::run(&mut policies, |policies, now| policies.poll(now + late));
    assert_eq!(permit, Permit::Wait(LOOK_AGAIN));
    assert!(policies.reason().contains("did not end within 10 s"), "{}", policies.reason());
}

#[test]
fn a_wait_says_until_when_it_lasts() {
    let until = |after: u64, then| Some(Until { after: Duration::from_secs(after), then });
    let mut windows = policies(at_night(AtDeadline::Fail), noon);
    assert_eq!(windows.until(now()), None);
    let since = now();
    let mut ask_at = |waited: u64| {
        let at = since + Duration::from_secs(waited);
        windows.start(at, Point::Reboot, since);
        testing::run(&mut windows, |policies, _| policies.poll(at));
        windows.until(at)
    };
    assert_eq!(ask_at(60), until(14 * 3600, Then::Opens));
    // The deadline comes before the window opens.
    assert_eq!(ask_at(WEEK.as_secs() - 5), until(5, Then::Deadline(AtDeadline::Fail)));

    let folder = tempfile::tempdir().unwrap();
    let mut file = policies(inhibited(Sign::File(folder.path().into()), AtDeadline::Continue), noon);
    assert_eq!(ask(&mut file, Point::Install, 0), Permit::Wait(FILE_AGAIN));
    let at_deadline = file.until(now()).expect("it waits");
    assert_eq!(at_deadline.then, Then::Deadline(AtDeadline::Continue));
    assert!((3590..=3600).contains(&at_deadline.after.as_secs()), "{at_deadline:?}");
    drop(folder);
    assert_eq!(ask(&mut file, Point::Install, 0), Permit::Go);
    assert_eq!(file.until(now()), None);
}
