//! The table of `status`. Pure. Ages are counted to the moment the server answered: they are right whatever the clocks do.

use std::fmt::Write as _;
use std::time::Duration;

use super::output::ColorChoice;
use crate::overview::{AccountView, Moment, Overview, Server, SideView};

/// SGR codes.
const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";
const BOLD: &str = "1";

const HEAD: [&str; 6] = ["ACCOUNT", "SIGNAL", "PUSH", "MESSAGE", "PUSHED", "NEXT TRY"];

/// A cell: its text and, perhaps, its colour.
type Cell = (String, Option<&'static str>);

/// The whole text. `absent` is why no server answered. All texts are printable already.
pub(super) fn render(overview: &Overview, absent: Option<&str>, color: ColorChoice) -> String {
    let now = overview.at;
    let mut text = String::new();
    // Writing to a String cannot fail.
    match (&overview.server, absent) {
        (Some(server), _) => head(&mut text, overview, server, now, color),
        (None, absent) => {
            let _ = writeln!(text, "{}", coloured(absent.unwrap_or("no server answers"), RED, color));
            let _ = writeln!(text, "What follows is from the database alone: {}.", accounts(overview));
        }
    }
    if !overview.accounts.is_empty() {
        text.push('\n');
        table(&mut text, &overview.accounts, now, color);
    }
    for warning in &overview.warnings {
        let _ = writeln!(text, "\n{}: {warning}", coloured("warning", YELLOW, color));
    }
    for row in &overview.unreadable {
        let _ = writeln!(text, "\nleft out: {row}");
    }
    text
}

fn head(text: &mut String, overview: &Overview, server: &Server, now: Moment, color: ColorChoice) {
    let title = format!("MollySocket {}", overview.version);
    let web = server.web.as_deref().unwrap_or("no web server");
    let up = age(server.since, now);
    let _ = writeln!(
        text,
        "{}: up {up}, process {}, {web}\n{}",
        coloured(&title, BOLD, color),
        server.pid,
        accounts(overview)
    );
    let _ = writeln!(text, "database: {}", server.database);
    if let Some(problem) = &server.database_problem {
        let _ = writeln!(text, "{}", coloured(&format!("the database fails: {problem}"), RED, color));
    }
    if server.signal_reachable == Some(false) {
        let _ = writeln!(text, "{}", coloured("Signal does not answer", RED, color));
    }
}

/// How many there are, by state.
fn accounts(overview: &Overview) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for account in &overview.accounts {
        let state = account.signal.state.as_str();
        match counts.iter_mut().find(|(name, _)| *name == state) {
            Some((_, count)) => *count += 1,
            None => counts.push((state, 1)),
        }
    }
    let states: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let plural = if overview.accounts.len() == 1 { "account" } else { "accounts" };
    match states.len() {
        0 => "no account".to_owned(),
        _ => format!("{} {plural} ({})", overview.accounts.len(), states.join(", ")),
    }
}

fn table(text: &mut String, accounts: &[AccountView], now: Moment, color: ColorChoice) {
    let rows: Vec<[Cell; 6]> = accounts.iter().map(|account| cells(account, now)).collect();
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].0.chars().count());
        cells.chain([HEAD[column].len()]).max().unwrap_or(0)
    });
    line(text, &HEAD.map(|title| (title.to_owned(), Some(BOLD))), &widths, color);
    for (account, row) in accounts.iter().zip(&rows) {
        line(text, row, &widths, color);
        explain(text, "Signal", &account.signal);
        explain(text, "push", &account.push);
        if let Some(notice) = &account.notice {
            let _ = writeln!(text, "    Signal's notice: {}", notice);
        }
    }
}

fn line(text: &mut String, cells: &[Cell; 6], widths: &[usize; 6], color: ColorChoice) {
    let mut shown = String::new();
    for ((cell, colour), width) in cells.iter().zip(widths) {
        let padding = width.saturating_sub(cell.chars().count()) + 2;
        match colour {
            Some(colour) => shown.push_str(&coloured(cell, colour, color)),
            None => shown.push_str(cell),
        }
        shown.push_str(&" ".repeat(padding));
    }
    let _ = writeln!(text, "{}", shown.trim_end());
}

fn cells(account: &AccountView, now: Moment) -> [Cell; 6] {
    let state = |side: &SideView| {
        let since = side.since.map(|since| format!(" {}", coarse(&age(since, now))));
        (format!("{}{}", side.state, since.unwrap_or_default()), colour(&side.state))
    };
    let last = |at: Option<Moment>| at.map_or_else(|| "-".to_owned(), |at| format!("{} ago", coarse(&age(at, now))));
    let next = [account.signal.retry_at, account.push.retry_at].into_iter().flatten().min_by_key(|at| at.0);
    [
        (account.short().to_owned(), None),
        state(&account.signal),
        state(&account.push),
        (last(account.last_envelope), None),
        (last(account.last_push), None),
        (next.map_or_else(|| "-".to_owned(), |at| until(at, now)), None),
    ]
}

/// Why, and what to do, in lines of their own: they are long.
fn explain(text: &mut String, side: &str, view: &SideView) {
    if !view.reason.is_empty() {
        let _ = writeln!(text, "    {side}: {}", view.reason);
    }
    if !view.remedy.is_empty() {
        let _ = writeln!(text, "    to do: {}", view.remedy);
    }
}

fn colour(state: &str) -> Option<&'static str> {
    match state {
        "connected" | "ok" => Some(GREEN),
        "connecting" | "waiting" | "retrying" | "paused" => Some(YELLOW),
        "unknown" => None,
        _ => Some(RED),
    }
}

fn coloured(text: &str, colour: &str, color: ColorChoice) -> String {
    match color {
        ColorChoice::Ansi => format!("\x1b[{colour}m{text}\x1b[0m"),
        ColorChoice::Plain => text.to_owned(),
    }
}

/// Two units are enough: `3d 4h`, `5m 10s`.
fn rough(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// The first unit alone: rows of the table have to fit into 80 columns.
fn coarse(rough: &str) -> &str {
    rough.split(' ').next().unwrap_or(rough)
}

/// How long ago.
fn age(at: Moment, now: Moment) -> String {
    rough(now.0.duration_since(at.0).unwrap_or_default())
}

fn until(at: Moment, now: Moment) -> String {
    match at.0.duration_since(now.0) {
        Ok(left) if left.as_secs() > 0 => format!("in {}", coarse(&rough(left))),
        _ => "now".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
