//! How many descriptors the process may have open: each account's connection is one.
//!
//! A login shell and many service managers start programs with a soft limit of 1024, for the sake of programs that use
//! `select(2)`. We do not, so the hard limit is ours to use (getrlimit(2)).

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard one and says in the log what that came to. Goes on with what there is when it
/// cannot be raised.
pub(crate) fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    // A service manager that has set both may also have forbidden to touch them.
    let raised = if before == limit.maximum { Ok(()) } else { setrlimit(Resource::Nofile, limit) };
    match raised {
        Ok(()) => log::info!("up to {} descriptors may be open ({} at start)", count(limit.current), count(before)),
        Err(error) => log::warn!(
            "only {} descriptors may be open, and that cannot be raised: {error}; accounts beyond it do not connect",
            count(before)
        ),
    }
}

/// The kernel's "unlimited" is no number.
fn count(limit: Option<u64>) -> String {
    limit.map_or_else(|| "any number of".to_owned(), |limit| limit.to_string())
}
