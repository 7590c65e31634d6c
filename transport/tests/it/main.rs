//! Behaviour through the public API. Real sockets on free ports; tests wait for conditions and measure no time.

mod bad_input;
mod channel;
mod conformance;
mod connections;
mod golden;
mod raw;
mod rpc;
mod tls;
mod wrong;
