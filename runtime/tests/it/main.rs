//! Behaviour through the public interface.

mod applying;
mod data_directory;
mod groups;
mod member_changes;
mod moving;
mod scripted;
