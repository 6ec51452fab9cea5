use super::*;

fn line(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn reads_as(given: &str, expected: &str) {
    assert_eq!(normalise(&line(given)), Ok(line(expected)), "{given}");
}

fn fails(given: &str, problem: &str) {
    let error = normalise(&line(given)).unwrap_err();
    assert!(error.problem.contains(problem), "{given}: {error:?}");
    assert!(error.usage.starts_with("usage: mollysocket "), "{error:?}");
    assert!(!error.problem.contains('\n') && !error.usage.contains('\n'), "{error:?}");
}

#[test]
fn options_of_the_program_stand_anywhere_in_any_form() {
    let expected = "--config x.toml --verbose --verbose server";
    for given in [
        "-c x.toml -vv server",
        "-cx.toml -vv server",
        "-c=x.toml -vv server",
        "--config x.toml -v -v server",
        "--config=x.toml -vv server",
        "server -c x.toml -vv",
        "server --config=x.toml --verbose -v",
        "-c x.toml server -vv",
    ] {
        reads_as(given, expected);
    }
    reads_as("-v connection -vv list", "--verbose --verbose --verbose connection list");
    reads_as("server -vvc x.toml", "--verbose --verbose --config x.toml server");
    reads_as("server -vcx.toml", "--verbose --config x.toml server");
}

#[test]
fn unambiguous_prefixes_are_enough() {
    for (given, expected) in [
        ("s", "server"),
        ("v g", "vapid generate"),
        ("vapid gen", "vapid generate"),
        ("vap test U", "vapid test -- U"),
        ("qr air", "qrcode airgapped"),
        ("q a", "qrcode airgapped"),
        ("qr u X", "qrcode url -- X"),
        ("qr-code url X", "qrcode url -- X"),
        ("qr- url X", "qrcode url -- X"),
        ("c l", "connection list"),
        ("conn rem U", "connection remove -- U"),
        ("c p U", "connection ping -- U"),
        ("c a U 2 P E", "connection add -- U 2 P E"),
        ("c a -", "connection add -- -"),
        ("connection add - -v", "--verbose connection add -- -"),
        ("t u U", "test uuid -- U"),
        ("t e U", "test endpoint -- U"),
        ("st", "status"),
        ("h", "health"),
        ("ch F", "check-config -- F"),
        ("check-config ./-F", "check-config -- ./-F"),
        ("c pa U", "connection pause -- U"),
        ("c res U", "connection resume -- U"),
        ("c e", "connection export"),
        ("c ex --secrets U V W", "connection export --secrets -- U V W"),
        ("c i --other-key --replace", "connection import --other-key --replace"),
        ("connection ls", "connection list"),
        ("c rm U", "connection remove -- U"),
        ("connection delete U", "connection remove -- U"),
        ("connection del U", "connection remove -- U"),
    ] {
        reads_as(given, expected);
    }
}

#[test]
fn beginnings_the_reference_understood_keep_their_meaning() {
    for (given, expected) in [
        ("s", "server"),
        ("c p U", "connection ping -- U"),
        ("c l", "connection list"),
        ("con l", "connection list"),
        ("c r U", "connection remove -- U"),
        ("c re U", "connection remove -- U"),
    ] {
        reads_as(given, expected);
    }
}

#[test]
fn options_with_values_stand_before_or_after_the_verb() {
    for given in ["qr air --svg f.svg", "--svg f.svg qr air", "qr --svg=f.svg air", "qr air --svg=f.svg"] {
        reads_as(given, "qrcode airgapped --svg f.svg");
    }
    reads_as("qr url U --svg -x --plain", "qrcode url --svg -x --plain -- U");
    reads_as("qr air --svg -", "qrcode airgapped --svg -");
    reads_as("server --port 8021", "server --port 8021");
    reads_as("--host=:: s --port=80", "server --host :: --port 80");
    fails("qr air --svg", "--svg needs a FILE");
    fails("server --svg x", "unknown option \"--svg\"");
    reads_as("connection add U 2 --svg=x E", "connection add -- U 2 --svg=x E");
}

#[test]
fn options_of_a_verb_stand_before_or_after_it() {
    for given in ["connection list -a --json", "connection -a list --json", "-a --json connection list"] {
        reads_as(given, "connection list --anonymized --json");
    }
    reads_as("qr air --plain -c f", "--config f qrcode airgapped --plain");
}

#[test]
fn short_options_may_be_written_together_and_switches_with_a_value() {
    for given in ["connection list -aj", "c l -ja", "-aj c l", "c l --json -aj", "c l --anonymized=true --json=1"] {
        let read = normalise(&line(given)).unwrap();
        assert_eq!(read.iter().filter(|word| *word == "--json").count(), 1, "{given}: {read:?}");
        assert_eq!(read.iter().filter(|word| *word == "--anonymized").count(), 1, "{given}: {read:?}");
    }
    reads_as("c l -avj", "--verbose connection list --anonymized --json");
    reads_as("status --json=false", "status");
    fails("status --json=maybe", "status: --json takes no value");
    fails("c l -ax", "unknown option \"-ax\"");
    fails("server -aj", "unknown option \"-aj\"");
    fails("-aj server", "unknown option \"--anonymized\"");
}

#[test]
fn of_options_given_twice_the_last_counts() {
    reads_as("-c a server -c b", "--config b server");
    reads_as("qr air --svg a --svg=b", "qrcode airgapped --svg b");
    reads_as("c l -a -a", "connection list --anonymized");
    reads_as("server --port 1 --port 2", "server --port 2");
}

#[test]
fn arguments_are_taken_verbatim() {
    reads_as(
        "connection add U 2 -cdef+/== https://h/up?a=1&b=-x",
        "connection add -- U 2 -cdef+/== https://h/up?a=1&b=-x",
    );
    reads_as("connection add U 2 --pass/+ E", "connection add -- U 2 --pass/+ E");
    reads_as("connection add U 2 -- -v E", "connection add -- U 2 -v E");
    reads_as("connection add U 2 -vw== E -v", "--verbose connection add -- U 2 -vw== E");
    reads_as("connection add U 2 -hv E -vv", "--verbose --verbose connection add -- U 2 -hv E");
    reads_as("connection remove help", "connection remove -- help");
    reads_as("connection remove -", "connection remove -- -");
    let empty = ["connection", "remove", ""].map(str::to_owned);
    assert_eq!(normalise(&empty).unwrap(), ["connection", "remove", "--", ""]);
}

#[test]
fn help_and_version_work_everywhere() {
    for given in ["-h", "--help", "help", "-v help"] {
        reads_as(given, "--help");
    }
    for given in ["connection -h", "help connection", "connection help", "c --help", "-h c"] {
        reads_as(given, "connection --help");
    }
    for given in ["server help", "server -vh", "help s"] {
        reads_as(given, "server --help");
    }
    for given in ["connection add --help", "help c a", "c a U -h"] {
        reads_as(given, "connection add --help");
    }
    for given in ["-V", "--version", "server --version", "-v -V", "-vV", "-Vv", "version", "-v version", "help version"]
    {
        reads_as(given, "--version");
    }
}

#[test]
fn mistakes_are_named_and_never_shown_when_they_may_be_secret() {
    fails("", "a command is missing");
    fails("-v", "a command is missing");
    fails("connection", "connection: a command is missing");
    fails("conection list", "unknown command \"conection\"; did you mean connection?");
    fails("connection lst", "did you mean list?");
    fails("list -aj", "unknown command \"list\"; did you mean connection list?");
    fails("bogus", "unknown command \"bogus\"");
    fails("connection add U 2", "connection add: missing PASSWORD ENDPOINT");
    fails("connection remove", "missing UUID");
    fails("connection list extra", "1 argument too many");
    fails("connection list --jsno", "unknown option \"--jsno\"; did you mean --json?");
    fails("doctor --jsno", "unknown option \"--jsno\"");
    fails("connection export U --jsno", "unknown option \"--jsno\"");
    fails("--bogus server", "unknown option \"--bogus\"");
    fails("server --json", "unknown option \"--json\"");
    fails("server -c", "--config needs a FILE");
    fails("--config", "--config needs a FILE");
    for secret in ["AbC+/d9==", "-AbC+/d9==", "https://h/upSECRET"] {
        for given in [format!("{secret} list"), format!("connection {secret}"), format!("connection remove U {secret}")]
        {
            let error = normalise(&line(&given)).unwrap_err();
            assert!(!format!("{error:?}").contains(secret), "{error:?}");
        }
    }
}

#[test]
fn usage_lines_name_everything() {
    let usage = |given: &str| normalise(&line(given)).unwrap_err().usage;
    assert_eq!(usage(""), "usage: mollysocket server|vapid|qrcode|connection|test|status|health|doctor|check-config");
    assert_eq!(usage("connection"), "usage: mollysocket connection add|list|remove|ping|pause|resume|export|import");
    assert_eq!(usage("c add"), "usage: mollysocket connection add UUID DEVICE PASSWORD ENDPOINT");
    assert_eq!(usage("c export -x"), "usage: mollysocket connection export [--secrets] [UUID...]");
    assert_eq!(usage("c list x"), "usage: mollysocket connection list [-a|--anonymized] [-j|--json]");
    assert_eq!(usage("qr air x"), "usage: mollysocket qrcode airgapped [--plain] [--svg FILE]");
}

#[test]
fn a_beginning_of_several_words_is_refused() {
    // Where two words begin alike, one of them is the reference's and wins.
    for (given, verb) in [("c l", "connection list"), ("v g", "vapid generate"), ("s", "server")] {
        reads_as(given, verb);
    }
    let empty = normalise(&[String::new()]).unwrap_err();
    assert_eq!(empty.problem, "unknown command", "nothing is a beginning of everything");
}
