//! Connections that are encrypted, and those that must not be.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{GroupId, NodeId};
use quorate_transport::tcp::{TcpSettings, TcpTransport, Tls, TlsMaterial};
use quorate_transport::wire::HandshakeAnswer;
use quorate_transport::{ChannelId, Frame, Inbox, Incoming, LinkEvent, Peer, Refusal, RefusedBy, Transport};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::raw::{CHANNEL, closed, frame, hello, identity, settings, shake, until};

/// Signs certificates of nodes.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// What a node needs whose certificate is that of this id.
    fn material(&self, node: u64) -> TlsMaterial {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![format!("node-{node}")]).expect("a name");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        TlsMaterial {
            authorities: vec![self.certificate.der().clone()],
            certificates: vec![certificate.der().clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        }
    }

    pub(crate) fn tls(&self, node: u64) -> Arc<Tls> {
        Tls::new(self.material(node)).expect("they fit")
    }
}

/// A node with everything that it is told.
struct End {
    transport: Arc<TcpTransport>,
    inbox: Inbox,
}

impl End {
    async fn start(node: u64, tls: Option<Arc<Tls>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let settings = TcpSettings { backoff_max: Duration::from_millis(100), ..settings() };
        let transport = TcpTransport::encrypted(identity(node), listener, settings, tls).expect("right settings");
        let inbox = transport.claim(ChannelId(0)..=ChannelId(u16::MAX)).expect("nothing is claimed");
        Self { transport, inbox }
    }

    fn knows(&self, other: &Self) {
        let address = other.transport.local_address().to_string();
        self.transport.set_peer(Peer::new(other.transport.identity().node, address)).expect("a right peer");
    }

    async fn is_up(&mut self) {
        while !matches!(self.inbox.recv().await, Some(Incoming::Link(LinkEvent::Up { .. }))) {}
    }

    /// Waits until a connection is refused for this reason.
    async fn refusal(&mut self, wanted: Refusal, side: RefusedBy) {
        loop {
            match self.inbox.recv().await {
                Some(Incoming::Link(LinkEvent::Refused { refusal, by, .. })) if refusal == wanted && by == side => {
                    return;
                }
                Some(_) => {}
                None => panic!("the transport has ended"),
            }
        }
    }

    async fn frame(&mut self) -> Frame {
        loop {
            if let Some(Incoming::Frame(received)) = self.inbox.recv().await {
                return received.frame;
            }
        }
    }

    fn refused(&self, refusal: Refusal) -> u64 {
        self.transport.counters().refused(refusal)
    }
}

/// Two nodes that know each other.
async fn two(one: Option<Arc<Tls>>, two: Option<Arc<Tls>>) -> (End, End) {
    let (one, two) = (End::start(1, one).await, End::start(2, two).await);
    two.knows(&one);
    one.knows(&two);
    (one, two)
}

#[tokio::test]
async fn much_passes_an_encrypted_connection_in_order() {
    let authority = Authority::new();
    let (mut one, mut two) = two(Some(authority.tls(1)), Some(authority.tls(2))).await;
    one.is_up().await;
    for number in 0..300_u64 {
        let raw = Bytes::from(vec![u8::try_from(number % 251).expect("small"); 60_000]);
        let frame = || Frame::new(CHANNEL, GroupId(number), Bytes::new(), vec![raw.clone()]).expect("a right frame");
        // The queue is bounded: what it does not take now it takes later.
        while one.transport.send(NodeId(2), frame()).is_err() {
            let received = two.frame().await;
            assert!(received.raw()[0].iter().all(|byte| *byte == received.raw()[0][0]));
            if received.group() == GroupId(u64::MAX) {
                return;
            }
        }
    }
    let mut last = GroupId(0);
    one.transport.send(NodeId(2), frame(4711, 1)).expect("there is room");
    while last != GroupId(4711) {
        let group = two.frame().await.group();
        assert!(group > last || group == GroupId(0), "{group:?} after {last:?}");
        last = group;
    }
}

/// A peer that does not encrypt is told so by name, and so is one that encrypts where nobody does.
#[tokio::test]
async fn a_plain_peer_and_an_encrypted_one_refuse_each_other_by_name() {
    let authority = Authority::new();
    let (mut one, mut two) = two(Some(authority.tls(1)), None).await;
    one.refusal(Refusal::Unencrypted, RefusedBy::Us).await;
    two.refusal(Refusal::Unencrypted, RefusedBy::Peer).await;
    until(|| two.refused(Refusal::Magic) > 0).await;
    assert!(one.transport.send(NodeId(2), frame(1, 1)).is_err() && two.transport.send(NodeId(1), frame(1, 1)).is_err());
}

/// Whoever has the certificate of node 3 is not node 2 when it dials.
#[tokio::test]
async fn a_dialer_with_the_certificate_of_another_node_is_refused() {
    let authority = Authority::new();
    let mut one = End::start(1, Some(authority.tls(1))).await;
    let mut two = End::start(2, Some(authority.tls(3))).await;
    // Nobody listens there, so all that is refused is what node 2 dials.
    one.transport.set_peer(Peer::new(NodeId(2), "127.0.0.1:1")).expect("a right peer");
    two.knows(&one);
    one.refusal(Refusal::CertificateNode, RefusedBy::Us).await;
    two.refusal(Refusal::CertificateNode, RefusedBy::Peer).await;
    assert!(two.transport.send(NodeId(1), frame(1, 1)).is_err());
}

/// Nor is it node 2 when it is dialled.
#[tokio::test]
async fn an_acceptor_with_the_certificate_of_another_node_is_refused() {
    let authority = Authority::new();
    let mut one = End::start(1, Some(authority.tls(1))).await;
    let two = End::start(2, Some(authority.tls(3))).await;
    one.knows(&two);
    one.refusal(Refusal::CertificateNode, RefusedBy::Us).await;
    assert!(one.transport.send(NodeId(2), frame(1, 1)).is_err());
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (mut one, mut two) = two(Some(Authority::new().tls(1)), Some(Authority::new().tls(2))).await;
    one.refusal(Refusal::Certificate, RefusedBy::Us).await;
    two.refusal(Refusal::Certificate, RefusedBy::Us).await;
}

#[tokio::test]
async fn replaced_certificates_count_for_the_next_connection_and_leave_others_alone() {
    let (old, new) = (Authority::new(), Authority::new());
    let (first, second) = (old.tls(1), old.tls(2));
    let (mut one, mut two) = two(Some(first.clone()), Some(second.clone())).await;
    one.is_up().await;
    first.replace(new.material(1)).expect("they fit");
    second.replace(new.material(2)).expect("they fit");
    one.transport.send(NodeId(2), frame(7, 1)).expect("it is connected");
    assert_eq!(two.frame().await.group(), GroupId(7));
    // A third node has a certificate of the new authority alone, and a fourth one of the old.
    let (mut third, mut fourth) = (End::start(3, Some(new.tls(3))).await, End::start(4, Some(old.tls(4))).await);
    third.knows(&one);
    fourth.knows(&one);
    one.knows(&third);
    one.knows(&fourth);
    third.is_up().await;
    fourth.refusal(Refusal::Certificate, RefusedBy::Us).await;
}

#[test]
fn certificates_and_keys_that_do_not_fit_are_refused_and_change_nothing() {
    let authority = Authority::new();
    let tls = authority.tls(1);
    let foreign = TlsMaterial { key: authority.material(1).key, ..authority.material(1) };
    assert!(tls.replace(foreign).is_err());
    let nothing = TlsMaterial { authorities: Vec::new(), ..authority.material(1) };
    assert!(tls.replace(nothing).is_err());
    for text in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(TlsMaterial::from_pem(text.as_bytes(), text.as_bytes(), text.as_bytes()).is_err());
    }
}

/// Garbage, silence and a cut in the handshake cost the node no more than without encryption.
#[tokio::test]
async fn a_handshake_that_is_none_ends_and_the_node_goes_on() {
    let authority = Authority::new();
    let settings = TcpSettings { handshake_timeout: Duration::from_millis(50), ..settings() };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let node = TcpTransport::encrypted(identity(1), listener, settings, Some(authority.tls(1))).expect("settings");
    let dial = || TcpStream::connect(node.local_address());
    let mut silent = dial().await.expect("it listens");
    closed(&mut silent).await;
    until(|| node.counters().refused(Refusal::HandshakeTimeout) == 1).await;
    let mut garbage = dial().await.expect("it listens");
    garbage.write_all(&[0x16; 600]).await.expect("it listens");
    closed(&mut garbage).await;
    // The start of a record of the longest length, which never ends.
    let mut endless = dial().await.expect("it listens");
    endless.write_all(&[0x16, 3, 1, 0x40, 0]).await.expect("it listens");
    closed(&mut endless).await;
    until(|| node.counters().refused(Refusal::HandshakeTimeout) >= 2).await;
    let mut plain = dial().await.expect("it listens");
    assert_eq!(shake(&mut plain, &hello()).await, HandshakeAnswer::Refused(Refusal::Unencrypted));
    let mut peer = End::start(2, Some(authority.tls(2))).await;
    let address = node.local_address().to_string();
    node.set_peer(Peer::new(NodeId(2), peer.transport.local_address().to_string())).expect("a right peer");
    peer.transport.set_peer(Peer::new(NodeId(1), address)).expect("a right peer");
    peer.is_up().await;
}
