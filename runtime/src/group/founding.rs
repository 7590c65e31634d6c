//! The founding of a group: its first configuration and its protocol, as they were first written.

use std::collections::BTreeSet;

use bytes::{BufMut, BytesMut};
use quorate_protocol::{Configuration, MemberRole, NodeId};
use quorate_transport::ChannelId;
use sha2::{Digest, Sha256};

/// The founding of a group. It is written once, when the group is first bound to a stream, and is never made again from
/// a later description. Two nodes whose foundings of a group differ have different entries at equal indexes of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founding {
    digest: u128,
    configuration: Configuration,
}

impl Founding {
    /// Makes the founding of a group with these first members. Its core speaks on `channel`, which stands for its
    /// protocol.
    ///
    /// Addresses are not compared: they may be spelled differently on two nodes, and they may change.
    #[must_use]
    pub fn new(channel: ChannelId, configuration: Configuration) -> Self {
        let mut bytes = BytesMut::new();
        bytes.put_slice(DOMAIN);
        bytes.put_u8(FORMAT);
        bytes.put_u16_le(channel.0);
        for member in configuration.members() {
            bytes.put_u64_le(member.node.0);
            bytes.put_u8(role_code(member.role));
            bytes.put_u8(member.priority);
        }
        let digest = Sha256::digest(&bytes);
        let (half, _) = digest.split_first_chunk::<16>().expect("a digest of 32 bytes");
        Self { digest: u128::from_be_bytes(*half), configuration }
    }

    pub(crate) fn from_parts(digest: u128, configuration: Configuration) -> Self {
        Self { digest, configuration }
    }

    /// Returns the number that nodes compare.
    #[must_use]
    pub fn digest(&self) -> u128 {
        self.digest
    }

    /// Returns the first configuration.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Returns the first voters.
    #[must_use]
    pub fn voters(&self) -> BTreeSet<NodeId> {
        self.configuration.voters().collect()
    }
}

fn role_code(role: MemberRole) -> u8 {
    match role {
        MemberRole::Voter => 0,
        MemberRole::Learner => 1,
        MemberRole::Witness => 2,
        _ => u8::MAX,
    }
}

const DOMAIN: &[u8] = b"quorate-founding";
/// Must be raised if logs that were begun with the present value can no longer be led by nodes that begin with the new
/// one.
const FORMAT: u8 = 1;

#[cfg(test)]
mod tests {
    use quorate_protocol::{Configuration, NodeId};
    use quorate_transport::ChannelId;

    use super::Founding;

    fn of(voters: &[u64], channel: u16) -> Founding {
        Founding::new(ChannelId(channel), Configuration::of_voters(voters.iter().copied().map(NodeId)))
    }

    #[test]
    fn it_depends_on_members_and_protocol_and_not_on_addresses() {
        let mut members = Configuration::of_voters([NodeId(1), NodeId(2)]).members().to_vec();
        members[0].context = "somewhere".into();
        let elsewhere = Founding::new(ChannelId(16), Configuration::new(members).expect("sound"));
        assert_eq!(elsewhere.digest(), of(&[1, 2], 16).digest());
        assert_ne!(of(&[1, 2, 3], 16).digest(), of(&[1, 2], 16).digest());
        assert_ne!(of(&[1, 2], 17).digest(), of(&[1, 2], 16).digest());
    }

    #[test]
    fn the_digest_never_changes() {
        assert_eq!(format!("{:032x}", of(&[1, 2, 3], 16).digest()), "fc65ca5b8dca5b2a2436cafa0133f578");
    }
}
