//! `MEMORY`.

use crate::resp::{Encoder, Reply};

use super::context::View;
use super::errors::{integer, is, syntax_error, unknown_subcommand, wrong_arity};
use super::spec::{Keys, READ_SLOW, Spec};

pub(super) const COMMANDS: &[Spec] = &[Spec::read("memory", -2, Keys::Range(2, 2, 1), inform)
    .flags(READ_SLOW)
    .container()
    .about("server", "Tells how much memory keys take.")];

fn inform(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Result<(), Reply> {
    match rest {
        [name, key, options @ ..] if is(name, "usage") => {
            check_samples(options)?;
            match view.store.get(view.at.log_time, key) {
                Some(record) => out.integer(i64::try_from(record.weight()).unwrap_or(i64::MAX)),
                None => out.null(),
            }
        }
        [name] if is(name, "usage") => return Err(wrong_arity("memory|usage")),
        [name] if is(name, "doctor") => out.reply(&Reply::Text(format!(
            "Keys and values take {} bytes. All of them are in memory, and nothing is evicted.",
            view.store.weight()
        ))),
        [name] if is(name, "purge") => out.status("OK"),
        [name] if is(name, "stats") => {
            let keys = view.store.len(view.at.log_time) as u64;
            let weight = view.store.weight();
            let each = weight.checked_div(keys).unwrap_or(0);
            out.map(3);
            for (name, number) in [("keys.count", keys), ("keys.bytes-per-key", each), ("dataset.bytes", weight)] {
                out.bulk(name.as_bytes());
                out.integer(i64::try_from(number).unwrap_or(i64::MAX));
            }
        }
        [name, ..] => {
            let known = ["doctor", "purge", "stats"].into_iter().find(|known| is(name, known));
            return Err(known
                .map_or_else(|| unknown_subcommand("memory", name), |known| wrong_arity(&format!("memory|{known}"))));
        }
        [] => unreachable!("the arity asks for a subcommand"),
    }
    Ok(())
}

/// The number of items to be looked at. It changes nothing: the size of each value is known.
fn check_samples(options: &[&[u8]]) -> Result<(), Reply> {
    match options {
        [] => Ok(()),
        [word, count] if is(word, "samples") => {
            if integer(count)? < 0 {
                Err(syntax_error())
            } else {
                Ok(())
            }
        }
        _ => Err(syntax_error()),
    }
}
