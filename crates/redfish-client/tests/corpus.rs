//! The decoders on recorded and invented answers, and on 20,000 seeded mutations of them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use rand::prelude::*;
use rand::rngs::SmallRng;

const MUTATIONS: usize = 20_000;

fn corpus() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/corpus");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn no_decoder_panics_on_the_corpus() {
    let corpus = corpus();
    assert!(corpus.len() >= 10, "only {} files", corpus.len());
    for file in &corpus {
        redfish_client::fuzz(file);
    }
}

#[test]
fn no_decoder_panics_on_seeded_mutations_of_the_corpus() {
    let corpus = corpus();
    let mut random = SmallRng::seed_from_u64(9);
    let mut still_json = 0;
    for _ in 0..MUTATIONS {
        let mut file = corpus.choose(&mut random).unwrap().clone();
        for _ in 0..random.random_range(1..=4) {
            mutate(&mut file, &corpus, &mut random);
        }
        still_json += usize::from(serde_json::from_slice::<serde_json::Value>(&file).is_ok());
        redfish_client::fuzz(&file);
    }
    // mutations that all fail in the JSON parser would prove nothing of the decoders
    assert!(
        still_json > MUTATIONS / 10,
        "{still_json} of {MUTATIONS} reached the decoders"
    );
}

/// Swaps a JSON token for one from the corpus, or damages, removes or doubles bytes.
fn mutate(file: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut SmallRng) {
    if file.is_empty() {
        return;
    }
    match random.random_range(0..6) {
        0..3 => {
            let from = corpus.choose(random).unwrap();
            let value = token(from, random).map_or(&b"null"[..], |range| &from[range]);
            if let Some(range) = token(file, random) {
                file.splice(range, value.iter().copied());
            }
        }
        3 => {
            let at = random.random_range(0..file.len());
            file[at] = random.random();
        }
        4 => {
            let at = random.random_range(0..file.len());
            file.truncate(at);
        }
        _ => {
            let start = random.random_range(0..file.len());
            let piece = file[start..(start + 16).min(file.len())].to_vec();
            file.splice(start..start, piece);
        }
    }
}

/// Where a value begins and ends that stands between a colon and the next comma, bracket or line's end.
fn token(file: &[u8], random: &mut SmallRng) -> Option<std::ops::Range<usize>> {
    let colons: Vec<_> = (0..file.len())
        .filter(|&at| file[at..].starts_with(b"\": "))
        .collect();
    let start = colons.choose(random)? + 3;
    let length = file[start..].iter().position(|byte| b",}]\n".contains(byte))?;
    Some(start..start + length)
}
