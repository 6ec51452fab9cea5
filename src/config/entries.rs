//! Entries of lists that evidently are several values in one text, like `a,b` in a variable. Taken for one value, such an
//! entry would match nothing, or be sent as it is.

/// The first entry, counted from 1, that is several values or a pattern.
pub(super) fn several<S: AsRef<str>>(key: &str, entries: &[S]) -> Option<usize> {
    let is_several = |entry: &str| match key {
        // RFC 9110 section 10.1.5: words with blanks between them, and anything in the brackets of a comment.
        "user_agents" => outside_comments(entry).any(|c| matches!(c, ',' | ';' | '*' | '\n')),
        // A program and its arguments in one text. Beside others each may hold anything.
        "alert_command" => entries.len() == 1 && entry.contains(separates),
        // The path of a push server may end with one more URL.
        _ => entry.contains(separates) || entry.matches("://").count() > 1,
    };
    entries.iter().position(|entry| is_several(entry.as_ref().trim())).map(|at| at + 1)
}

/// What people put between the values of a list.
fn separates(c: char) -> bool {
    c.is_whitespace() || matches!(c, ',' | ';' | '|')
}

fn outside_comments(text: &str) -> impl Iterator<Item = char> {
    let mut depth = 0_usize;
    text.chars().filter(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_values_in_one_text_are_known_and_single_ones_are_not_taken_for_them() {
        for (key, entry, is) in [
            ("allowed_endpoints", "https://a.example.org/,https://b.example.org/", true),
            ("allowed_endpoints", "https://a.example.org/|https://b.example.org/", true),
            ("allowed_endpoints", "https://a.example.org/+https://b.example.org/", true),
            ("allowed_endpoints", "https://user:p%2Cw@a.example.org/up?x=1", false),
            ("allowed_uuids", " * ", false),
            ("allowed_uuids", "*;*", true),
            ("trusted_proxies", "10.0.0.0/8\u{a0}loopback", true),
            ("user_agents", "Name/1 (X11; a, b (c; d)) Other/2", false),
            ("user_agents", "Name/1 (X11), Other/2", true),
            ("user_agents", "Name/1\nOther/2", true),
            ("alert_command", "/bin/alert", false),
            ("alert_command", "/bin/alert now", true),
        ] {
            assert_eq!(several(key, &[entry]), is.then_some(1), "{key} {entry:?}");
        }
        assert_eq!(several("alert_command", &["/opt/My alerts/run", "a, b; c"]), None);
        assert_eq!(several("allowed_uuids", &["*", "a b"]), Some(2));
    }
}
