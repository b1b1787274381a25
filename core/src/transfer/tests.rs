//! Each test is a timeline: at a time, an event; what the machine wants then.

use std::collections::HashSet;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::http::{ContentRange, Head, RetryAfter};
use crate::time::Duration;

/// One transfer, at one time.
struct Line {
    transfer: Transfer,
    now: Instant,
}

const fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const LENGTH: u64 = 1000;

/// An answer that gives the whole artifact.
const WHOLE: Head =
    Head { status: 200, content_length: Some(LENGTH), content_range: None, retry_after: None };

const fn status(status: u16) -> Event {
    Event::Head(Head { status, ..WHOLE }, Etag::Same)
}

const fn part(first: u64) -> Event {
    let range = ContentRange { first, last: LENGTH - 1, size: Some(LENGTH) };
    Event::Head(Head { status: 206, content_range: Some(range), ..WHOLE }, Etag::Same)
}

const fn parsed(taken: usize, found: Found) -> Event {
    Event::Parsed { taken, found }
}

const fn in_chunk(length: usize) -> Found {
    Found::Bytes { length, place: Place::Chunk }
}

const fn write(from: usize, to: usize) -> Action {
    Action::Write { place: Place::Chunk, from, to }
}

const fn parse(from: usize, to: usize) -> Action {
    Action::Parse { from, to }
}

const fn gives_up(why: Failure, module: bool) -> Action {
    Action::GiveUp { why, module }
}

const BROKEN: Event = Event::Broken { again: true };

impl Line {
    fn begin(begin: Begin) -> Self {
        let mut line = Self { transfer: Transfer::new(), now: Instant::ZERO };
        line.at(0, Event::Begin(begin), Action::Request { offset: 0, again: false });
        line
    }

    fn daemon() -> Self {
        Self::begin(Begin { downloader: Downloader::Daemon, attempts: 10, earlier: false })
    }

    /// A daemon's whose download goes on.
    fn earlier() -> Self {
        Self::begin(Begin { downloader: Downloader::Daemon, attempts: 10, earlier: true })
    }

    fn command_line() -> Self {
        Self::begin(Begin { downloader: Downloader::CommandLine, attempts: 2, earlier: false })
    }

    /// At this time, this event; the action is this one.
    #[track_caller]
    fn at(&mut self, time: u64, event: Event, action: Action) -> &mut Self {
        self.now = at(time);
        assert_eq!(
            self.transfer.step(self.now, event),
            action,
            "{event:?} at {time} s: {self:?}",
            self = self.transfer
        );
        self
    }

    /// The answer gives the whole artifact, whose first 100 bytes come.
    #[track_caller]
    fn hundred_bytes(&mut self, time: u64) -> &mut Self {
        self.at(time, Event::Done, Action::AwaitHead).at(time, status(200), Action::Receive).at(
            time,
            Event::Came(100),
            parse(0, 100),
        )
    }

    /// The first half: the header takes 50 of the first 100 bytes.
    #[track_caller]
    fn accepted(&mut self, time: u64, kept: bool) -> &mut Self {
        let mut line = self.hundred_bytes(time);
        let again = matches!(line.transfer.half, Half::Header { again: true });
        line = line.at(time, parsed(50, Found::Header), Action::Accept { again });
        line.at(time, Event::Accepted(Accepted::Payload { kept }), Action::End(End::Accepted))
    }

    /// The second half, up to a file of 800 bytes that begins at byte 60 of the artifact.
    #[track_caller]
    fn file(&mut self, time: u64, kept: bool, mark_every: u64) -> &mut Self {
        let stream = Stream { mark_every, time: seconds(100) };
        self.accepted(time, kept).at(time, Event::Stream(stream), parse(50, 100)).at(
            time,
            parsed(10, Found::File { size: 800, plain: true }),
            Action::BeginFile(800),
        )
    }

    /// The file's first 40 bytes are written, and more is being received.
    #[track_caller]
    fn forty_bytes(&mut self, time: u64) -> &mut Self {
        self.file(time, false, 0)
            .at(time, Event::FileBegan { stored: 0 }, parse(60, 100))
            .at(time, parsed(40, in_chunk(40)), write(60, 100))
            .at(time, Event::Took(40), Action::Receive)
    }

    #[track_caller]
    fn deadline(&mut self, time: Option<u64>) -> &mut Self {
        assert_eq!(self.transfer.deadline(), time.map(at));
        self
    }
}

#[test]
fn a_smooth_transfer() {
    Line::daemon()
        .accepted(0, false)
        .at(1, Event::Stream(Stream { mark_every: 0, time: seconds(100) }), parse(50, 100))
        .at(1, parsed(10, Found::File { size: 30, plain: true }), Action::BeginFile(30))
        .at(1, Event::FileBegan { stored: 0 }, parse(60, 100))
        .at(1, parsed(30, in_chunk(30)), write(60, 90))
        // The sink takes it in two pieces.
        .at(2, Event::Took(10), write(70, 90))
        .at(3, Event::Took(20), parse(90, 100))
        .at(3, parsed(0, Found::FileEnd), Action::EndFile)
        .at(3, Event::Done, parse(90, 100))
        .at(3, parsed(10, Found::Nothing), Action::Receive)
        .at(4, Event::Came(5), parse(0, 5))
        .at(4, parsed(5, Found::Nothing), Action::Receive)
        .at(4, Event::Complete, Action::Finish)
        .at(9, Event::Done, Action::End(End::Stored));
}

#[test]
fn decompressed_bytes_are_written_from_their_own_buffer() {
    Line::daemon()
        .file(0, false, 0)
        .at(0, Event::FileBegan { stored: 0 }, parse(60, 100))
        .at(
            0,
            parsed(40, Found::Bytes { length: 500, place: Place::Decompressed }),
            Action::Write { place: Place::Decompressed, from: 0, to: 500 },
        )
        .at(0, Event::Took(499), Action::Write { place: Place::Decompressed, from: 499, to: 500 })
        .at(0, Event::Took(1), Action::Receive);
}

#[test]
fn an_artifact_without_payload_is_read_to_its_end() {
    Line::daemon()
        .hundred_bytes(0)
        .at(0, parsed(50, Found::Header), Action::Accept { again: false })
        .at(0, Event::Accepted(Accepted::NoPayload), parse(50, 100))
        .at(0, parsed(50, Found::Nothing), Action::Receive)
        .at(0, Event::Complete, Action::End(End::NoPayload));
}

#[test]
fn an_artifact_that_ends_behind_its_header_has_no_payload_to_take() {
    Line::daemon()
        .hundred_bytes(0)
        .at(0, parsed(100, Found::Nothing), Action::Receive)
        .at(0, Event::Complete, gives_up(Failure::PayloadMissing, false))
        .at(0, Event::Done, Action::End(End::Failed));
}

#[test]
fn a_broken_body_goes_on_a_minute_later_behind_what_came() {
    Line::daemon()
        .forty_bytes(0)
        .at(5, BROKEN, Action::Pause(seconds(60)))
        .deadline(Some(65))
        .at(64, Event::Tick, Action::Wait)
        .at(65, Event::Tick, Action::Request { offset: 100, again: true })
        .deadline(None)
        .at(65, Event::Done, Action::AwaitHead)
        .at(70, part(100), Action::Receive)
        .at(70, Event::Came(7), parse(0, 7));
}

#[test]
fn the_attempts_are_counted() {
    let mut line = Line::begin(Begin { downloader: Downloader::Daemon, attempts: 2, earlier: false });
    line.hundred_bytes(0).at(0, parsed(100, Found::Nothing), Action::Receive);
    for time in [60, 120] {
        line.at(time - 60, BROKEN, Action::Pause(seconds(60))).at(
            time,
            Event::Tick,
            Action::Request { offset: 100, again: true },
        );
    }
    // It cannot even be sent.
    line.at(120, BROKEN, gives_up(Failure::NoAttempts, false)).at(120, Event::Done, Action::End(End::Failed));
}

#[test]
fn without_a_length_the_answer_to_the_request_for_the_rest_says_it() {
    let range = |first, last, size| {
        let content_range = Some(ContentRange { first, last, size });
        Event::Head(Head { status: 206, content_length: None, content_range, retry_after: None }, Etag::Same)
    };
    let wrong = || gives_up(Failure::WrongRange(100), false);
    for (answer, action) in [
        (range(100, LENGTH - 1, Some(LENGTH)), Action::Receive),
        (range(99, LENGTH - 1, Some(LENGTH)), wrong()),
        (range(100, LENGTH - 2, Some(LENGTH)), wrong()),
        (range(100, LENGTH, Some(LENGTH)), wrong()),
        (range(100, LENGTH - 1, None), wrong()),
        (Event::Head(Head { content_length: None, ..WHOLE }, Etag::Same), gives_up(Failure::NoRest, false)),
    ] {
        let mut line = Line::daemon();
        line.at(0, Event::Done, Action::AwaitHead)
            .at(0, Event::Head(Head { content_length: None, ..WHOLE }, Etag::Same), Action::Receive)
            .at(0, Event::Came(100), parse(0, 100))
            .at(0, parsed(100, Found::Nothing), Action::Receive)
            .at(1, BROKEN, Action::Pause(seconds(60)))
            .at(61, Event::Tick, Action::Request { offset: 100, again: true })
            .at(61, Event::Done, Action::AwaitHead)
            .at(62, answer, action);
        assert_eq!(line.transfer.length(), (action == Action::Receive).then_some(LENGTH));
    }
}

#[test]
fn what_another_attempt_cannot_mend_has_none() {
    Line::daemon()
        .forty_bytes(0)
        .at(1, Event::Broken { again: false }, gives_up(Failure::Broken, true))
        .at(1, Event::Done, Action::AwaitModule)
        .at(9, Event::Done, Action::End(End::Failed));
}

#[test]
fn the_daemon_repeats_a_request_that_no_answer_came_to() {
    Line::daemon()
        .at(0, Event::Done, Action::AwaitHead)
        .at(30, BROKEN, Action::Pause(seconds(60)))
        .at(90, Event::Tick, Action::Request { offset: 0, again: true })
        .at(90, Event::Done, Action::AwaitHead)
        .at(91, status(200), Action::Receive);
}

#[test]
fn r5_the_command_line_never_repeats_the_first_request_and_waits_shortly_for_the_rest() {
    Line::command_line().at(0, Event::Done, Action::AwaitHead).at(
        30,
        BROKEN,
        gives_up(Failure::Broken, false),
    );
    Line::command_line()
        .forty_bytes(0)
        .at(5, BROKEN, Action::Pause(seconds(1)))
        .at(6, Event::Tick, Action::Request { offset: 100, again: true })
        .at(6, Event::Done, Action::AwaitHead)
        .at(7, BROKEN, Action::Pause(seconds(2)))
        .at(9, Event::Tick, Action::Request { offset: 100, again: true })
        .at(9, Event::Done, Action::AwaitHead)
        .at(10, BROKEN, gives_up(Failure::NoAttempts, true));
}

#[test]
fn nobody_repeats_a_first_request_that_cannot_be_sent() {
    Line::daemon().at(0, BROKEN, gives_up(Failure::Broken, false));
    Line::command_line().at(0, BROKEN, gives_up(Failure::Broken, false));
}

/// The answer to a first request, and what follows.
#[test]
fn every_first_answer() {
    let other_length = Event::Head(Head { content_length: Some(LENGTH + 1), ..WHOLE }, Etag::Same);
    for (answer, action) in [
        (status(200), Action::Receive),
        (status(206), gives_up(Failure::Refused(206), false)),
        (status(204), gives_up(Failure::Refused(204), false)),
        (status(403), gives_up(Failure::Refused(403), false)),
        (status(404), gives_up(Failure::Refused(404), false)),
        (status(501), gives_up(Failure::Refused(501), false)),
        (status(505), gives_up(Failure::Refused(505), false)),
        (other_length, Action::Receive),
    ] {
        Line::daemon().at(0, Event::Done, Action::AwaitHead).at(0, answer, action);
    }
    // Nothing came of the first one. The second says what must not change.
    Line::daemon()
        .at(0, Event::Done, Action::AwaitHead)
        .at(0, status(200), Action::Receive)
        .at(0, BROKEN, Action::Pause(seconds(60)))
        .at(60, Event::Tick, Action::Request { offset: 0, again: true })
        .at(60, Event::Done, Action::AwaitHead)
        .at(60, other_length, gives_up(Failure::Changed, false));
}

#[test]
fn r22_the_daemon_asks_again_when_the_first_answer_asks_for_patience() {
    let later = |status, seconds: u32| {
        let retry_after = Some(RetryAfter { seconds });
        Event::Head(Head { status, retry_after, ..WHOLE }, Etag::Same)
    };
    for patience in [408, 425, 429, 500, 502, 503, 504, 506, 507, 520, 599] {
        for (answer, wait) in [(status(patience), 60), (later(patience, 30), 60), (later(patience, 600), 600)]
        {
            Line::daemon()
                .at(0, Event::Done, Action::AwaitHead)
                .at(0, answer, Action::Pause(seconds(wait)))
                .at(wait, Event::Tick, Action::Request { offset: 0, again: true })
                .at(wait, Event::Done, Action::AwaitHead)
                .at(wait, status(200), Action::Receive);
        }
        // a person watches.
        Line::command_line().at(0, Event::Done, Action::AwaitHead).at(
            0,
            status(patience),
            gives_up(Failure::Refused(patience), false),
        );
    }
    // Each uses up an attempt.
    let mut line = Line::begin(Begin { downloader: Downloader::Daemon, attempts: 1, earlier: false });
    line.at(0, Event::Done, Action::AwaitHead)
        .at(0, status(503), Action::Pause(seconds(60)))
        .at(60, Event::Tick, Action::Request { offset: 0, again: true })
        .at(60, Event::Done, Action::AwaitHead)
        .at(60, status(503), gives_up(Failure::NoAttempts, false));
}

/// The answer to a request for the rest, which begins at byte 100, and what follows.
#[test]
fn every_later_answer() {
    let head = |status, range, etag| Event::Head(Head { status, content_range: range, ..WHOLE }, etag);
    let range = |first, last, size| Some(ContentRange { first, last, size });
    let right = range(100, 999, Some(1000));
    let later = |seconds| {
        let retry_after = Some(RetryAfter { seconds });
        Event::Head(Head { status: 503, retry_after, ..WHOLE }, Etag::Same)
    };
    let fails = |why| gives_up(why, true);
    for (answer, action) in [
        (head(206, right, Etag::Same), Action::Receive),
        (head(206, right, Etag::Unknown), Action::Receive),
        (head(206, range(100, 999, None), Etag::Same), Action::Receive),
        (head(206, right, Etag::Other), fails(Failure::Changed)),
        (head(206, None, Etag::Same), fails(Failure::WrongRange(100))),
        (head(206, range(99, 999, Some(1000)), Etag::Same), fails(Failure::WrongRange(100))),
        (head(206, range(100, 998, Some(1000)), Etag::Same), fails(Failure::WrongRange(100))),
        (head(206, range(100, 999, Some(1001)), Etag::Same), fails(Failure::WrongRange(100))),
        (status(200), fails(Failure::NoRest)),
        (status(404), fails(Failure::RestRefused(404))),
        (status(416), fails(Failure::RestRefused(416))),
        (status(408), Action::Pause(seconds(60))),
        (status(425), Action::Pause(seconds(60))),
        (status(429), Action::Pause(seconds(60))),
        (status(500), Action::Pause(seconds(60))),
        (status(599), Action::Pause(seconds(60))),
        (later(30), Action::Pause(seconds(60))),
        (later(300), Action::Pause(seconds(300))),
        (status(403), Action::AskForLink),
    ] {
        Line::daemon()
            .forty_bytes(0)
            .at(0, BROKEN, Action::Pause(seconds(60)))
            .at(60, Event::Tick, Action::Request { offset: 100, again: true })
            .at(60, Event::Done, Action::AwaitHead)
            .at(60, answer, action);
    }
}

#[test]
fn an_expired_link_is_replaced_at_once() {
    Line::earlier()
        .at(0, Event::Done, Action::AwaitHead)
        .at(1, status(403), Action::AskForLink)
        .at(1, Event::Done, Action::AwaitLink)
        .at(2, Event::Link(Link::Fresh), Action::Request { offset: 0, again: true })
        .at(2, Event::Done, Action::AwaitHead)
        // The next 403 is the answer to a link that is not old.
        .at(3, status(403), gives_up(Failure::Refused(403), false));
}

#[test]
fn a_link_that_expires_when_no_attempts_are_left_is_not_called_a_fresh_one() {
    Line::begin(Begin { downloader: Downloader::Daemon, attempts: 1, earlier: false })
        .forty_bytes(0)
        .at(0, BROKEN, Action::Pause(seconds(60)))
        .at(60, Event::Tick, Action::Request { offset: 100, again: true })
        .at(60, Event::Done, Action::AwaitHead)
        .at(60, status(403), gives_up(Failure::LinkExpired, true));
}

#[test]
fn a_fresh_link_must_bring_something_before_the_next() {
    Line::daemon()
        .forty_bytes(0)
        .at(0, BROKEN, Action::Pause(seconds(60)))
        .at(60, Event::Tick, Action::Request { offset: 100, again: true })
        .at(60, Event::Done, Action::AwaitHead)
        .at(60, status(403), Action::AskForLink)
        .at(60, Event::Done, Action::AwaitLink)
        .at(60, Event::Link(Link::Fresh), Action::Request { offset: 100, again: true })
        .at(60, Event::Done, Action::AwaitHead)
        .at(60, status(403), gives_up(Failure::LinkRefused, true));
}

#[test]
fn a_link_that_the_server_cannot_give_now_is_asked_for_later() {
    let retry_after = Some(RetryAfter { seconds: 90 });
    Line::earlier()
        .at(0, Event::Done, Action::AwaitHead)
        .at(0, status(403), Action::AskForLink)
        .at(0, Event::Done, Action::AwaitLink)
        .at(0, Event::Link(Link::NotNow(None)), Action::Pause(seconds(60)))
        .at(60, Event::Tick, Action::AskForLink)
        .at(60, Event::Done, Action::AwaitLink)
        .at(61, Event::Link(Link::NotNow(retry_after)), Action::Pause(seconds(90)))
        .at(151, Event::Tick, Action::AskForLink)
        .at(151, Event::Done, Action::AwaitLink)
        .at(152, Event::Link(Link::NotOffered), gives_up(Failure::NotOffered, false));
}

#[test]
fn the_link_of_a_person_does_not_expire() {
    Line::command_line()
        .forty_bytes(0)
        .at(0, BROKEN, Action::Pause(seconds(1)))
        .at(1, Event::Tick, Action::Request { offset: 100, again: true })
        .at(1, Event::Done, Action::AwaitHead)
        .at(1, status(403), gives_up(Failure::RestRefused(403), true));
}

#[test]
fn marks_are_where_a_file_has_a_multiple_of_so_many_bytes() {
    Line::daemon()
        .file(0, false, 16)
        .at(0, Event::FileBegan { stored: 0 }, parse(60, 76))
        .at(0, parsed(16, in_chunk(16)), write(60, 76))
        .at(0, Event::Took(15), write(75, 76))
        .at(0, Event::Took(1), Action::Mark)
        .at(0, Event::Done, parse(76, 92))
        .at(0, parsed(16, in_chunk(16)), write(76, 92))
        .at(0, Event::Took(16), Action::Mark)
        .at(0, Event::Done, parse(92, 100))
        .at(0, parsed(8, in_chunk(8)), write(92, 100))
        .at(0, Event::Took(8), Action::Receive)
        // The rest of the 16 comes with the next bytes.
        .at(0, Event::Came(100), parse(0, 8));
}

#[test]
fn a_compressed_file_has_no_marks() {
    Line::daemon()
        .accepted(0, false)
        .at(0, Event::Stream(Stream { mark_every: 16, time: seconds(100) }), parse(50, 100))
        .at(0, parsed(10, Found::File { size: 800, plain: false }), Action::BeginFile(800))
        // Nor is anything of it read back.
        .at(0, Event::FileBegan { stored: 32 }, parse(60, 100))
        .at(0, parsed(16, in_chunk(16)), write(60, 76))
        .at(0, Event::Took(16), parse(76, 100));
}

#[test]
fn what_is_stored_is_read_back_and_the_rest_asked_for() {
    Line::earlier()
        .file(0, true, 0)
        .at(0, Event::FileBegan { stored: 300 }, Action::ReadBack(300))
        .at(0, Event::ReadBack(200), parse(0, 200))
        .at(0, parsed(150, in_chunk(150)), parse(150, 200))
        .at(0, parsed(50, in_chunk(50)), Action::ReadBack(100))
        .at(0, Event::ReadBack(100), parse(0, 100))
        .at(0, parsed(100, in_chunk(100)), Action::Compare)
        .at(0, Event::Compared { same: true }, Action::Request { offset: 360, again: true })
        .at(0, Event::Done, Action::AwaitHead)
        .at(0, part(360), Action::Receive)
        .at(0, Event::Came(10), parse(0, 10));
}

#[test]
fn what_is_stored_and_damaged_comes_anew() {
    for bytes in [0, 200, 300] {
        let mut line = Line::earlier();
        line.file(0, true, 128).at(0, Event::FileBegan { stored: 300 }, Action::ReadBack(300));
        if bytes > 0 {
            line.at(0, Event::ReadBack(bytes), parse(0, bytes));
            let next = if bytes == 300 { Action::Compare } else { Action::ReadBack(100) };
            line.at(0, parsed(bytes, in_chunk(bytes)), next);
        }
        let damaged = if bytes == 300 { Event::Compared { same: false } } else { Event::ReadBack(0) };
        line.at(0, damaged, Action::ForgetStored(bytes as u64))
            .at(0, Event::Done, Action::Request { offset: 60, again: true })
            .at(0, Event::Done, Action::AwaitHead)
            .at(0, part(60), Action::Receive)
            // The marks count from the file's first byte.
            .at(0, Event::Came(500), parse(0, 128));
    }
}

#[test]
fn only_what_was_kept_of_this_file_is_read_back() {
    for (kept, stored) in [(false, 300), (true, 0), (true, 801)] {
        Line::earlier().file(0, kept, 0).at(0, Event::FileBegan { stored }, parse(60, 100));
    }
    Line::earlier().file(0, true, 0).at(0, Event::FileBegan { stored: 800 }, Action::ReadBack(800));
}

#[test]
fn another_etag_than_the_earlier_one_is_another_artifact() {
    for (etag, again) in [(Etag::Same, true), (Etag::Other, false), (Etag::Unknown, false)] {
        Line::earlier()
            .at(0, Event::Done, Action::AwaitHead)
            .at(0, Event::Head(WHOLE, etag), Action::Receive)
            .at(0, Event::Came(100), parse(0, 100))
            .at(0, parsed(50, Found::Header), Action::Accept { again });
    }
}

/// A device whose stored bytes are verified, and which asks for the rest.
fn behind_stored() -> Line {
    let mut line = Line::earlier();
    line.file(0, true, 0)
        .at(0, Event::FileBegan { stored: 300 }, Action::ReadBack(300))
        .at(0, Event::ReadBack(300), parse(0, 300))
        .at(0, parsed(300, in_chunk(300)), Action::Compare)
        .at(0, Event::Compared { same: true }, Action::Request { offset: 360, again: true })
        .at(0, Event::Done, Action::AwaitHead);
    line
}

#[test]
fn all_in_place_of_a_part_is_good_behind_stored_bytes_only() {
    behind_stored()
        .at(0, status(200), Action::Receive)
        .at(0, Event::Came(300), Action::Receive)
        // Still nothing new: it may be all again.
        .at(0, BROKEN, Action::Pause(seconds(60)))
        .at(60, Event::Tick, Action::Request { offset: 360, again: true })
        .at(60, Event::Done, Action::AwaitHead)
        .at(60, status(200), Action::Receive)
        .at(60, Event::Came(300), Action::Receive)
        .at(60, Event::Came(300), parse(60, 300))
        .at(60, parsed(240, in_chunk(240)), write(60, 300))
        .at(60, Event::Took(240), Action::Receive)
        .at(60, BROKEN, Action::Pause(seconds(60)))
        .at(120, Event::Tick, Action::Request { offset: 600, again: true })
        .at(120, Event::Done, Action::AwaitHead)
        .at(120, status(200), gives_up(Failure::NoRest, true));
    for other in [
        Event::Head(WHOLE, Etag::Other),
        Event::Head(WHOLE, Etag::Unknown),
        Event::Head(Head { content_length: Some(LENGTH - 1), ..WHOLE }, Etag::Same),
    ] {
        behind_stored().at(0, other, gives_up(Failure::NoRest, true));
    }
}

#[test]
fn r16_the_modules_time_stands_still_while_the_network_is_waited_for() {
    Line::daemon()
        .forty_bytes(0)
        .deadline(None)
        .at(1000, Event::Came(100), parse(0, 100))
        .at(1000, parsed(100, in_chunk(100)), write(0, 100))
        .deadline(Some(1100))
        .at(1060, Event::Took(50), write(50, 100))
        .deadline(Some(1100))
        .at(1090, Event::Took(50), Action::Receive)
        .deadline(None)
        .at(2000, BROKEN, Action::Pause(seconds(60)))
        .at(2060, Event::Tick, Action::Request { offset: 200, again: true })
        .at(2060, Event::Done, Action::AwaitHead)
        .at(3000, part(200), Action::Receive)
        .at(4000, Event::Came(100), parse(0, 100))
        .at(4000, parsed(100, in_chunk(100)), write(0, 100))
        // Ten seconds are left of a hundred.
        .deadline(Some(4010))
        .at(4009, Event::Tick, Action::Wait)
        .at(4010, Event::Tick, gives_up(Failure::ModuleTooSlow(seconds(100)), true))
        .at(4010, Event::Done, Action::AwaitModule)
        .deadline(None)
        .at(4060, Event::Done, Action::End(End::Failed));
}

#[test]
fn a_transfer_that_is_stopped_ends_its_module_if_it_was_started() {
    Line::daemon()
        .at(0, Event::Done, Action::AwaitHead)
        .at(0, Event::Stop, gives_up(Failure::Stopped, false))
        .at(0, Event::Stop, Action::Wait)
        .at(0, Event::Done, Action::End(End::Failed))
        .at(0, Event::Stop, Action::Wait);
    Line::daemon()
        .forty_bytes(0)
        .at(0, Event::Stop, gives_up(Failure::Stopped, true))
        .at(0, Event::Done, Action::AwaitModule)
        .at(0, Event::Stop, Action::Wait)
        .at(9, Event::Done, Action::End(End::Failed));
}

#[test]
fn another_transfer_begins_like_the_first() {
    let mut line = Line::daemon();
    line.forty_bytes(0).at(0, Event::Failed, gives_up(Failure::Told, true));
    line.at(0, Event::Done, Action::AwaitModule).at(0, Event::Done, Action::End(End::Failed));
    let begin = Begin { downloader: Downloader::Daemon, attempts: 10, earlier: false };
    line.at(0, Event::Begin(begin), Action::Request { offset: 0, again: false });
    assert_eq!(line.transfer, Line::daemon().transfer);
}

#[test]
fn equal_situations_at_other_times_are_equal_once_they_are_rebased() {
    let situation = |start: u64| {
        let mut line = Line::daemon();
        line.forty_bytes(start).at(start, BROKEN, Action::Pause(seconds(60)));
        line.transfer
    };
    let mut later = situation(500);
    assert_ne!(later, situation(0));
    later.rebase(at(500), at(0));
    assert_eq!(later, situation(0));
    let written = |start: u64| {
        let mut line = Line::daemon();
        line.forty_bytes(start).at(start, Event::Came(9), parse(0, 9)).at(
            start,
            parsed(9, in_chunk(9)),
            write(0, 9),
        );
        line.transfer
    };
    let mut later = written(500);
    assert_ne!(later, written(0));
    later.rebase(at(500), at(0));
    assert_eq!(later, written(0));
}

#[test]
fn it_is_small() {
    assert!(size_of::<Transfer>() <= 200, "{}", size_of::<Transfer>());
    assert!(size_of::<Action>() <= 40, "{}", size_of::<Action>());
}

/// Every event that may follow, whatever was done before.
fn events() -> Vec<Event> {
    let mut events = vec![
        Event::Begin(Begin { downloader: Downloader::Daemon, attempts: 2, earlier: true }),
        Event::Begin(Begin { downloader: Downloader::CommandLine, attempts: 1, earlier: false }),
        Event::Stream(Stream { mark_every: 2, time: seconds(1) }),
        Event::Stop,
        Event::Tick,
        Event::Done,
        Event::Failed,
        BROKEN,
        Event::Broken { again: false },
        Event::Came(3),
        Event::Complete,
        Event::Link(Link::Fresh),
        Event::Link(Link::NotNow(None)),
        Event::Link(Link::NotOffered),
        Event::Accepted(Accepted::NoPayload),
        Event::Accepted(Accepted::Payload { kept: true }),
        Event::FileBegan { stored: 2 },
        Event::FileBegan { stored: 0 },
        Event::Took(1),
        Event::ReadBack(1),
        Event::ReadBack(0),
        Event::Compared { same: true },
        Event::Compared { same: false },
        parsed(1, Found::Nothing),
        parsed(1, Found::Header),
        parsed(1, Found::File { size: 3, plain: true }),
        parsed(1, in_chunk(1)),
        parsed(1, Found::Bytes { length: 2, place: Place::Decompressed }),
        parsed(0, Found::FileEnd),
    ];
    let head = |status, first, etag| {
        let range = ContentRange { first, last: 8, size: None };
        let head = Head { status, content_length: Some(9), content_range: Some(range), retry_after: None };
        Event::Head(head, etag)
    };
    for etag in [Etag::Same, Etag::Other, Etag::Unknown] {
        events.extend([200, 403, 404, 503].map(|status| head(status, 0, etag)));
        events.extend([1, 2, 3, 6].map(|first| head(206, first, etag)));
    }
    events
}

/// Whether the driver may tell this event of this action.
fn answers(action: Action, event: Event) -> bool {
    match action {
        Action::Request { .. } => matches!(event, Event::Done | Event::Failed | Event::Broken { .. }),
        Action::AwaitHead => matches!(event, Event::Head(..) | Event::Broken { .. }),
        Action::Receive => {
            matches!(event, Event::Came(_) | Event::Complete | Event::Failed | Event::Broken { .. })
        }
        Action::Pause(_) => matches!(event, Event::Tick),
        Action::AskForLink | Action::GiveUp { .. } | Action::AwaitModule => matches!(event, Event::Done),
        Action::AwaitLink => matches!(event, Event::Link(_)),
        Action::Parse { .. } => matches!(event, Event::Parsed { .. } | Event::Failed),
        Action::Accept { .. } => matches!(event, Event::Accepted(_) | Event::Failed),
        Action::BeginFile(_) => matches!(event, Event::FileBegan { .. } | Event::Failed),
        Action::Write { .. } => matches!(event, Event::Took(_) | Event::Failed),
        Action::Mark | Action::EndFile | Action::Finish | Action::ForgetStored(_) => {
            matches!(event, Event::Done | Event::Failed)
        }
        Action::ReadBack(_) => matches!(event, Event::ReadBack(_)),
        Action::Compare => matches!(event, Event::Compared { .. }),
        // Between the halves: the next one.
        Action::End(End::Accepted) => matches!(event, Event::Stream(_)),
        Action::End(End::NoPayload | End::Stored | End::Failed) => matches!(event, Event::Begin(_)),
        Action::Wait => false,
    }
}

/// From every situation that these events lead to within nine bytes, each of them does something or nothing, but never
/// panics; a situation is left by whatever its action may be told, and a stop ends it.
#[test]
fn every_event_in_every_situation() {
    let events = events();
    let mut seen: HashSet<(Transfer, Action)> = HashSet::new();
    let mut open = vec![(Transfer::new(), Action::End(End::Failed))];
    while let Some((transfer, asked)) = open.pop() {
        if transfer.received() > 9 || !seen.insert((transfer.clone(), asked)) {
            continue;
        }
        for &event in &events {
            let mut next = transfer.clone();
            // A deadline is reached at once, and everything else takes no time.
            let now = if event == Event::Tick { transfer.deadline() } else { None }.unwrap_or(Instant::ZERO);
            let action = next.step(now, event);
            assert!(action != Action::Wait || next == transfer, "{event:?} changes {transfer:?} to {next:?}");
            if answers(asked, event) {
                assert_ne!(action, Action::Wait, "{event:?} is no end of {asked:?} in {transfer:?}");
            }
            next.rebase(now, Instant::ZERO);
            open.push((next, if action == Action::Wait { asked } else { action }));
        }
        let mut stopped = transfer.clone();
        let _ = stopped.step(Instant::ZERO, Event::Stop);
        let ends = (0..3).any(|_| {
            stopped.state == State::Rest
                || stopped.step(Instant::ZERO, Event::Done) == Action::End(End::Failed)
        });
        assert!(ends, "{transfer:?}");
        assert_eq!(stopped.deadline(), None);
    }
    assert!(seen.len() > 1000, "{}", seen.len());
    std::eprintln!("{} situations", seen.len());
}
