//! Memory for large requests, which all connections of a server share.

use std::cell::Cell;
use std::rc::Rc;

/// The bytes that large requests may take up together. Cloning shares them.
#[derive(Debug, Clone)]
pub struct RequestRoom {
    left: Rc<Cell<usize>>,
}

/// Bytes of the room, until it is dropped.
#[derive(Debug)]
pub struct Reservation {
    room: RequestRoom,
    bytes: usize,
}

impl RequestRoom {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self { left: Rc::new(Cell::new(bytes)) }
    }

    /// Takes bytes of the room. `None` if so many are not left.
    pub fn reserve(&self, bytes: usize) -> Option<Reservation> {
        self.left.set(self.left.get().checked_sub(bytes)?);
        Some(Reservation { room: self.clone(), bytes })
    }
}

impl Reservation {
    /// The bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes more of the room, so that there are so many bytes. Returns false if they are not left.
    pub(super) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let left = self.room.left.get().checked_sub(more);
        if let Some(left) = left {
            self.room.left.set(left);
            self.bytes += more;
        }
        left.is_some()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.room.left.set(self.room.left.get() + self.bytes);
    }
}
