//! How long the daemon's hot paths take: `cargo bench -p bench`, with a word to choose those whose name holds it.
//! `cargo test` runs each once.
#![allow(missing_docs)]

use bench::BODIES;
use criterion::{Criterion, criterion_group, criterion_main};

fn hot_paths(criterion: &mut Criterion) {
    for body in BODIES {
        // What is prepared costs more than what is measured: not for those that are not asked for.
        let mut once = None;
        criterion.bench_function(body.name, |bencher| {
            let once = once.get_or_insert_with(body.prepare);
            bencher.iter(once);
        });
    }
}

criterion_group!(all, hot_paths);
criterion_main!(all);
