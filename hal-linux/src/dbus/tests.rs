use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;

use super::message::tests::delivered;
use super::*;
use crate::testing::{self, TestLog};

const NAME: &str = "io.thimble.Client";

/// A bus of the test's making.
struct Fake {
    dir: tempfile::TempDir,
    listener: UnixListener,
    lines: Rc<RefCell<TestLog>>,
    log: SharedLog,
    serial: u32,
}

impl Fake {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("bus")).unwrap();
        let (lines, log) = testing::log();
        Self { dir, listener, lines, log, serial: 100 }
    }

    fn bus(&self) -> Bus {
        let address = format!("unix:path={}", self.dir.path().join("bus").display());
        Bus::new(&address, &[NAME], self.log.clone()).unwrap()
    }

    fn warnings(&self) -> usize {
        self.lines.borrow().0.iter().filter(|line| line.starts_with("warning")).count()
    }

    fn accept(&self) -> UnixStream {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }

    /// A message as the bus delivers it.
    fn deliver(&mut self, stream: &mut UnixStream, sender: &str, message: Message) {
        self.serial += 1;
        let bytes = delivered(&message, sender, self.serial);
        stream.write_all(&bytes).unwrap();
    }

    fn answer(&mut self, stream: &mut UnixStream, to: &Message, body: Body) {
        self.deliver(stream, BUS, Message { reply_to: to.serial, ..Message::new(MessageKind::Reply, body) });
    }

    /// Greeted, with its name.
    fn connected(&mut self, bus: &mut Bus, now: Instant) -> UnixStream {
        assert!(poll(bus, now).is_none());
        let mut stream = self.accept();
        assert!(received(&mut stream).starts_with(b"\0AUTH EXTERNAL "));
        stream.write_all(b"OK 0123456789abcdef0123456789abcdef\r\n").unwrap();
        assert!(poll(bus, now).is_none());
        let bytes = received(&mut stream);
        let hello = Message::decode(bytes.strip_prefix(b"BEGIN\r\n").unwrap()).unwrap().unwrap();
        assert_eq!(hello.member, "Hello");
        self.answer(&mut stream, &hello, Body::text(":1.1"));
        assert!(poll(bus, now).is_none());
        assert!(poll(bus, now).is_none());
        let request = one(&mut stream);
        assert_eq!((request.member.as_str(), bus.owns(NAME)), ("RequestName", false));
        self.answer(&mut stream, &request, Body::number_u32(1));
        assert!(poll(bus, now).is_none());
        assert!(bus.owns(NAME));
        stream
    }
}

fn poll(bus: &mut Bus, now: Instant) -> Option<Call> {
    bus.poll(now, |call| call.member == "Secret")
}

fn received(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // It ends with "would block".
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

fn one(stream: &mut UnixStream) -> Message {
    let bytes = received(stream);
    assert_eq!(message::Frame::find(&bytes).unwrap().unwrap().total, bytes.len());
    Message::decode(&bytes).unwrap().unwrap()
}

fn call(member: &str) -> Message {
    Message { path: "/".into(), member: member.into(), ..Message::new(MessageKind::Call, Body::text("x")) }
}

fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

#[test]
fn a_call_is_handed_on_and_answered() {
    let mut fake = Fake::new();
    let mut bus = fake.bus();
    let mut stream = fake.connected(&mut bus, at(1));
    fake.deliver(&mut stream, ":1.9", call("Open"));
    let asked = poll(&mut bus, at(2)).unwrap();
    assert_eq!((asked.member.as_str(), asked.path.as_str()), ("Open", "/"));
    bus.reply(&asked, Body::truth(true));
    assert!(poll(&mut bus, at(2)).is_none());
    let answer = one(&mut stream);
    assert_eq!(
        (answer.kind, answer.reply_to, answer.destination.as_str()),
        (MessageKind::Reply, fake.serial, ":1.9")
    );
    fake.deliver(&mut stream, ":1.9", Message { no_reply: true, ..call("Open") });
    let asked = poll(&mut bus, at(2)).unwrap();
    bus.fail(&asked, &Failure::new("Failed", format_args!("no")));
    assert!(poll(&mut bus, at(2)).is_none());
    assert!(received(&mut stream).is_empty(), "who wants no answer gets none");
}

#[test]
fn l2_the_bus_is_asked_who_calls() {
    let mut fake = Fake::new();
    let mut bus = fake.bus();
    let mut stream = fake.connected(&mut bus, at(1));
    let own = rustix::process::geteuid().as_raw();
    for (answer, is_served) in [
        (Some(Body::number_u32(0)), true),
        (Some(Body::number_u32(own)), true),
        (Some(Body::number_u32(65534)), false),
        (Some(Body::text("0")), false),
        (Some(Body::empty()), false),
        (None, false),
    ] {
        fake.deliver(&mut stream, ":1.9", call("Secret"));
        let serial = fake.serial;
        assert!(poll(&mut bus, at(2)).is_none());
        let question = one(&mut stream);
        assert_eq!(question.member, "GetConnectionUnixUser");
        assert_eq!(question.body.as_texts::<1>().unwrap(), [":1.9"]);
        // An answer of somebody else's is none.
        let lie =
            Message { reply_to: question.serial, ..Message::new(MessageKind::Reply, Body::number_u32(0)) };
        fake.deliver(&mut stream, ":1.9", lie);
        assert!(poll(&mut bus, at(2)).is_none());
        match answer {
            Some(body) => fake.answer(&mut stream, &question, body),
            None => {
                let body = Body::text("who?");
                let error = Message {
                    reply_to: question.serial,
                    error: "a.b".into(),
                    ..Message::new(MessageKind::Error, body)
                };
                fake.deliver(&mut stream, BUS, error);
            }
        }
        let served = poll(&mut bus, at(2));
        assert_eq!(served.is_some(), is_served);
        if served.is_none() {
            let refusal = one(&mut stream);
            assert_eq!(refusal.error, "org.freedesktop.DBus.Error.AccessDenied");
            assert_eq!(refusal.reply_to, serial);
        }
    }
}

#[test]
fn l2_callers_that_the_bus_does_not_tell_of_are_few_and_refused_in_time() {
    let mut fake = Fake::new();
    let mut bus = fake.bus();
    let mut stream = fake.connected(&mut bus, at(1));
    for _ in 0..=CALLS {
        fake.deliver(&mut stream, ":1.9", call("Secret"));
    }
    assert!(poll(&mut bus, at(2)).is_none());
    let text = String::from_utf8_lossy(&received(&mut stream)).into_owned();
    assert_eq!(text.matches("GetConnectionUnixUser").count(), CALLS);
    assert_eq!(text.matches("LimitsExceeded").count(), 1);
    let late = at(2) + PATIENCE;
    assert_eq!(bus.deadline(), Some(late));
    assert!(poll(&mut bus, late).is_none());
    let text = String::from_utf8_lossy(&received(&mut stream)).into_owned();
    assert_eq!(text.matches("TimedOut").count(), CALLS);
}

#[test]
fn l1_attempts_become_rarer_and_one_warning_is_enough() {
    let fake = Fake::new();
    // Not closed: a child that another test has just forked would hold it open for a moment.
    rustix::net::shutdown(&fake.listener, rustix::net::Shutdown::Both).unwrap();
    let mut bus = fake.bus();
    let mut now = at(0);
    let mut waits = Vec::new();
    for _ in 0..9 {
        assert!(poll(&mut bus, now).is_none());
        let next = bus.deadline().unwrap();
        waits.push(next.since(now).as_secs());
        // Nothing is tried before.
        assert!(poll(&mut bus, now).is_none());
        assert_eq!(bus.deadline(), Some(next));
        now = next;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(fake.warnings(), 1);
}

#[test]
fn l1_a_bus_that_dies_again_and_again_is_left_alone_ever_longer() {
    let mut fake = Fake::new();
    let mut bus = fake.bus();
    let mut now = at(1);
    for seconds in [1, 2, 4] {
        let stream = fake.connected(&mut bus, now);
        stream.shutdown(Shutdown::Both).unwrap();
        assert!(poll(&mut bus, now).is_none());
        assert!(!bus.owns(NAME));
        assert_eq!(bus.deadline(), Some(now + Duration::from_secs(seconds)));
        now = now + Duration::from_secs(seconds);
    }
    // One that lasted is a good bus.
    let stream = fake.connected(&mut bus, now);
    now = now + LONGEST;
    stream.shutdown(Shutdown::Both).unwrap();
    assert!(poll(&mut bus, now).is_none());
    assert_eq!(bus.deadline(), Some(now + SHORTEST));
}

#[test]
fn l1_a_bus_that_does_not_answer_is_given_up() {
    // Not to the greeting, not to `Hello`, not to `RequestName`.
    for answers in 0..3 {
        let mut fake = Fake::new();
        let mut bus = fake.bus();
        assert!(poll(&mut bus, at(1)).is_none());
        let mut stream = fake.accept();
        if answers > 0 {
            stream.write_all(b"OK x\r\n").unwrap();
            assert!(poll(&mut bus, at(1)).is_none());
        }
        if answers > 1 {
            let bytes = received(&mut stream);
            let hello = bytes.windows(7).position(|window| window == b"BEGIN\r\n").unwrap() + 7;
            let hello = Message::decode(&bytes[hello..]).unwrap().unwrap();
            fake.answer(&mut stream, &hello, Body::text(":1.1"));
            assert!(poll(&mut bus, at(1)).is_none());
            assert!(poll(&mut bus, at(1)).is_none());
        }
        let late = at(1) + PATIENCE;
        assert_eq!(bus.deadline(), Some(late), "{answers}");
        assert!(poll(&mut bus, late).is_none());
        assert_eq!(bus.deadline(), Some(late + SHORTEST), "{answers}");
    }
}

#[test]
fn l1_garbage_ends_the_connection_and_nothing_else() {
    let long_line = vec![b'x'; 4000];
    for garbage in [
        &b"ERROR\r\n"[..],
        b"REJECTED EXTERNAL\r\n",
        &long_line,
        b"\n",
        b"OK x\r\nl\x01\0\x02garbagegarbage..",
        b"OK x\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let fake = Fake::new();
        let mut bus = fake.bus();
        assert!(poll(&mut bus, at(1)).is_none());
        let mut stream = fake.accept();
        stream.write_all(garbage).unwrap();
        for _ in 0..3 {
            assert!(poll(&mut bus, at(1)).is_none());
        }
        assert!(!bus.has_room(), "{garbage:?}");
        assert_eq!(bus.deadline(), Some(at(2)), "{garbage:?}");
    }
}

#[test]
fn a_message_that_is_too_long_is_passed_over_and_its_caller_told() {
    let mut fake = Fake::new();
    let mut bus = fake.bus();
    let mut stream = fake.connected(&mut bus, at(1));
    stream.set_nonblocking(false).unwrap();
    let long = Message { body: Body::text(&"x".repeat(50_000)), ..call("Open") };
    fake.deliver(&mut stream, ":1.9", long);
    // A header that is too long by itself gets no answer: who sent it is not looked for.
    fake.deliver(&mut stream, ":1.9", Message { member: "m".repeat(20_000), ..call("x") });
    fake.deliver(&mut stream, ":1.9", call("Open"));
    stream.set_nonblocking(true).unwrap();
    let mut served = None;
    for _ in 0..10 {
        served = served.or(poll(&mut bus, at(1)));
    }
    assert_eq!(served.unwrap().member, "Open");
    let refusal = one(&mut stream);
    assert_eq!(refusal.error, "org.freedesktop.DBus.Error.LimitsExceeded");
    assert_eq!(refusal.reply_to, fake.serial - 2);
}

#[test]
fn while_answers_are_not_taken_no_calls_are() {
    let mut fake = Fake::new();
    let mut bus = fake.bus();
    let mut stream = fake.connected(&mut bus, at(1));
    let answer = "x".repeat(8000);
    let mut answered: usize = 0;
    for _ in 0..2000 {
        fake.serial += 1;
        let bytes = delivered(&call("Open"), ":1.9", fake.serial);
        if stream.write_all(&bytes).is_err() {
            break;
        }
        while let Some(asked) = poll(&mut bus, at(1)) {
            bus.reply(&asked, Body::text(&answer));
            answered += 1;
        }
    }
    assert!(!bus.has_room());
    // What the kernel holds, and our own limit.
    assert!(answered * answer.len() < 2 * 1024 * 1024, "{answered}");
    // Taken in the end, all of it comes, and calls are served again.
    let mut taken = 0;
    for _ in 0..1000 {
        taken += received(&mut stream).len();
        while let Some(asked) = poll(&mut bus, at(2)) {
            bus.reply(&asked, Body::text(&answer));
            answered += 1;
        }
    }
    assert!(bus.has_room());
    assert!(taken >= answered * answer.len(), "{taken} of {answered}");
}

#[test]
fn a_call_that_came_before_the_answers_were_taken_needs_no_other_to_be_seen() {
    let mut fake = Fake::new();
    let mut bus = fake.bus();
    let mut stream = fake.connected(&mut bus, at(1));
    let both = [delivered(&call("One"), ":1.9", 100), delivered(&call("Two"), ":1.9", 101)].concat();
    stream.write_all(&both).unwrap();
    let first = poll(&mut bus, at(1)).unwrap();
    assert_eq!(first.member, "One");
    // Fills the kernel's buffer and ours.
    let link = bus.link.as_mut().unwrap();
    while link.has_room() {
        link.send(&[0; 8000]);
        link.flush(at(1)).unwrap();
    }
    assert!(link.poll(at(1)).unwrap().is_none());
    assert_ne!(link.deadline(), Some(Instant::ZERO));
    while !link.has_room() {
        received(&mut stream);
        link.flush(at(1)).unwrap();
    }
    assert_eq!(link.deadline(), Some(Instant::ZERO));
    assert_eq!(poll(&mut bus, at(1)).unwrap().member, "Two");
}

#[test]
fn l1_a_bus_that_takes_nothing_is_given_up() {
    for (signals, is_given_up_at_once) in [(30, false), (200, true)] {
        let mut fake = Fake::new();
        let mut bus = fake.bus();
        let stream = fake.connected(&mut bus, at(1));
        rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 4096).unwrap();
        for _ in 0..signals {
            bus.signal("/", "a.b", "C", Body::text(&"x".repeat(8000)));
        }
        assert!(poll(&mut bus, at(1)).is_none());
        assert_eq!(!bus.owns(NAME), is_given_up_at_once);
        if !is_given_up_at_once {
            assert_eq!(bus.deadline(), Some(at(1) + PATIENCE));
            assert!(poll(&mut bus, at(1) + PATIENCE).is_none());
            assert!(!bus.owns(NAME));
        }
    }
}

#[test]
fn a_flood_does_not_hold_the_daemon_up() {
    let mut fake = Fake::new();
    let mut bus = fake.bus();
    let mut stream = fake.connected(&mut bus, at(1));
    let flood = std::thread::spawn(move || {
        stream.set_nonblocking(false).unwrap();
        let signal = Message {
            path: "/".into(),
            interface: "a.b".into(),
            member: "C".into(),
            ..Message::new(MessageKind::Signal, Body::empty())
        };
        let many = delivered(&signal, ":1.9", 7).repeat(1000);
        // Until the other end is gone.
        while stream.write_all(&many).is_ok() {}
    });
    // Each turn ends, and the next one comes at once.
    let goes_on = (0..100_000).any(|_| {
        assert!(poll(&mut bus, at(1)).is_none());
        std::thread::yield_now();
        bus.deadline() == Some(Instant::ZERO)
    });
    assert!(goes_on);
    drop(bus);
    flood.join().unwrap();
}

#[test]
fn l3_a_name_that_is_refused_or_lost_is_asked_for_again() {
    let mut fake = Fake::new();
    let mut bus = fake.bus();
    let mut stream = fake.connected(&mut bus, at(1));
    fake.deliver(
        &mut stream,
        ":1.9",
        Message { member: "NameLost".into(), ..Message::new(MessageKind::Signal, Body::text(NAME)) },
    );
    assert!(poll(&mut bus, at(1)).is_none());
    assert!(bus.owns(NAME), "only the bus says so");
    fake.deliver(
        &mut stream,
        BUS,
        Message { member: "NameLost".into(), ..Message::new(MessageKind::Signal, Body::text(NAME)) },
    );
    let mut now = at(1);
    let mut waits = Vec::new();
    for _ in 0..8 {
        assert!(poll(&mut bus, now).is_none());
        let next = bus.deadline().unwrap();
        waits.push(next.since(now).as_secs());
        now = next;
        assert!(poll(&mut bus, now).is_none());
        let request = one(&mut stream);
        assert_eq!(request.body.signature(), "su");
        // Another owner, without a queue.
        fake.answer(&mut stream, &request, Body::number_u32(3));
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(fake.warnings(), 1);
}
