use super::*;

fn call() -> Message {
    Message {
        path: "/io/mender/UpdateManager".into(),
        interface: "io.mender.Update1".into(),
        member: "SetUpdateControlMap".into(),
        destination: "io.mender.UpdateManager".into(),
        ..Message::new(MessageKind::Call, Body::text("{}"))
    }
}

impl Body {
    pub(crate) fn number_u32(number: u32) -> Self {
        Self::of("u", to_bytes(START(), &(number,)))
    }
}

/// With a sender, which only the bus adds.
pub(crate) fn delivered(message: &Message, sender: &str, serial: u32) -> Vec<u8> {
    let mut bytes = message.encode(serial);
    let body = bytes.split_off(Frame::find(&bytes).unwrap().unwrap().header);
    field(&mut bytes, 7, &Variant::Str(sender.into()));
    let fields = u32::try_from(bytes.len() - FIXED).unwrap();
    bytes[FIXED - 4..FIXED].copy_from_slice(&fields.to_le_bytes());
    pad(&mut bytes);
    bytes.extend(body);
    bytes
}

#[test]
fn what_is_written_is_read_again() {
    for (message, serial) in [
        (call(), 1),
        (Message { no_reply: true, ..call() }, 7),
        (
            Message {
                reply_to: 9,
                destination: ":1.2".into(),
                ..Message::new(MessageKind::Reply, Body::empty())
            },
            2,
        ),
        (
            Message {
                error: "a.b".into(),
                reply_to: 1,
                ..Message::new(MessageKind::Error, Body::text("no"))
            },
            u32::MAX,
        ),
        (Message::to_bus("RequestName", Body::name_and_flags("x.y", 4)), 3),
    ] {
        let bytes = message.encode(serial);
        assert_eq!(Frame::find(&bytes).unwrap().unwrap().total, bytes.len());
        assert_eq!(Message::decode(&bytes).unwrap().unwrap(), Message { serial, ..message });
    }
    let message = Message::decode(&delivered(&call(), ":1.7", 5)).unwrap().unwrap();
    assert_eq!((message.sender.as_str(), message.serial), (":1.7", 5));
    assert_eq!(message.body.as_texts::<1>().unwrap(), ["{}"]);
}

/// In the order of libdbus; in little and in big endian.
#[test]
fn messages_of_others_are_read() {
    let answer =
        b"l\x02\x01\x01\x09\0\0\0\x01\0\0\0\x3d\0\0\0\x06\x01s\0\x04\0\0\0:1.0\0\0\0\0\x05\x01u\0\x01\0\0\0\
        \x08\x01g\0\x01s\0\0\x07\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0\x04\0\0\0:1.0\0";
    let message = Message::decode(answer).unwrap().unwrap();
    assert_eq!((message.kind, message.reply_to, message.sender.as_str()), (MessageKind::Reply, 1, BUS));
    assert_eq!(message.body.as_texts::<1>().unwrap(), [":1.0"]);
    let big = b"B\x01\0\x01\0\0\0\x0a\0\0\0\x02\0\0\0\x28\x01\x01o\0\0\0\0\x01/\0\0\0\0\0\0\0\
        \x03\x01s\0\0\0\0\x01x\0\0\0\0\0\0\0\x08\x01g\0\x02ss\0\0\0\0\x01a\0\0\0\0\0\0\0\0";
    // The second text of this one is cut off.
    let message = Message::decode(&big[..66]).unwrap().unwrap();
    assert_eq!((message.path.as_str(), message.member.as_str(), message.serial), ("/", "x", 2));
    assert_eq!(message.body.as_texts::<2>(), None);
}

#[test]
fn arguments_are_what_they_have_to_be_or_nothing() {
    let two = Body::texts("a", "b");
    assert_eq!(two.as_texts::<2>().unwrap(), ["a", "b"]);
    assert_eq!((two.as_texts::<1>(), two.as_texts::<3>(), two.as_u32()), (None, None, None));
    assert_eq!(Body::empty().as_texts::<0>().unwrap(), [""; 0]);
    assert_eq!(Body::number(-1).as_texts::<1>(), None);
    assert_eq!(Body::text("a\0b").as_texts::<1>().unwrap(), ["a\u{fffd}b"]);
    for bad in [
        &b""[..],
        b"\x01\0\0\0a",
        b"\x01\0\0\0ab",
        b"\xff\xff\xff\xffa\0",
        b"\x01\0\0\0\xff\0",
        b"\0\0\0\0\0\0",
    ] {
        let body = Body { signature: "s".into(), big_endian: false, bytes: bad.to_vec() };
        assert_eq!(body.as_texts::<1>(), None, "{bad:?}");
    }
}

#[test]
fn properties_are_dictionaries() {
    let values = [("A", Value::Text("x")), ("B", Value::Count(u64::MAX)), ("C", Value::Number(-1))];
    let body = Body::properties(&values);
    type Map<'a> = std::collections::BTreeMap<&'a str, Variant<'a>>;
    let data = Data::new(body.bytes.as_slice(), START());
    let (read, length): (Map<'_>, _) = data.deserialize().unwrap();
    assert_eq!(length, body.bytes.len());
    assert_eq!(read["A"], Variant::Str("x".into()));
    assert_eq!((&read["B"], &read["C"]), (&Variant::U64(u64::MAX), &Variant::I64(-1)));
    let body = Body::changes("a.b", &values[..1]);
    assert_eq!(body.signature(), "sa{sv}as");
    let data = Data::new(body.bytes.as_slice(), START());
    let ((name, read, gone), length): ((&str, Map<'_>, Vec<&str>), _) = data.deserialize().unwrap();
    assert_eq!((name, read.len(), gone.len(), length), ("a.b", 1, 0, body.bytes.len()));
}

#[test]
fn lengths_beyond_the_specification_are_malformed() {
    let mut head = *b"l\x01\0\x01\0\0\0\0\x01\0\0\0\0\0\0\0";
    assert_eq!(Frame::find(&head), Ok(Some(Frame { header: 16, total: 16 })));
    assert_eq!(Frame::find(&head[..15]), Ok(None));
    for place in [4, 12] {
        let mut long = head;
        long[place..place + 4].fill(0xff);
        assert_eq!(Frame::find(&long), Err(Malformed));
    }
    head[3] = 2;
    assert_eq!(Frame::find(&head), Err(Malformed), "another version of the protocol");
    head[0] = b'x';
    assert_eq!(Frame::find(&head), Err(Malformed));
    // No serial number.
    assert_eq!(Message::decode(b"l\x01\0\x01\0\0\0\0\0\0\0\0\0\0\0\0"), Err(Malformed));
}

/// A field that does not exist yet is no reason to end the connection, and neither is a kind that does not.
#[test]
fn what_does_not_exist_yet_is_passed_over() {
    let mut bytes = call().encode(1);
    bytes[1] = 5;
    assert_eq!(Message::decode(&bytes), Ok(None));
    let new = b"l\x01\0\x01\0\0\0\0\x01\0\0\0\x0c\0\0\0\x0a\x02as\0\0\0\0\0\0\0\0\0\0\0\0";
    assert_eq!(Message::decode(new), Ok(None));
    let mut wrong = *new;
    wrong[16] = 1;
    assert_eq!(Message::decode(&wrong), Err(Malformed), "a path is no list");
}

/// Every byte of a message changed to every kind of trouble, and thousands of heavier changes: an answer, never a
/// panic.
#[test]
fn no_bytes_make_it_panic() {
    let seeds =
        [delivered(&call(), ":1.7", 5), Message::to_bus("X", Body::name_and_flags("x.y", 4)).encode(3)];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 33).unwrap() % below.max(1)
    };
    let mut good = 0;
    for seed in &seeds {
        for at in 0..seed.len() {
            for value in [0, 1, b'v', b'a', b'(', 0x7f, 0x80, 0xff] {
                let mut bytes = seed.clone();
                bytes[at] = value;
                good += usize::from(read(&bytes));
            }
        }
        for _ in 0..20_000 {
            let mut bytes = seed.clone();
            for _ in 0..=next(6) {
                let at = next(bytes.len());
                match next(4) {
                    0 => bytes[at] = u8::try_from(next(256)).unwrap(),
                    1 => bytes[at] = b"vas(){}yg\0"[next(10)],
                    2 => drop(bytes.splice(at..at, vec![u8::try_from(next(256)).unwrap(); next(9)])),
                    _ => bytes.truncate(at.max(1)),
                }
                if bytes.is_empty() {
                    bytes.push(b'l');
                }
            }
            good += usize::from(read(&bytes));
        }
    }
    assert!(good > 100, "some still make sense: {good}");
}

fn read(bytes: &[u8]) -> bool {
    // As the link does it: what is too short or malformed goes no further.
    let Ok(Some(frame)) = Frame::find(bytes) else { return false };
    let Some(bytes) = bytes.get(..frame.total) else { return false };
    let Ok(Some(message)) = Message::decode(bytes) else { return false };
    let _ = (message.body.as_texts::<1>(), message.body.as_texts::<2>(), message.body.as_u32());
    true
}
