//! Durations in numbered buckets, as they are stored: only those that hold something, so that a
//! minute of a statement takes some ten bytes whatever the number of buckets is.
//!
//! Each is the distance of its number from the one before and its count, both as LEB128. What a
//! number means is up to who writes it; hours are made of minutes by adding counts up.

use std::collections::BTreeMap;

/// Counts by number of bucket.
pub type Counts = BTreeMap<u32, u64>;

/// Writes counts; those that are 0 are left out.
pub fn encode(counts: &Counts) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut last = 0;
    for (number, count) in counts.iter().filter(|(_, count)| **count > 0) {
        push(&mut bytes, u64::from(number.saturating_sub(last)));
        push(&mut bytes, *count);
        last = *number;
    }
    bytes
}

/// Reads counts; `None` when these bytes were not written by [`encode`].
pub fn decode(bytes: &[u8]) -> Option<Counts> {
    let mut counts = Counts::new();
    let mut rest = bytes.iter();
    let mut number = 0_u32;
    while !rest.as_slice().is_empty() {
        number = number.checked_add(u32::try_from(pull(&mut rest)?).ok()?)?;
        let sum = counts.entry(number).or_insert(0_u64);
        *sum = sum.saturating_add(pull(&mut rest)?);
    }
    Some(counts)
}

/// Adds what `more` holds. Bytes that can't be read add nothing.
pub fn add(counts: &mut Counts, more: &[u8]) {
    for (number, count) in decode(more).unwrap_or_default() {
        let sum = counts.entry(number).or_insert(0);
        *sum = sum.saturating_add(count);
    }
}

fn push(bytes: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}

fn pull(bytes: &mut std::slice::Iter<'_, u8>) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.next()?;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_as_they_were_written_and_add_up() {
        let mut counts = Counts::from([(0, 1), (3, 300), (1_000, u64::MAX - 1)]);
        let bytes = encode(&counts);
        assert_eq!(decode(&bytes).as_ref(), Some(&counts));
        add(&mut counts, &encode(&Counts::from([(3, 5), (4, 1)])));
        assert_eq!((counts[&3], counts[&4]), (305, 1));
        assert!(encode(&Counts::from([(7, 0)])).is_empty());
    }

    #[test]
    fn what_is_no_count_is_not_read() {
        assert_eq!(decode(&[1]), None);
        assert_eq!(decode(&[0x80; 20]), None);
    }
}
