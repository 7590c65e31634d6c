//! The encryption of one connection.

use std::io::{self, IoSlice, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, Bytes};
use quorate_protocol::NodeId;
use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls::{AlertDescription, CertificateError, Connection, Error};

use super::name_of;
use crate::link::Refusal;

/// The encryption of one connection. Both directions share it.
#[derive(Debug)]
pub(in crate::tcp) struct Session {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    connection: Connection,
    /// Bytes that were encrypted, and of which the caller does not know so yet, since the socket was full.
    unsaid: usize,
}

impl Session {
    pub(super) fn new(connection: Connection) -> Self {
        Self { state: Mutex::new(State { connection, unsaid: 0 }) }
    }

    /// Returns true until both sides have shown their certificates.
    pub(in crate::tcp) fn is_handshaking(&self) -> bool {
        self.lock().connection.is_handshaking()
    }

    /// Bytes for the other side that wait in the handshake.
    pub(in crate::tcp) fn take_output(&self) -> Bytes {
        let mut bytes = Vec::new();
        let connection = &mut self.lock().connection;
        while connection.wants_write() && connection.write_tls(&mut bytes).is_ok_and(|written| written > 0) {}
        bytes.into()
    }

    /// Takes bytes of the other side.
    pub(in crate::tcp) fn receive(&self, mut bytes: &[u8]) -> Result<(), Refusal> {
        let connection = &mut self.lock().connection;
        while !bytes.is_empty() {
            // More than a session holds is taken only once it was read, so this makes progress or is refused.
            let taken = connection.read_tls(&mut bytes).map_err(|_| Refusal::Corrupt)?;
            connection.process_new_packets().map_err(|error| refusal(&error))?;
            if taken == 0 {
                return Err(Refusal::Corrupt);
            }
        }
        Ok(())
    }

    /// Checks that the certificate of the other side is that of a node.
    pub(in crate::tcp) fn check_peer(&self, node: NodeId) -> Result<(), Refusal> {
        let state = self.lock();
        let certificate = state.connection.peer_certificates().and_then(<[_]>::first).ok_or(Refusal::Certificate)?;
        let certificate = ParsedCertificate::try_from(certificate).map_err(|_| Refusal::Certificate)?;
        verify_server_name(&certificate, &name_of(node)?).map_err(|_| Refusal::CertificateNode)
    }

    /// Appends what was received and decrypted, as far as it fits the buffer's room. `None` if there is nothing; 0 if
    /// the other side has ended the stream.
    pub(in crate::tcp) fn read(&self, buffer: &mut impl BufMut) -> io::Result<Option<usize>> {
        let room = buffer.chunk_mut().len().min(buffer.remaining_mut()).min(READ_BYTES);
        let mut bytes = [0; READ_BYTES];
        match self.lock().connection.reader().read(&mut bytes[..room]) {
            Ok(count) => {
                buffer.put_slice(&bytes[..count]);
                Ok(Some(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Some(0)),
            Err(error) => Err(error),
        }
    }

    /// Encrypts bytes and hands them to the socket. Returns the number of bytes that are wholly in the socket.
    ///
    /// While the socket is full this fails as a full socket does, and must be called again with the same bytes at the
    /// front.
    pub(in crate::tcp) fn write(
        &self,
        slices: &[IoSlice<'_>],
        mut socket: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let State { connection, unsaid } = &mut *self.lock();
        if *unsaid == 0 {
            // What is above the session's bound is left for the next call.
            *unsaid = connection.writer().write_vectored(slices)?;
        }
        while connection.wants_write() {
            connection.write_tls(&mut Socket(&mut socket))?;
        }
        Ok(std::mem::take(unsaid))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket that takes bytes without waiting.
struct Socket<'a, F>(&'a mut F);

impl<F: FnMut(&[u8]) -> io::Result<usize>> Write for Socket<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What an error of the other side or of its certificate means.
fn refusal(error: &Error) -> Refusal {
    match error {
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Refusal::CertificateNode,
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented => Refusal::Certificate,
        Error::AlertReceived(alert) if is_about_certificate(*alert) => Refusal::Certificate,
        Error::InvalidMessage(_) => Refusal::Unencrypted,
        _ => Refusal::Corrupt,
    }
}

fn is_about_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
    )
}

/// Bytes that are decrypted at once: a record of TLS.
const READ_BYTES: usize = 16 << 10;
