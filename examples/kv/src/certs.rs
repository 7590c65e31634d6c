//! A throwaway authority, to try encryption with (`kv certs`).

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// Reason why no certificates were made.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A file could not be written; it exists already, for example.
    #[error("{}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// A certificate or a key could not be made.
    #[error("a certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// Makes an authority, a certificate and a key for each node, and one for clients, in a folder whose files only their
/// owner can read. Existing files are not overwritten. `nodes` are the hosts of the nodes by id.
///
/// # Errors
/// When a file could not be written. Those before stay.
pub fn make(folder: &Path, nodes: &BTreeMap<u64, Vec<String>>) -> Result<(), CertsError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| CertsError::Write { path: folder.to_owned(), error })?;
    let key = KeyPair::generate()?;
    let mut params = named("a throwaway authority of kv", Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    write(folder, "ca.pem", &params.self_signed(&key)?.pem())?;
    write(folder, "ca.key", &key.serialize_pem())?;
    let issuer = Issuer::new(params, key);
    for (node, hosts) in nodes {
        let name = format!("node-{node}");
        let mut names = vec![name.clone(), "localhost".to_owned()];
        names.extend(hosts.iter().cloned());
        sign(folder, &name, names, &issuer)?;
    }
    sign(folder, "client", Vec::new(), &issuer)
}

fn sign(folder: &Path, name: &str, names: Vec<String>, issuer: &Issuer<'_, KeyPair>) -> Result<(), CertsError> {
    let key = KeyPair::generate()?;
    let mut params = named(name, names)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    write(folder, &format!("{name}.pem"), &params.signed_by(&key, issuer)?.pem())?;
    write(folder, &format!("{name}.key"), &key.serialize_pem())
}

fn named(name: &str, names: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), CertsError> {
    let path = folder.join(name);
    let mut options = OpenOptions::new();
    let written = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| CertsError::Write { path, error })
}
