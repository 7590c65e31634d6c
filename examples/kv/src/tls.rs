//! Certificates and keys of a node: for the other nodes, and for its clients.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::{fs, io};

use quorate_transport::tcp::{Tls, TlsError, TlsMaterial};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::credentials::Credentials;

/// The section `tls` of a cluster file. `{node}` in a path stands for the node's id.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The authorities, in PEM.
    pub ca: PathBuf,
    /// The node's certificate and those between it and an authority, in PEM. It bears the DNS name `node-7` for node 7.
    pub cert: PathBuf,
    /// The key of the certificate, in PEM.
    pub key: PathBuf,
    /// What clients need.
    #[serde(default)]
    pub clients: ClientsNeed,
}

/// What the connection of a client needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientsNeed {
    /// It is encrypted; the client may show a certificate, which must then be one of the authorities.
    #[default]
    Tls,
    /// It is encrypted, and the client shows a certificate.
    Certificate,
    /// It is not encrypted.
    Nothing,
}

/// The certificates and keys of a node, which can be read again while it runs.
#[derive(Debug)]
pub struct NodeTls {
    files: TlsFiles,
    peers: Arc<Tls>,
    ends: RwLock<Ends>,
}

/// The ends of connections of clients and tools.
#[derive(Debug, Clone)]
struct Ends {
    /// For clients.
    clients: Arc<ServerConfig>,
    /// For people and tools, who need a certificate only for what they do.
    tools: Arc<ServerConfig>,
    /// With which this node asks others what it shows to tools.
    dialer: Arc<ClientConfig>,
}

/// Reason why certificates or keys were not read. Those before stay in use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFilesError {
    /// A file could not be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// They do not fit each other, or are malformed.
    #[error(transparent)]
    Material(#[from] TlsError),
    /// They do not serve for clients.
    #[error("the certificates or the key cannot be used for clients: {0}")]
    Clients(String),
}

impl TlsFiles {
    /// These files, relative ones taken from a folder.
    #[must_use]
    pub fn within(&self, folder: &Path) -> Self {
        let path = |path: &Path| folder.join(path);
        Self { ca: path(&self.ca), cert: path(&self.cert), key: path(&self.key), clients: self.clients }
    }

    /// The files of a node.
    #[must_use]
    pub fn of_node(&self, node: u64) -> Self {
        let path = |path: &Path| PathBuf::from(path.to_string_lossy().replace("{node}", &node.to_string()));
        Self { ca: path(&self.ca), cert: path(&self.cert), key: path(&self.key), clients: self.clients }
    }

    fn read(&self) -> Result<TlsMaterial, TlsFilesError> {
        let read = |path: &PathBuf| fs::read(path).map_err(|error| TlsFilesError::Read { path: path.clone(), error });
        Ok(TlsMaterial::from_pem(&read(&self.ca)?, &read(&self.cert)?, &read(&self.key)?)?)
    }
}

impl NodeTls {
    /// Reads the files of a node.
    ///
    /// # Errors
    /// When one cannot be read, or they do not fit each other.
    pub fn load(files: TlsFiles) -> Result<Arc<Self>, TlsFilesError> {
        let ends = RwLock::new(Ends::read(&files)?);
        let peers = Tls::new(files.read()?)?;
        Ok(Arc::new(Self { files, peers, ends }))
    }

    /// Reads the files again, for connections that begin from now on.
    ///
    /// # Errors
    /// When one cannot be read, or they do not fit each other. Nothing was changed.
    pub fn reload(&self) -> Result<(), TlsFilesError> {
        let ends = Ends::read(&self.files)?;
        self.peers.replace(self.files.read()?)?;
        *self.ends.write().unwrap_or_else(PoisonError::into_inner) = ends;
        Ok(())
    }

    /// Those for other nodes.
    pub fn peers(&self) -> Arc<Tls> {
        Arc::clone(&self.peers)
    }

    /// Accepts an encrypted client.
    ///
    /// # Errors
    /// When the client does not encrypt, or has a certificate that is not accepted.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<impl AsyncRead + AsyncWrite + Unpin + use<>> {
        TlsAcceptor::from(self.ends().clients).accept(stream).await
    }

    /// Accepts an encrypted tool or browser, and says whether it has shown a certificate of the authorities.
    ///
    /// # Errors
    /// When it does not encrypt, or has a certificate that is not accepted.
    pub async fn accept_tool(
        &self,
        stream: TcpStream,
    ) -> io::Result<(impl AsyncRead + AsyncWrite + Unpin + use<>, bool)> {
        let stream = TlsAcceptor::from(self.ends().tools).accept(stream).await?;
        let has_certificate = stream.get_ref().1.peer_certificates().is_some();
        Ok((stream, has_certificate))
    }

    /// What this node shows to others when it asks them what they show to tools.
    pub fn credentials(&self) -> Credentials {
        Credentials { tls: Some(self.ends().dialer), ..Credentials::default() }
    }

    fn ends(&self) -> Ends {
        self.ends.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns true if clients have to show a certificate.
    pub fn needs_certificate(&self) -> bool {
        self.files.clients == ClientsNeed::Certificate
    }

    /// Returns true if clients encrypt.
    pub fn encrypts_clients(&self) -> bool {
        self.files.clients != ClientsNeed::Nothing
    }
}

impl Ends {
    fn read(files: &TlsFiles) -> Result<Self, TlsFilesError> {
        let own = (files.cert.as_path(), files.key.as_path());
        Ok(Self {
            clients: Arc::new(for_clients(files.read()?, files.clients)?),
            tools: Arc::new(for_clients(files.read()?, ClientsNeed::Tls)?),
            dialer: dialer(&files.ca, Some(own))?,
        })
    }
}

/// Encrypts connections to nodes whose certificates are of these authorities, and shows a certificate of its own: its
/// file and that of its key.
///
/// # Errors
/// When a file cannot be read, or they do not fit each other.
pub fn dialer(authorities: &Path, own: Option<(&Path, &Path)>) -> Result<Arc<ClientConfig>, TlsFilesError> {
    let failed = |error: &dyn std::fmt::Display| TlsFilesError::Clients(error.to_string());
    let read = |path: &Path| fs::read(path).map_err(|error| TlsFilesError::Read { path: path.to_owned(), error });
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&read(authorities)?) {
        let authority = authority.map_err(|error| failed(&format!("{}: {error}", authorities.display())))?;
        roots.add(authority).map_err(|error| failed(&error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| failed(&error))?.with_root_certificates(roots);
    let Some((cert, key)) = own else { return Ok(Arc::new(builder.with_no_client_auth())) };
    let certificates = CertificateDer::pem_slice_iter(&read(cert)?).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| failed(&format!("{}: {error}", cert.display())))?;
    let key =
        PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| failed(&format!("{}: {error}", key.display())))?;
    Ok(Arc::new(builder.with_client_auth_cert(certificates, key).map_err(|error| failed(&error))?))
}

fn for_clients(material: TlsMaterial, need: ClientsNeed) -> Result<ServerConfig, TlsFilesError> {
    let failed = |error: &dyn std::fmt::Display| TlsFilesError::Clients(error.to_string());
    let TlsMaterial { authorities, certificates, key } = material;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|error| failed(&error))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let verifier = if need == ClientsNeed::Certificate { verifier } else { verifier.allow_unauthenticated() };
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder
        .map_err(|error| failed(&error))?
        .with_client_cert_verifier(verifier.build().map_err(|error| failed(&error))?)
        .with_single_cert(certificates, key)
        .map_err(|error| failed(&error))?;
    // A session that is resumed shows no certificate again, which may have been replaced meanwhile.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(config)
}
