//! What the documents say of tests is true: each one they name is there.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

fn sources(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push((path.clone(), fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn every_test_the_documents_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in ["src", "tests", "sim/src", "sim/tests"] {
        sources(&root.join(directory), &mut files);
    }
    let mut named = 0;
    for document in ["docs/faults.md", "SECURITY.md"] {
        let text = fs::read_to_string(root.join(document)).unwrap();
        for quoted in text.split('`').skip(1).step_by(2) {
            let Some((place, test)) = quoted.rsplit_once("::") else { continue };
            let definition = format!("fn {test}(");
            // `web/head` is `src/web/head.rs` or a file below; `push` may be a file of tests as well.
            let is_there = files.iter().any(|(path, source)| {
                let path = path.strip_prefix(root).unwrap().with_extension("");
                let mut below = path.ancestors().filter_map(Path::to_str);
                below.any(|path| path.ends_with(place)) && source.contains(&definition)
            });
            assert!(is_there, "{document} names `{quoted}`, which there is not");
            named += 1;
        }
    }
    assert!(named > 100, "{named}: the documents are read wrongly");
}
