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

/// Who runs the commands below each heading as they are written, but for numbers and paths of measurements: these are run
/// smaller, with the same flags. Runners name the heading in a call of `guide`.
const RUN_BY: [(&str, &str, &str); 17] = [
    ("README.md", "Quick start", "tests/real/commands.py"),
    ("README.md", "Link the phone", "tests/real/commands.py"),
    ("README.md", "Building", "tests/real/commands.py"),
    ("docs/containers.md", "The image", "tests/real/containers.py"),
    ("docs/containers.md", "Compose", "tests/real/containers.py"),
    ("docs/containers.md", "Quadlet", "tests/real/containers.py"),
    ("docs/containers.md", "OpenRC", "tests/real/containers.py"),
    ("docs/migration.md", "systemd", "tests-vm/scenarios/migration/test.sh"),
    ("docs/operations.md", "Admin socket", "tests-vm/scenarios/packaged/test.sh"),
    ("docs/operations.md", "Alerts", "tests/real/commands.py"),
    ("docs/operations.md", "Moving accounts between servers", "tests/real/commands.py"),
    ("docs/performance.md", "Running it", "load/tests/small.rs"),
    ("docs/systemd.md", "Install", "tests-vm/scenarios/packaged/test.sh"),
    ("docs/systemd.md", "Configuration", "tests-vm/scenarios/packaged/test.sh"),
    ("docs/systemd.md", "A sealed key", "tests-vm/scenarios/packaged/test.sh"),
    ("docs/systemd.md", "A fixed user", "tests-vm/scenarios/packaged/test.sh"),
    (
        "docs/systemd.md",
        "A port below 1024, or a service that is started on demand",
        "tests-vm/scenarios/packaged/test.sh",
    ),
];

#[test]
fn the_commands_of_every_page_are_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
    let mut pages: Vec<PathBuf> = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.push(root.join("README.md"));
    let mut blocks = 0;
    for page in pages {
        let name = page.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let mut heading = "";
        let text = fs::read_to_string(&page).unwrap();
        for line in text.lines() {
            if let Some(found) = line.strip_prefix("## ") {
                heading = found;
            }
            // In a list they are indented.
            if !matches!(line.trim_start(), "```sh" | "```bash" | "```console" | "```shell") {
                continue;
            }
            blocks += 1;
            if (name.as_str(), heading) == ("docs/systemd.md", "") {
                // How to build it, as the README tells.
                assert!(text.contains("```sh\ncargo build --release\n```"));
                continue;
            }
            let run = RUN_BY.iter().find(|(page, below, _)| (*page, *below) == (name.as_str(), heading));
            let (.., runner) = run.unwrap_or_else(|| panic!("{name}: nobody runs the commands below {heading:?}"));
            let source = read(runner);
            let runs = |line: &str| line.contains("guide") && line.contains(heading);
            assert!(source.lines().any(runs), "{runner} does not run {heading:?}");
        }
    }
    assert!(blocks > 12, "{blocks}: the pages are read wrongly");
}

#[test]
fn the_measurements_on_the_page_are_made_with_flags_the_tests_use() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/performance.md")).unwrap();
    let block = page.split_once("## Running it\n\n```sh\n").unwrap().1.split_once("\n```").unwrap().0;
    let tests = fs::read_to_string(root.join("load/tests/small.rs")).unwrap();
    let mut flags = 0;
    for line in block.lines() {
        let ours = line.strip_prefix("cargo run --release -p load -- ").unwrap();
        for flag in ours.split_whitespace().filter(|word| word.starts_with("--")) {
            assert!(tests.contains(&format!("\"{flag}\"")), "load/tests/small.rs does not use {flag}");
            flags += 1;
        }
    }
    assert!(flags > 4, "{flags}: the page is read wrongly");
}

#[test]
fn every_test_the_documents_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in ["src", "tests", "sim/src", "sim/tests"] {
        sources(&root.join(directory), &mut files);
    }
    let mut named = 0;
    for document in ["docs/faults.md", "docs/security.md", "SECURITY.md"] {
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
