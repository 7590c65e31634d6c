//! The register with the layout.

use bytes::Bytes;
use quorate_paxos::register::{ChangeOutcome, Expected, Found, ReadOutcome, RegisterHandle};
use quorate_protocol::GroupId;
use quorate_runtime::NodeHandle;

use crate::connection::Reason;
use crate::shards::layout::Layout;

/// The group of the register.
pub const LAYOUT_GROUP: GroupId = GroupId(2_000_000);

/// The register with the layout, which any node reads and changes.
#[derive(Debug, Clone)]
pub struct LayoutRegister {
    register: RegisterHandle,
}

impl LayoutRegister {
    /// The register, reached through this node.
    pub fn new(node: NodeHandle) -> Self {
        Self { register: RegisterHandle::new(node, LAYOUT_GROUP) }
    }

    /// The layout. `None` if none was written yet.
    ///
    /// # Errors
    /// When no quorum answers, or the layout cannot be read.
    pub async fn fetch(&self) -> Result<Option<Layout>, Reason> {
        Ok(self.fetch_text().await?.map(|(_, layout)| layout))
    }

    async fn fetch_text(&self) -> Result<Option<(Bytes, Layout)>, Reason> {
        match self.register.get(KEY).await {
            ReadOutcome::Found(Found { value: None, .. }) => Ok(None),
            ReadOutcome::Found(Found { value: Some(text), .. }) => {
                let layout = Layout::from_text(&text);
                let layout = layout.inspect_err(|error| tracing::error!(%error, "the layout cannot be read"));
                Ok(Some((text, layout.map_err(|_| Reason::NoQuorum)?)))
            }
            _ => Err(Reason::NoQuorum),
        }
    }

    /// Writes a layout in the place of `old`. Returns false if another one is there, or what came of it is not known:
    /// the next [`fetch`](Self::fetch) tells.
    ///
    /// # Errors
    /// When no quorum answers, or the layout cannot be read.
    pub async fn replace(&self, old: Option<&Layout>, new: &Layout) -> Result<bool, Reason> {
        let present = self.fetch_text().await?;
        if present.as_ref().map(|(_, layout)| layout) != old {
            return Ok(false);
        }
        let expected = Expected::Value(present.map(|(text, _)| text));
        let change = self.register.compare_and_set(KEY, expected, Some(Bytes::from(new.to_text())));
        Ok(matches!(change.await, ChangeOutcome::Done(_) | ChangeOutcome::DoneBefore { .. }))
    }
}

/// The key of the layout among the registers.
const KEY: &str = "layout";
