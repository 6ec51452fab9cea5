//! Completion for zsh.

use std::fmt::Write as _;

use super::{Flag, MADE, Place, escaped};

pub(super) fn script(places: &[Place]) -> String {
    let (program, verbs) = places.split_first().expect("the program comes first");
    let mut cases = format!("    ('') next=({}) ;;\n", described(&program.next));
    for verb in verbs {
        if !verb.next.is_empty() {
            let _ = writeln!(cases, "    ('{}') next=({}) ;;", verb.words(), described(&verb.next));
        } else if !verb.options.is_empty() {
            let _ = writeln!(cases, "    ('{}') options+=({}) ;;", verb.words(), flags(&verb.options));
        }
    }
    let begun: Vec<String> =
        places.iter().filter(|place| !place.next.is_empty()).map(|place| format!("'{}'", place.words())).collect();
    TEMPLATE
        .replace("@MADE@", MADE)
        .replace("@BEGUN@", &begun.join("|"))
        .replace("@VALUED@", &super::valued(places).join("|"))
        .replace("@OPTIONS@", &flags(&program.options))
        .replace("@CASES@", cases.trim_end())
}

/// Words with their texts, as `_describe` takes them.
fn described(words: &[(String, String)]) -> String {
    let entries =
        words.iter().map(|(word, about)| format!("'{}:{}'", word, escaped(about, &[':', '\\']).replace('\'', "'\\''")));
    entries.collect::<Vec<_>>().join(" ")
}

fn flags(flags: &[Flag]) -> String {
    let words = flags.iter().flat_map(|flag| flag.spellings().into_iter().map(|word| (word, flag.about.clone())));
    described(&words.collect::<Vec<_>>())
}

const TEMPLATE: &str = r#"#compdef mollysocket
# @MADE@
local -a next options
local place='' word
integer i
options=(@OPTIONS@)
for ((i = 2; i < CURRENT; i++)); do
  word=$words[i]
  case $word in
    (@VALUED@) ((i++)) ;;
    (-*) ;;
    (*) case $place in (@BEGUN@) place=${place:+$place }$word ;; esac ;;
  esac
done
case $place in
@CASES@
esac
if [[ $words[CURRENT-1] == (@VALUED@) ]]; then
  _files
elif [[ $words[CURRENT] == -* ]]; then
  _describe -o option options
else
  _describe command next
fi
"#;
