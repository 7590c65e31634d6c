//! The name of a transaction as text, for logs, tables and other processes.

use std::fmt;
use std::str::FromStr;

use quorate_protocol::ClusterId;

use super::branch::ManagerId;
use crate::{Epoch, TransactionNumber};

/// Name of a transaction of a manager, unique for ever. As text it is
/// `<cluster, 32 hex digits>-<log, 16 hex digits>/<epoch>.<sequence>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionName {
    /// The manager that decides.
    pub manager: ManagerId,
    /// Number of the transaction.
    pub number: TransactionNumber,
}

/// The text is not the name of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is not the name of a transaction: expected <32 hex digits>-<16 hex digits>/<epoch>.<sequence>")]
pub struct ParseTransactionNameError;

impl fmt::Display for TransactionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.manager, self.number)
    }
}

impl FromStr for TransactionName {
    type Err = ParseTransactionNameError;

    fn from_str(text: &str) -> Result<Self, ParseTransactionNameError> {
        parse(text).filter(|name| name.to_string() == text).ok_or(ParseTransactionNameError)
    }
}

fn parse(text: &str) -> Option<TransactionName> {
    let (manager, number) = text.split_once('/')?;
    let (cluster, log) = manager.split_once('-')?;
    let (epoch, sequence) = number.split_once('.')?;
    let cluster = ClusterId(u128::from_str_radix(cluster, 16).ok()?);
    let manager = ManagerId { cluster, log: u64::from_str_radix(log, 16).ok()? };
    let number = TransactionNumber { epoch: Epoch(epoch.parse().ok()?), sequence: sequence.parse().ok()? };
    Some(TransactionName { manager, number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_read_back_and_nothing_else_is() {
        let manager = ManagerId { cluster: ClusterId(0xab), log: 7 };
        let number = TransactionNumber { epoch: Epoch(3), sequence: 41 };
        let name = TransactionName { manager, number };
        let text = name.to_string();
        assert_eq!(text, "000000000000000000000000000000ab-0000000000000007/3.41");
        assert_eq!(text.parse(), Ok(name));
        for bad in ["", "/", "-/.", "ab-7/3.41", &text[1..], &format!("{text} "), &text.replace("/3", "/+3")] {
            assert_eq!(bad.parse::<TransactionName>(), Err(ParseTransactionNameError), "{bad}");
        }
    }
}
