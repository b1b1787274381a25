//! Sorting in place, in n log n comparisons: heap sort. The library's sorts are faster, and have four kilobytes of code
//! for each type.

/// Sorts `entries`, of which `less` says whether the first stands before the second. Equal ones come in any order.
pub(crate) fn sort<T>(entries: &mut [T], less: impl Fn(&T, &T) -> bool) {
    for top in (0..entries.len() / 2).rev() {
        sink(entries, top, &less);
    }
    for last in (1..entries.len()).rev() {
        swap(entries, 0, last);
        sink(entries.get_mut(..last).unwrap_or_default(), 0, &less);
    }
}

/// Two entries change places. The slice's own `swap` needs `memmove`, since the places may be one.
fn swap<T>(entries: &mut [T], a: usize, b: usize) {
    if let Ok([a, b]) = entries.get_disjoint_mut([a, b]) {
        core::mem::swap(a, b);
    }
}

/// Lets the entry at `top` sink until none below it is greater.
fn sink<T>(heap: &mut [T], mut top: usize, less: &impl Fn(&T, &T) -> bool) {
    loop {
        let left = top.saturating_mul(2).saturating_add(1);
        let right = left.saturating_add(1);
        let Some(mut greatest) = heap.get(left) else { return };
        let mut child = left;
        if let Some(entry) = heap.get(right).filter(|&entry| less(greatest, entry)) {
            (child, greatest) = (right, entry);
        }
        if heap.get(top).is_none_or(|parent| !less(parent, greatest)) {
            return;
        }
        swap(heap, top, child);
        top = child;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn every_order_of_a_few_and_a_long_row_come_out_sorted() {
        for length in 0..=6_u32 {
            for mut number in 0..6_usize.pow(length) {
                let mut row: Vec<usize> = Vec::new();
                for _ in 0..length {
                    row.push(number % 6);
                    number /= 6;
                }
                let mut sorted = row.clone();
                sorted.sort_unstable();
                sort(&mut row, usize::lt);
                assert_eq!(row, sorted);
            }
        }
        let mut row: Vec<u32> = (0..1000_u32).map(|n| n.wrapping_mul(0x9e37_79b9) % 300).collect();
        let mut sorted = row.clone();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        sort(&mut row, |a, b| a > b);
        assert_eq!(row, sorted);
    }
}
