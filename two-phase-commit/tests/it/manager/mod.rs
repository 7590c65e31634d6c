//! The transaction manager through its public API.

mod road;
