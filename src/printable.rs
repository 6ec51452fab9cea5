//! Texts of others before people see them, in a log, on a terminal or in a mail. Whoever writes such a text may be anybody:
//! a push server, Signal's server or who sits in its place, what answers at the admin socket.

use serde_json::Value;

/// The text as one line of what can be seen. Separators of lines and tabs become blanks. Control and format characters
/// (Unicode's categories Cc and Cf) are left out: a terminal takes some for orders, others turn the direction of the text
/// around or take no room.
pub(crate) fn printable(text: &str) -> String {
    let shown = text.chars().filter_map(|c| match c {
        '\t' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some(' '),
        _ if c.is_control() || is_format(c) => None,
        _ => Some(c),
    });
    shown.collect()
}

/// The same for every text in `value`, names of fields included.
pub(crate) fn printable_json(value: Value) -> Value {
    match value {
        Value::String(text) => printable(&text).into(),
        Value::Array(values) => values.into_iter().map(printable_json).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (printable(&name), printable_json(value))).collect()
        }
        plain => plain,
    }
}

/// Category Cf of Unicode 16.
fn is_format(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
        | '\u{2066}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}'
        | '\u{e0020}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_an_order_or_cannot_be_seen_is_left() {
        for (text, shown) in [
            ("grün – ok, 日本語, עברית, 🙂", "grün – ok, 日本語, עברית, 🙂"),
            ("a\nb\r\tc\u{2028}d\u{2029}e\u{85}f", "a b  c d e f"),
            ("\x1b[31mred\x07\x7f\u{9b}2J", "[31mred2J"),
            ("gone\u{202e}txt.exe\u{2066}\u{2069}\u{200b}\u{200f}\u{feff}\u{61c}", "gonetxt.exe"),
            ("soft\u{ad}hyphen, tag\u{e0041}s, \u{180e}\u{206f}\u{fffb}\u{1d173}", "softhyphen, tags, "),
        ] {
            assert_eq!(printable(text), shown);
        }
        let kept = (char::MIN..=char::MAX).filter(|c| !printable(&c.to_string()).is_empty()).count();
        // All but the 65 control and 170 format characters, of which four and NEL are separators and become blanks.
        let all = 0x11_0000 - 0x800;
        assert_eq!(all - kept, 65 - 4 + 170);
    }

    #[test]
    fn json_is_printable_in_every_place() {
        let evil = "e\u{202e}\x1b[2Jvil";
        let value = serde_json::json!({ evil: [evil, { "a": evil }], "n": 1, "b": null });
        assert_eq!(
            printable_json(value),
            serde_json::json!({ "e[2Jvil": ["e[2Jvil", { "a": "e[2Jvil" }], "n": 1, "b": null })
        );
    }
}
