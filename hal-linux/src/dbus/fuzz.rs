//! What holds for whatever comes over the bus: panics where it does not.

use super::message::{Frame, Message};

/// A message that is understood has the length that its frame says, and written again it is understood as the same.
pub fn message(bytes: &[u8]) {
    let Ok(Some(frame)) = Frame::find(bytes) else { return };
    assert!(frame.header <= frame.total);
    let Some(whole) = bytes.get(..frame.total) else { return };
    let Ok(Some(message)) = Message::decode(whole) else { return };
    let _ = (message.body.as_texts::<1>(), message.body.as_texts::<2>(), message.body.as_u32());
    // Bodies keep the byte order in which they came; only headers are written anew. Who sent it is the bus's to say.
    if bytes.first() == Some(&b'l') {
        let message = Message { sender: String::new(), ..message };
        let again = Message::decode(&message.encode(message.serial));
        let Ok(Some(again)) = again else { panic!("{message:?} cannot be read back") };
        assert_eq!(format!("{again:?}"), format!("{message:?}"));
    }
}
