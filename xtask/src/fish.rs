//! Completion for fish.

use std::fmt::Write as _;

use super::{Flag, MADE, Place, escaped};

pub(super) fn script(places: &[Place]) -> String {
    let (program, verbs) = places.split_first().expect("the program comes first");
    let begun: Vec<String> =
        places.iter().filter(|place| !place.next.is_empty()).map(|place| quoted(&place.words())).collect();
    let mut script = TEMPLATE
        .replace("@MADE@", MADE)
        .replace("@VALUED@", &super::valued(places).join(" "))
        .replace("@BEGUN@", &begun.join(" "));
    for option in &program.options {
        let _ = writeln!(script, "complete -c mollysocket{}", described(option));
    }
    for place in places {
        let at = format!("complete -c mollysocket -n {}", quoted(&format!("__mollysocket_at {}", place.words())));
        for (word, about) in &place.next {
            let _ = writeln!(script, "{at} -a {word} -d {}", quoted(about));
        }
    }
    for verb in verbs {
        for option in &verb.options {
            let at = format!("__mollysocket_at {}", verb.words());
            let _ = writeln!(script, "complete -c mollysocket -n {}{}", quoted(&at), described(option));
        }
    }
    script
}

fn described(option: &Flag) -> String {
    let short = option.short.map_or_else(String::new, |short| format!(" -s {short}"));
    let value = if option.value.is_some() { " -rF" } else { "" };
    format!("{short} -l {}{value} -d {}", option.long, quoted(&option.about))
}

fn quoted(text: &str) -> String {
    format!("'{}'", escaped(text, &['\'', '\\']))
}

const TEMPLATE: &str = r#"# @MADE@
# __mollysocket_at WORD... : whether these are the words of the command so far.
function __mollysocket_at
    set -l place
    set -l value no
    for word in (commandline -opc)[2..-1]
        if test $value = yes
            set value no
            continue
        end
        switch $word
            case @VALUED@
                set value yes
            case '-*'
            case '*'
                if contains -- "$place" @BEGUN@
                    set place (string trim -- "$place $word")
                end
        end
    end
    test "$place" = "$argv"
end
complete -c mollysocket -f
"#;
