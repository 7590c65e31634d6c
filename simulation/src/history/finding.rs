//! A violation in a history.

/// A violation in a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the violation: `not linearizable`, or the name of an anomaly in Elle's words.
    pub name: String,
    /// The reason in words, over several lines.
    pub explanation: String,
    /// A cycle of transactions as a picture, in SVG.
    pub picture: Option<String>,
}

impl Finding {
    /// A violation that is not a cycle.
    pub(super) fn new(name: impl Into<String>, explanation: impl Into<String>) -> Self {
        Self { name: name.into(), explanation: explanation.into(), picture: None }
    }
}
