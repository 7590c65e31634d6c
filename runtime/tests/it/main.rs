//! Behaviour through the public interface.

mod applying;
mod data_directory;
mod member_changes;
mod moving;
mod scripted;
