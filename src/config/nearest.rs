//! "Did you mean …?"

/// The candidate most like `word`, if one is so near that a slip of the finger explains the difference.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(&word, &c.to_ascii_lowercase()), c))
        .filter(|&(distance, c)| distance <= (c.len() / 3).clamp(1, 4))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, c)| c)
}

/// `; did you mean X?`, or nothing.
pub(crate) fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let keys = ["allowed_uuids", "allowed_endpoints", "db", "host"];
        assert_eq!(nearest("allowed_uuid", keys), Some("allowed_uuids"));
        assert_eq!(nearest("alowed_endpoint", keys), Some("allowed_endpoints"));
        assert_eq!(nearest("Host", keys), Some("host"));
        assert_eq!(nearest("bd", keys), Some("db"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(hint("colour", keys), "");
        assert_eq!(hint("hosst", keys), "; did you mean host?");
    }
}
