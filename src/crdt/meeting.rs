//! What becomes of a value that was written without having seen the one it lands on.

use super::hyperloglog;
use super::policy::ScoreRule;
use super::store::OwnedValue;

/// How a command's value meets one that the command would have looked at, had it been there. A command that does not
/// look (`SET`, `HSET`, plain `ZADD`) replaces it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meeting {
    /// HyperLogLogs become one that has counted what either has. Any other string gives way.
    Unite,
    /// The greater score stays.
    AtLeast,
    /// The lower score stays.
    AtMost,
    /// What is there stays. A string, and the deadline it was given, also leave a key of another type alone.
    IfAbsent,
    /// As if it had been written concurrently, and a little earlier: what is there stays, also of another type, but
    /// HyperLogLogs unite and the greater score holds.
    Offer,
}

impl Meeting {
    pub const ALL: [Meeting; 5] = [
        Meeting::Unite,
        Meeting::AtLeast,
        Meeting::AtMost,
        Meeting::IfAbsent,
        Meeting::Offer,
    ];

    /// What is to be written; `None` when what is there stays.
    pub fn meet(self, there: Option<&OwnedValue>, value: &OwnedValue) -> Option<OwnedValue> {
        let Some(there) = there else {
            return Some(value.clone());
        };
        match self {
            Meeting::Unite => Some(unite(there, value).unwrap_or_else(|| value.clone())),
            Meeting::AtLeast => (value > there).then(|| value.clone()),
            Meeting::AtMost => (value < there).then(|| value.clone()),
            Meeting::IfAbsent => None,
            Meeting::Offer => match value {
                OwnedValue::Score(_) => Meeting::AtLeast.meet(Some(there), value),
                _ => unite(there, value).filter(|united| united != there),
            },
        }
    }

    /// How a later value of the same element meets what this one and then the later one have not seen. `None`: as an
    /// assignment, because the later one won over this one whatever that may have met.
    pub fn then(self, later: Meeting) -> Option<Meeting> {
        match (self, later) {
            (Meeting::AtLeast, Meeting::AtMost) | (Meeting::AtMost, Meeting::AtLeast) => None,
            (_, later) => Some(later),
        }
    }

    /// How a value meets one that was written concurrently, as far as no clock decides.
    pub fn of_concurrent(value: &OwnedValue, scores: ScoreRule) -> Option<Meeting> {
        match (value, scores) {
            (OwnedValue::Bytes(bytes), _) if hyperloglog::is_sketch(bytes) => Some(Meeting::Unite),
            (OwnedValue::Score(_), ScoreRule::Max) => Some(Meeting::AtLeast),
            (OwnedValue::Score(_), ScoreRule::Min) => Some(Meeting::AtMost),
            _ => None,
        }
    }
}

fn unite(a: &OwnedValue, b: &OwnedValue) -> Option<OwnedValue> {
    let sketch = hyperloglog::union(&[a.bytes()?, b.bytes()?])?;
    Some(OwnedValue::Bytes(sketch.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::Score;

    fn score(score: i32) -> OwnedValue {
        OwnedValue::Score(Score::new(score.into()).expect("a number"))
    }

    /// The shortened notes give what the values one after the other would have, whatever they meet. Each is one that
    /// its command accepted on top of the one before.
    #[test]
    fn two_values_are_noted_as_one() {
        let write =
            |there: Option<OwnedValue>, how: Meeting, value: i32| how.meet(there.as_ref(), &score(value)).or(there);
        for (first, later, values) in [
            (Meeting::AtLeast, Meeting::AtLeast, (3, 5)),
            (Meeting::AtMost, Meeting::AtMost, (5, 3)),
            (Meeting::AtLeast, Meeting::AtMost, (5, 3)),
            (Meeting::AtMost, Meeting::AtLeast, (3, 5)),
            (Meeting::IfAbsent, Meeting::AtLeast, (3, 5)),
            (Meeting::IfAbsent, Meeting::AtMost, (5, 3)),
        ] {
            for there in [None].into_iter().chain((1..8).map(|there| Some(score(there)))) {
                let both = write(write(there.clone(), first, values.0), later, values.1);
                let noted = match first.then(later) {
                    Some(how) => write(there.clone(), how, values.1),
                    None => Some(score(values.1)),
                };
                assert_eq!(noted, both, "{first:?} {later:?} {values:?} on {there:?}");
            }
        }
    }

    #[test]
    fn what_is_no_sketch_gives_way_to_one() {
        let text = |text: &str| OwnedValue::Bytes(text.as_bytes().into());
        assert_eq!(
            Meeting::Unite.meet(Some(&text("30")), &text("HYLL")),
            Some(text("HYLL"))
        );
    }
}
