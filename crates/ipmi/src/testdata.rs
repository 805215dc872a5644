//! Reads the recordings and corpora under `testdata/`.

/// Direction (`>` from the console, `<` from the BMC, `=` neither) and bytes of every line.
pub(crate) fn lines(name: &str) -> Vec<(char, Vec<u8>)> {
    let path = format!("{}/testdata/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| (line.chars().next().unwrap(), bytes(&line[2..])))
        .collect()
}

/// The bytes that a line of hex digits stands for.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}
