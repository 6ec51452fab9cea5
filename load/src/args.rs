//! What the driver is told.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use argh::FromArgs;

/// As many of a name's as the daemon tries.
const MOST_ADDRESSES: usize = 12;

/// Measures what accounts cost a daemon: memory, processor time, latency.
#[derive(FromArgs)]
struct Raw {
    /// how many accounts (10 and up; default 1000)
    #[argh(option, default = "1000")]
    accounts: usize,
    /// the daemon to measure; default: this program itself as the daemon
    #[argh(option)]
    daemon: Option<PathBuf>,
    /// a variable for that daemon, K=V; may be given several times
    #[argh(option)]
    env: Vec<String>,
    /// a second daemon to measure and compare with
    #[argh(option)]
    vs: Option<PathBuf>,
    /// a variable for the second daemon, K=V; may be given several times
    #[argh(option)]
    vs_env: Vec<String>,
    /// push servers (default 8)
    #[argh(option, default = "8")]
    origins: usize,
    /// addresses of the simulated Signal, 1 to 12; default: as many as the accounts need. More than one takes a name
    /// with several addresses, which only the daemon sees (`unshare`)
    #[argh(option)]
    addresses: Option<usize>,
    /// seconds of idling that are measured (default 60)
    #[argh(option, default = "60")]
    idle: u64,
    /// seconds of traffic for each latency (default 20)
    #[argh(option, default = "20")]
    traffic: u64,
    /// seconds to wait after each phase until all is at rest (default 3)
    #[argh(option, default = "3")]
    calm: u64,
    /// seconds to wait for all accounts to be connected (default 300)
    #[argh(option, default = "300")]
    patience: u64,
    /// how often each is measured; the medians are printed (default 1)
    #[argh(option, default = "1")]
    runs: usize,
    /// write all figures to this file
    #[argh(option)]
    json: Option<PathBuf>,
}

/// The same, checked.
pub(crate) struct Args {
    pub(crate) accounts: usize,
    pub(crate) daemon: Option<PathBuf>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) vs: Option<PathBuf>,
    pub(crate) vs_env: Vec<(String, String)>,
    pub(crate) origins: usize,
    pub(crate) addresses: usize,
    pub(crate) idle: Duration,
    pub(crate) traffic: Duration,
    pub(crate) calm: Duration,
    pub(crate) patience: Duration,
    pub(crate) runs: usize,
    pub(crate) json: Option<PathBuf>,
}

/// Reads them.
///
/// # Errors
/// When the program shall end at once, with this code; what there is to say is said.
pub(crate) fn parse(args: &[String]) -> Result<Args, ExitCode> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let raw = Raw::from_args(&["load"], &words).map_err(|early| {
        println!("{}", early.output);
        if early.status.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(2) }
    })?;
    check(raw).map_err(|complaint| {
        eprintln!("{complaint}");
        ExitCode::from(2)
    })
}

fn check(raw: Raw) -> Result<Args, String> {
    if raw.accounts < 10 {
        return Err("--accounts must be at least 10".into());
    }
    if raw.runs == 0 {
        return Err("--runs must be at least 1".into());
    }
    if !(1..=64).contains(&raw.origins) {
        return Err("--origins must be 1 to 64".into());
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if limit.maximum.is_some_and(|most| (raw.accounts as u64) + 500 > most) {
        return Err(format!(
            "--accounts {}: each needs a descriptor, and the hard limit of this machine is {} (`ulimit -Hn`)",
            raw.accounts,
            limit.maximum.unwrap_or_default()
        ));
    }
    let ports = crate::process::local_ports();
    let addresses = raw.addresses.unwrap_or_else(|| raw.accounts.div_ceil(ports.max(1)));
    if !(1..=MOST_ADDRESSES).contains(&addresses) || raw.accounts > ports * addresses {
        return Err(format!(
            "--accounts {} at --addresses {addresses}: 1 to {MOST_ADDRESSES} addresses can be simulated, to each of which \
             this machine opens {ports} connections at most (net.ipv4.ip_local_port_range)",
            raw.accounts
        ));
    }
    let variables = |words: Vec<String>| -> Result<Vec<(String, String)>, String> {
        let pair = |word: String| match word.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(format!("--env {word}: K=V is needed")),
        };
        words.into_iter().map(pair).collect()
    };
    Ok(Args {
        accounts: raw.accounts,
        daemon: raw.daemon,
        env: variables(raw.env)?,
        vs: raw.vs,
        vs_env: variables(raw.vs_env)?,
        origins: raw.origins,
        addresses,
        idle: Duration::from_secs(raw.idle),
        traffic: Duration::from_secs(raw.traffic),
        calm: Duration::from_secs(raw.calm),
        patience: Duration::from_secs(raw.patience),
        runs: raw.runs,
        json: raw.json,
    })
}
