//! The two lent buffers that requests share with the records on the device, and what stands in them.
//!
//! | | `out` | `record` |
//! |---|---|---|
//! | a request is written and sent | its body, in the front, and the signature of a request for a token behind it | what the body is made of |
//! | its answer comes | its body | what came of the answer, in the front |
//! | anything else | free | free |
//!
//! Whoever takes them for something else ([`Lent::free`]) ends what stood there: then there is no body and no answer any
//! more, and never bytes of something else in their place. The flow begins nothing that takes them while a request is
//! under way.

/// See the file's documentation.
pub(super) struct Lent<'b> {
    record: &'b mut [u8],
    out: &'b mut [u8],
    /// Length of the body in the front of `out`.
    body: usize,
    /// Length of the signature behind the body.
    signature: usize,
    /// Length of what came of the answer, in the front of `record`.
    answer: usize,
}

impl<'b> Lent<'b> {
    pub(super) const fn new(record: &'b mut [u8], out: &'b mut [u8]) -> Self {
        Self { record, out, body: 0, signature: 0, answer: 0 }
    }

    /// The lengths of both, `record` first.
    pub(super) const fn lengths(&self) -> (usize, usize) {
        (self.record.len(), self.out.len())
    }

    /// Both, `record` first, for something that is done at once. For the body of a request: [`Self::wrote`] follows.
    pub(super) const fn free(&mut self) -> (&mut [u8], &mut [u8]) {
        self.body = 0;
        self.signature = 0;
        self.answer = 0;
        (self.record, self.out)
    }

    /// The body of a request was written, to the front of the second of them.
    pub(super) const fn wrote(&mut self, bytes: usize) {
        self.body = bytes;
    }

    /// The body that was written last.
    pub(super) fn body(&self) -> &[u8] {
        self.out.get(..self.body).unwrap_or_default()
    }

    /// The length of the body, its signature, and room for what else goes with a request: what the body was made of is not
    /// needed any more.
    pub(super) fn sending(&mut self) -> (usize, &str, &mut [u8]) {
        let signature = self.out.get(self.body..).and_then(|rest| rest.get(..self.signature));
        let signature = str::from_utf8(signature.unwrap_or_default()).unwrap_or_default();
        (self.body, signature, self.record)
    }

    /// The body, and room behind it for its signature: [`Self::signed`] follows.
    pub(super) fn signing(&mut self) -> (&[u8], &mut [u8]) {
        let (body, room) = self.out.split_at_mut_checked(self.body).unwrap_or_default();
        (body, room)
    }

    /// The signature was written, to the front of that room.
    pub(super) const fn signed(&mut self, bytes: usize) {
        self.signature = bytes;
    }

    /// An answer comes.
    pub(super) const fn answer_begins(&mut self) {
        self.answer = 0;
    }

    /// Where the next bytes of the answer go; empty: there is no more room.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.record.get_mut(self.answer..).unwrap_or_default()
    }

    /// So many came.
    pub(super) const fn came(&mut self, bytes: usize) {
        self.answer = self.answer.saturating_add(bytes);
    }

    /// What came of the answer.
    pub(super) fn answer(&self) -> &[u8] {
        self.record.get(..self.answer).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_stays_while_its_answer_comes_and_goes_with_the_next_use() {
        let (mut record, mut out) = ([0; 8], [0; 8]);
        let mut lent = Lent::new(&mut record, &mut out);
        let (source, body) = lent.free();
        source.fill(b'x');
        body[..2].copy_from_slice(b"{}");
        lent.wrote(2);
        assert_eq!((lent.body(), lent.answer()), (&b"{}"[..], &b""[..]));
        lent.answer_begins();
        lent.room()[..3].copy_from_slice(b"yes");
        lent.came(3);
        assert_eq!((lent.body(), lent.answer()), (&b"{}"[..], &b"yes"[..]));
        assert_eq!(lent.room().len(), 5);
        lent.free().0.fill(b'z');
        assert_eq!((lent.body(), lent.answer()), (&b""[..], &b""[..]));
    }
}
