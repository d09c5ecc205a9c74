//! How a value meets one it had not seen, as a number.

use crate::crdt::Meeting;

pub fn code(how: Meeting) -> u8 {
    match how {
        Meeting::Unite => 0,
        Meeting::AtLeast => 1,
        Meeting::AtMost => 2,
        Meeting::IfAbsent => 3,
        Meeting::Offer => 4,
    }
}

pub fn read(code: u8) -> Option<Meeting> {
    Meeting::ALL.into_iter().find(|how| self::code(*how) == code)
}
