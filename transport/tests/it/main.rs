//! Behaviour through the public API. Real sockets on free ports; tests wait for conditions and judge no time.

mod conformance;
mod wrong;
