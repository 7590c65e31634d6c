//! Calls that wait for a reply.

use super::calls::Call;
use crate::group::interface::CallId;

/// Each call has a slot. Its id names the slot and the number of times that the slot was used, so that a late reply
/// does not reach another call. The slots are never freed; their number is bounded because groups bound the calls that
/// wait.
#[derive(Default)]
pub(super) struct WaitingCalls {
    slots: Vec<CallSlot>,
    free: Vec<u32>,
}

#[derive(Default)]
struct CallSlot {
    uses: u32,
    call: Option<Box<dyn Call>>,
}

impl WaitingCalls {
    /// Reserves an id for a call that is about to be made. It is then either put or released.
    pub(super) fn reserve(&mut self) -> CallId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(CallSlot::default());
            u32::try_from(self.slots.len() - 1).expect("fewer calls wait than 2^32")
        });
        let slot = &mut self.slots[index as usize];
        slot.uses = slot.uses.wrapping_add(1);
        CallId(u64::from(slot.uses) << 32 | u64::from(index))
    }

    /// Stores a call that waits.
    pub(super) fn put(&mut self, id: CallId, call: Box<dyn Call>) {
        self.slots[index(id)].call = Some(call);
    }

    /// Frees the slot of a call that does not wait.
    pub(super) fn release(&mut self, id: CallId) {
        self.free.push(low(id));
    }

    /// Takes the call of this id, if it still waits.
    pub(super) fn take(&mut self, id: CallId) -> Option<Box<dyn Call>> {
        let slot = self.slots.get_mut(index(id)).filter(|slot| u64::from(slot.uses) == id.0 >> 32)?;
        let call = slot.call.take()?;
        self.free.push(low(id));
        Some(call)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Drops all calls without an answer.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn index(id: CallId) -> usize {
    low(id) as usize
}

/// Returns the lower half of the id, which names the slot.
#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
fn low(id: CallId) -> u32 {
    id.0 as u32
}

#[cfg(test)]
mod tests {
    use super::WaitingCalls;
    use crate::group::interface::{CallId, Group};
    use crate::group::reply::Reply;
    use crate::shell::driver::calls::{Asked, Call, CallError};

    struct Nobody;

    impl Call for Nobody {
        fn ask(&mut self, _: &mut dyn Group, _: quorate_protocol::Now, _: CallId) -> Asked {
            Asked::Waits
        }

        fn answer(self: Box<Self>, _: Option<&mut dyn Group>, _: Reply) {}

        fn refuse(self: Box<Self>, _: CallError) {}
    }

    #[test]
    fn a_late_reply_finds_nobody_else() {
        let mut waiting = WaitingCalls::default();
        let first = waiting.reserve();
        waiting.put(first, Box::new(Nobody));
        assert!(waiting.take(first).is_some());
        assert_eq!(waiting.len(), 0);
        let second = waiting.reserve();
        waiting.put(second, Box::new(Nobody));
        assert_ne!(first, second);
        assert!(waiting.take(first).is_none());
        assert_eq!(waiting.len(), 1);
        assert!(waiting.take(second).is_some());
        assert!(waiting.take(second).is_none(), "a call is answered once");
    }

    #[test]
    fn a_released_slot_is_used_again() {
        let mut waiting = WaitingCalls::default();
        let id = waiting.reserve();
        waiting.release(id);
        assert!(waiting.len() == 0 && waiting.take(id).is_none());
        assert_ne!(waiting.reserve(), id);
        assert_eq!(waiting.slots.len(), 1);
    }
}
