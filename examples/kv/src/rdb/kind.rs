//! The bytes that tell the kind and the form of a value.

pub(super) const STRING: u8 = 0;
pub(super) const LIST: u8 = 1;
pub(super) const SET: u8 = 2;
/// Scores in digits.
pub(super) const SORTED_SET: u8 = 3;
pub(super) const HASH: u8 = 4;
/// Scores in binary.
pub(super) const SORTED_SET_2: u8 = 5;
pub(super) const MODULE_2: u8 = 7;
pub(super) const HASH_ZIPMAP: u8 = 9;
pub(super) const LIST_ZIPLIST: u8 = 10;
pub(super) const SET_INTSET: u8 = 11;
pub(super) const SORTED_SET_ZIPLIST: u8 = 12;
pub(super) const HASH_ZIPLIST: u8 = 13;
/// Ziplists.
pub(super) const LIST_QUICKLIST: u8 = 14;
pub(super) const STREAM: u8 = 15;
pub(super) const HASH_LISTPACK: u8 = 16;
pub(super) const SORTED_SET_LISTPACK: u8 = 17;
/// Listpacks, and long items on their own.
pub(super) const LIST_QUICKLIST_2: u8 = 18;
/// Knows what was removed, and what groups have read.
pub(super) const STREAM_2: u8 = 19;
pub(super) const SET_LISTPACK: u8 = 20;
/// Knows when consumers were last active.
pub(super) const STREAM_3: u8 = 21;
pub(super) const HASH_DEADLINES: u8 = 24;
pub(super) const HASH_DEADLINES_LISTPACK: u8 = 25;
