//! Counts the bytes that are looked at, in tests of this crate only: they hold the work against the length of the text.

#[cfg(not(test))]
pub(crate) const fn looked(_: usize) {}

#[cfg(test)]
std::thread_local! {
    static LOOKED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
pub(crate) fn looked(bytes: usize) {
    LOOKED.with(|looked| looked.set(looked.get() + bytes));
}

/// The bytes that `work` looked at, and what it gave.
#[cfg(test)]
pub(crate) fn bytes_of<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = LOOKED.with(std::cell::Cell::get);
    let done = work();
    (LOOKED.with(std::cell::Cell::get) - before, done)
}
