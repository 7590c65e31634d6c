//! Programs that combine the Quorate crates.
