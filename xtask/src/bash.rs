//! Completion for bash.

use std::fmt::Write as _;

use super::{MADE, Place};

pub(super) fn script(places: &[Place]) -> String {
    let (program, verbs) = places.split_first().expect("the program comes first");
    let spellings = |place: &Place| place.options.iter().flat_map(super::Flag::spellings).collect::<Vec<_>>().join(" ");
    let next = |place: &Place| place.next.iter().map(|(word, _)| word.as_str()).collect::<Vec<_>>().join(" ");
    let mut cases = format!("        '') next='{}' ;;\n", next(program));
    for verb in verbs {
        let (next, options) = (next(verb), spellings(verb));
        if !next.is_empty() {
            let _ = writeln!(cases, "        '{}') next='{next}' ;;", verb.words());
        } else if !options.is_empty() {
            let _ = writeln!(cases, "        '{}') options+=' {options}' ;;", verb.words());
        }
    }
    let begun: Vec<String> =
        places.iter().filter(|place| !place.next.is_empty()).map(|place| format!("'{}'", place.words())).collect();
    TEMPLATE
        .replace("@MADE@", MADE)
        .replace("@BEGUN@", &begun.join(" | "))
        .replace("@VALUED@", &super::valued(places).join(" | "))
        .replace("@OPTIONS@", &spellings(program))
        .replace("@CASES@", cases.trim_end())
}

const TEMPLATE: &str = r#"# @MADE@
_mollysocket() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} place='' next='' word i
    local options='@OPTIONS@'
    COMPREPLY=()
    case $before in @VALUED@)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    esac
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
            @VALUED@) ((i++)) ;;
            -*) ;;
            *) case $place in @BEGUN@) place=${place:+$place }$word ;; esac ;;
        esac
    done
    case $place in
@CASES@
    esac
    case $current in
        -*) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current") ;;
        *) mapfile -t COMPREPLY < <(compgen -W "$next" -- "$current") ;;
    esac
}
complete -F _mollysocket mollysocket
"#;
