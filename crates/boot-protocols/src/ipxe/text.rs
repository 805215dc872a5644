//! What of foreign text may stand in a script.

use std::fmt::Write;

/// Lines of an explanation; the rest is cut.
pub(super) const MAX_LINES: usize = 20;
/// Characters of a line of an explanation; the rest is cut.
const MAX_LINE: usize = 200;

/// Why iPXE would not hand on a kernel argument as it is; `None` when it would.
pub(super) fn objection(argument: &str) -> Option<&'static str> {
    // Both have one fixed form, and the value that Talos itself would put there.
    let rest = argument.replace("${uuid}", "").replace("${mac}", "");
    if argument.contains(char::is_control) {
        Some("a line break or another control character ends or changes the line")
    } else if rest.contains("${") {
        Some("it would expand ${…}")
    } else if argument.split_whitespace().any(is_operator) {
        Some("&&, || and # as words of their own end the command")
    } else if argument.ends_with('\\') {
        Some("a backslash at the end joins the next line")
    } else {
        None
    }
}

fn is_operator(word: &str) -> bool {
    matches!(word, "&&" | "||" | "#")
}

/// A line for `echo`: printable ASCII, in which nothing is a command.
pub(super) fn sentence(line: &str) -> String {
    let plain = |c: char| match c {
        c if c.is_whitespace() => ' ',
        c if c.is_ascii_graphic() => c,
        _ => '?',
    };
    // cut and trim first: what is left of a longer word might be a command
    let line: String = line.chars().map(plain).take(MAX_LINE).collect();
    let words = line
        .trim_end_matches(['\\', ' '])
        .split(' ')
        .filter(|word| !word.is_empty());
    let words = words.map(|word| match word {
        "&&" => "and",
        "||" => "or",
        "#" => "no.",
        word => word,
    });
    words.collect::<Vec<_>>().join(" ").replace("${", "$ {")
}

/// A query string of which every byte that does not belong in one is percent-encoded.
pub(super) fn query(asked: &str) -> String {
    let mut encoded = String::with_capacity(asked.len());
    for byte in asked.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~%&=+:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // writing to a String does not fail
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
