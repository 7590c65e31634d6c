//! The thread that fills the next segments.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use super::shared::{Shared, catching};
use crate::disk::Disk;
use crate::spares::SegmentMaker;

/// The thread that fills the next segments of a log. Dropping it ends the thread and waits until it has ended.
pub(super) struct MakerThread<D: Disk> {
    maker: SegmentMaker<D>,
    thread: Option<JoinHandle<()>>,
}

impl<D: Disk> MakerThread<D> {
    /// Starts the thread. It wakes the log's thread when there is news for it.
    pub(super) fn spawn(maker: SegmentMaker<D>, shared: Arc<Shared>) -> io::Result<Self> {
        let thread = Builder::new().name("quorate-log-next".to_owned()).spawn({
            let maker = maker.clone();
            move || {
                if let Err(panic) = catching(|| maker.run(|| shared.writes.poke())) {
                    maker.fail(format!("the code panicked: {panic}"));
                    shared.writes.poke();
                }
            }
        })?;
        Ok(Self { maker, thread: Some(thread) })
    }
}

impl<D: Disk> Drop for MakerThread<D> {
    fn drop(&mut self) {
        self.maker.close();
        if let Some(thread) = self.thread.take() {
            // A panic was reported to the log.
            let _ = thread.join();
        }
    }
}
