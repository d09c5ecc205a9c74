//! Operations: what one command did to one key, as every region applies it.

use smallvec::SmallVec;

use super::cell::Observed;
use super::dot::{Dot, Hlc};
use super::number::Number;
use super::rules::{Rule, holds};
use super::store::{Element, KeyRef, Kind, Value};
use super::vector::Vector;

/// Takes operations as they are issued, with the author's vector.
pub type Emit<'e> = dyn FnMut(&Op<'_>, &Vector) + 'e;

#[derive(Clone, Debug)]
pub struct Op<'a> {
    pub dot: Dot,
    pub key: KeyRef<'a>,
    pub effects: SmallVec<[Effect<'a>; 1]>,
}

/// What happens to one cell, or to all cells of the key.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect<'a> {
    /// Assign or add (`Some`), or remove (`None`): drops the base and every dot its author saw in the cell.
    /// `observed`: counter totals it reset. `extra`: dots above the operation's context that it replaced.
    Replace {
        element: Element<'a>,
        value: Option<Value<'a>>,
        observed: Observed,
        extra: Vector,
    },
    /// Sets the author's running total.
    Increment {
        element: Element<'a>,
        birth: Hlc,
        total: Number,
    },
    /// The same drop for every cell of the key.
    Clear(Box<Clear>),
}

/// An observed clear. It says itself what it saw, so it travels in one piece and without the key.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Clear {
    /// What its author had seen.
    pub context: Vector,
    /// Ordered by (kind, element).
    pub cells: Vec<ClearedCell>,
    /// The key expired: its deadline stays, so that whatever survives the clear expires, too. What time it was, Unix
    /// time in ms by the author's clock, for whoever holds the deadline only natively.
    pub expired: Option<u64>,
}

/// What a clear has to say about one cell beside its context.
#[derive(Clone, PartialEq, Debug)]
pub struct ClearedCell {
    pub kind: Kind,
    pub name: Box<[u8]>,
    pub observed: Observed,
    pub extra: Vector,
}

impl ClearedCell {
    pub fn element(&self) -> Element<'_> {
        Element {
            kind: self.kind,
            name: &self.name,
        }
    }
}

impl Clear {
    /// Whether it leaves cells of this kind alone.
    pub fn spares(&self, kind: Kind) -> bool {
        kind == Kind::Expiry && self.expired.is_some() && holds(Rule::ExpiryStays)
    }

    pub fn cell(&self, element: Element<'_>) -> Option<&ClearedCell> {
        self.cells
            .binary_search_by(|c| c.element().cmp(&element))
            .ok()
            .map(|at| &self.cells[at])
    }

    /// A later clear stands for an earlier one of the same author, and for one that its author saw above
    /// its vector.
    pub fn absorb(&mut self, older: &Clear) {
        self.context.join(&older.context);
        for theirs in &older.cells {
            match self.cells.binary_search_by(|c| c.element().cmp(&theirs.element())) {
                Ok(at) => self.cells[at].absorb(theirs),
                Err(at) => self.cells.insert(at, theirs.clone()),
            }
        }
    }

    /// The clear without what makes it one piece, for the test build.
    pub fn in_transfer(&self) -> Clear {
        match holds(Rule::ClearInOnePiece) {
            true => self.clone(),
            false => Clear {
                context: self.context.clone(),
                cells: Vec::new(),
                expired: self.expired,
            },
        }
    }

    pub fn heap_size(&self) -> usize {
        let cells = self
            .cells
            .iter()
            .map(|c| size_of::<ClearedCell>() + c.name.len())
            .sum::<usize>();
        self.context.heap_size() + cells
    }
}

impl ClearedCell {
    fn absorb(&mut self, older: &ClearedCell) {
        self.extra.join(&older.extra);
        for (replica, hlc, total) in &older.observed {
            match self.observed.iter_mut().find(|entry| entry.0 == *replica) {
                Some(mine) if mine.1 >= *hlc => {}
                Some(mine) => (mine.1, mine.2) = (*hlc, total.clone()),
                None => self.observed.push((*replica, *hlc, total.clone())),
            }
        }
        self.observed.sort_by_key(|entry| entry.0);
    }
}
