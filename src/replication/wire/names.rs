//! Replica ids as small integers, per frame.

use crate::crdt::{Dot, Hlc, ReplicaId, Vector};

use super::Malformed;

/// The table of one frame.
#[derive(Clone, Default, Debug)]
pub struct Names(pub Vec<ReplicaId>);

pub type WireVector = Vec<(u16, Hlc)>;

impl Names {
    pub fn index(&mut self, replica: ReplicaId) -> u16 {
        let at = self.0.iter().position(|known| *known == replica).unwrap_or_else(|| {
            self.0.push(replica);
            self.0.len() - 1
        });
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    pub fn vector(&mut self, vector: &Vector) -> WireVector {
        vector.iter().map(|(replica, hlc)| (self.index(replica), hlc)).collect()
    }

    pub fn replica(&self, index: u16) -> Result<ReplicaId, Malformed> {
        self.0
            .get(usize::from(index))
            .copied()
            .ok_or_else(|| Malformed::new("frame", "unknown replica index"))
    }

    pub fn dot(&self, index: u16, hlc: Hlc) -> Result<Dot, Malformed> {
        Ok(Dot::new(self.replica(index)?, hlc))
    }

    pub fn read_vector(&self, wire: &[(u16, Hlc)]) -> Result<Vector, Malformed> {
        wire.iter()
            .map(|(index, hlc)| Ok((self.replica(*index)?, *hlc)))
            .collect()
    }
}
