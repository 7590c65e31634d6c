//! Encryption of connections between nodes: TLS 1.3, with a certificate on both sides.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use quorate_protocol::NodeId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use crate::link::Refusal;

mod session;

pub(super) use session::Session;

/// The certificates and the key of a node. They can be [replaced](Self::replace) while connections stand.
///
/// A certificate belongs to node 7 if it bears the DNS name `node-7` among its subject's alternative names. A dialer
/// takes no other certificate from the node that it dials, and an acceptor none from a node that introduces itself
/// under another id. So whoever has the certificate of one node cannot be another.
pub struct Tls {
    configs: RwLock<Configs>,
}

/// What a node needs for encrypted connections.
#[derive(Debug)]
pub struct TlsMaterial {
    /// The authorities, one of which has signed the certificate of each node.
    pub authorities: Vec<CertificateDer<'static>>,
    /// This node's certificate, followed by those between it and an authority.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The key of this node's certificate.
    pub key: PrivateKeyDer<'static>,
}

/// Reason why certificates or a key cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("the certificates or the key cannot be used: {0}")]
pub struct TlsError(String);

#[derive(Clone)]
struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl TlsMaterial {
    /// Authorities, certificates and a key from texts in PEM.
    ///
    /// # Errors
    /// When one of the texts has none, or is malformed.
    pub fn from_pem(authorities: &[u8], certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let all = |text: &[u8], what: &str| {
            let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
            let read = read.map_err(|error| TlsError(format!("{what}: {error}")))?;
            if read.is_empty() { Err(TlsError(format!("{what}: there is no certificate"))) } else { Ok(read) }
        };
        Ok(Self {
            authorities: all(authorities, "the authorities")?,
            certificates: all(certificates, "the node's certificate")?,
            key: PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError(format!("the key: {error}")))?,
        })
    }
}

impl Tls {
    /// Encrypts with these.
    ///
    /// # Errors
    /// When they do not fit each other, or an authority is none.
    pub fn new(material: TlsMaterial) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self { configs: RwLock::new(Configs::new(material)?) }))
    }

    /// Uses these for connections that begin from now on. Those that stand keep what they began with, until they end.
    ///
    /// # Errors
    /// When they do not fit each other. Those before stay.
    pub fn replace(&self, material: TlsMaterial) -> Result<(), TlsError> {
        let configs = Configs::new(material)?;
        *self.configs.write().unwrap_or_else(PoisonError::into_inner) = configs;
        Ok(())
    }

    pub(super) fn accept(&self) -> Result<Session, Refusal> {
        let connection = ServerConnection::new(self.configs().server).map_err(|_| Refusal::Certificate)?;
        Ok(Session::new(connection.into()))
    }

    pub(super) fn dial(&self, node: NodeId) -> Result<Session, Refusal> {
        let connection = ClientConnection::new(self.configs().client, name_of(node)?);
        Ok(Session::new(connection.map_err(|_| Refusal::Certificate)?.into()))
    }

    fn configs(&self) -> Configs {
        self.configs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Configs {
    fn new(material: TlsMaterial) -> Result<Self, TlsError> {
        let said = |error: &dyn fmt::Display| TlsError(error.to_string());
        let TlsMaterial { authorities, certificates, key } = material;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).map_err(|error| said(&error))?;
        }
        let roots = Arc::new(roots);
        let versions = &[&rustls::version::TLS13];
        let client = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
        let client = client
            .map_err(|error| said(&error))?
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(certificates.clone(), key.clone_key())
            .map_err(|error| said(&error))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build();
        let server = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let mut server = server
            .map_err(|error| said(&error))?
            .with_client_cert_verifier(verifier.map_err(|error| said(&error))?)
            .with_single_cert(certificates, key)
            .map_err(|error| said(&error))?;
        // A connection that is resumed would not show its certificate again, which may have been withdrawn.
        server.send_tls13_tickets = 0;
        Ok(Self { client: Arc::new(client), server: Arc::new(server) })
    }
}

/// The name that the certificate of a node bears.
fn name_of(node: NodeId) -> Result<ServerName<'static>, Refusal> {
    ServerName::try_from(format!("node-{}", node.0)).map_err(|_| Refusal::Certificate)
}
