//! mollysocket(1), in the macros of man(7).

use std::fmt::Write as _;

use super::{Flag, Place};

/// What no definition says.
const FOOT: &str = r#".SH EXIT STATUS
.TP
.B 0
done, or the answer is yes
.TP
.B 1
it failed, or the answer is no
.TP
.B 2
wrong usage or configuration
.SH ENVIRONMENT
.TP
.BR MOLLY_ *
Every key of the configuration file in capitals wins over the file, for example
.BR MOLLY_DB .
.TP
.B MOLLY_CONF
The configuration file, if
.B \-c
names none.
.TP
.B RUST_LOG
What is logged, for example
.BR debug .
.SH FILES
The configuration file is the first of
.IR $XDG_CONFIG_HOME/mollysocket/config.toml ,
.IR ~/.config/mollysocket/config.toml ,
.IR ./mollysocket.toml ,
.I /etc/mollysocket/config.toml
and
.IR /etc/mollysocket/conf.toml .
.SH SEE ALSO
.BR systemd\-creds (1)
"#;

pub(super) fn page(places: &[Place]) -> String {
    let (program, verbs) = places.split_first().expect("the program comes first");
    let mut page = format!(
        ".\\\" {}\n.TH MOLLYSOCKET 1\n.SH NAME\nmollysocket \\- {}\n",
        super::MADE,
        roff("wakes Molly (Signal for Android) through UnifiedPush")
    );
    let _ = write!(
        page,
        ".SH SYNOPSIS\n.B mollysocket\n[\\fB\\-c\\fR \\fIFILE\\fR] [\\fB\\-v\\fR|\\fB\\-vv\\fR|\\fB\\-vvv\\fR] \\fICOMMAND\\fR\n\
         .SH DESCRIPTION\n{}\n.SH OPTIONS\n",
        sentences(&program.about)
    );
    for option in &program.options {
        let _ = write!(page, ".TP\n{}\n{}\n", spelt(option), roff(&option.about));
    }
    page.push_str(".SH COMMANDS\n");
    for verb in verbs.iter().filter(|verb| verb.next.is_empty()) {
        let beginning = verbs.iter().find(|other| !other.next.is_empty() && verb.path.starts_with(&other.path));
        let about = beginning.map_or_else(String::new, |other| format!("{}: ", other.about)) + &verb.about;
        let _ = write!(page, ".SS \"{}\"\n{}\n", usage(verb), roff(&about));
        for (name, about, _) in &verb.arguments {
            let _ = write!(page, ".TP\n.I {}\n{}\n", roff(name), roff(about));
        }
        for option in &verb.options {
            let _ = write!(page, ".TP\n{}\n{}\n", spelt(option), roff(&option.about));
        }
    }
    page + FOOT
}

fn usage(verb: &Place) -> String {
    let mut parts = vec![roff(&verb.words())];
    parts.extend(verb.options.iter().map(|option| {
        let value = option.value.as_ref().map_or_else(String::new, |value| format!(" \\fI{}\\fP", roff(value)));
        format!("[{}{value}]", roff(&option.spellings().join("|")))
    }));
    parts.extend(verb.arguments.iter().map(|(name, _, optional)| {
        let name = format!("\\fI{}\\fP", roff(name));
        if *optional { format!("[{name}]") } else { name }
    }));
    parts.join(" ")
}

fn spelt(option: &Flag) -> String {
    let spellings: Vec<String> = option.spellings().iter().map(|s| format!("\\fB{}\\fR", roff(s))).collect();
    let value = option.value.as_ref().map_or_else(String::new, |value| format!(" \\fI{}\\fR", roff(value)));
    format!("{}{value}", spellings.join(", "))
}

/// Text in which every hyphen may be copied into a shell, and which begins no request.
fn roff(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('.', "\\&.")
}

/// A line for each sentence, as roff wants it.
fn sentences(text: &str) -> String {
    text.split(". ").map(roff).collect::<Vec<_>>().join("\\&.\n")
}
