//! The transaction manager: its core on a bench without threads, and the shipped manager.

mod admin;
mod bench;
mod conformance;
mod crashes;
mod faults;
mod replica;
mod road;
mod rows;
mod shipped;
