//! The figures of one bench.

use std::time::Duration;

use serde_json::json;

/// Times of each contender, in the order in which they were added. The first of a group is what the others are compared with.
#[derive(Debug, Default)]
pub(crate) struct Table {
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    title: String,
    rows: Vec<(String, Vec<Duration>)>,
}

impl Table {
    pub(crate) fn group(&mut self, title: impl Into<String>) {
        self.groups.push(Group {
            title: title.into(),
            rows: Vec::new(),
        });
    }

    /// Adds one measured time to the row `name` of the last group.
    pub(crate) fn add(&mut self, name: &str, time: Duration) {
        let Some(group) = self.groups.last_mut() else {
            return;
        };
        match group.rows.iter_mut().find(|(known, _)| known == name) {
            Some((_, times)) => times.push(time),
            None => group.rows.push((name.into(), vec![time])),
        }
    }

    #[expect(clippy::print_stdout, reason = "the figures are what the bench is for")]
    pub(crate) fn print(&self, as_json: bool) {
        if as_json {
            println!("{:#}", self.json());
            return;
        }
        for group in &self.groups {
            println!(
                "\n{}\n{:<44} {:>9} {:>9} {:>9} {:>8}",
                group.title, "", "min s", "median s", "max s", "ratio"
            );
            for (name, times) in &group.rows {
                let (min, median, max) = spread(times);
                println!(
                    "{name:<44} {min:>9.3} {median:>9.3} {max:>9.3} {:>7.2}x",
                    group.ratio(times)
                );
            }
        }
    }

    fn json(&self) -> serde_json::Value {
        let row = |group: &Group, (name, times): &(String, Vec<Duration>)| {
            let seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
            json!({"name": name, "seconds": seconds, "ratio": group.ratio(times)})
        };
        let groups = self.groups.iter().map(|group| {
            let rows: Vec<_> = group.rows.iter().map(|entry| row(group, entry)).collect();
            json!({"title": group.title, "rows": rows})
        });
        groups.collect()
    }
}

impl Group {
    /// How many times as long as the group's first row it took: the median of the ratios round by round, since the
    /// machine's speed drifts.
    fn ratio(&self, times: &[Duration]) -> f64 {
        let first = self.rows.first().map_or(times, |(_, first)| first.as_slice());
        let ratios = times
            .iter()
            .zip(first)
            .map(|(time, first)| time.as_secs_f64() / first.as_secs_f64());
        spread_of(ratios.collect()).1
    }
}

fn spread(times: &[Duration]) -> (f64, f64, f64) {
    spread_of(times.iter().map(Duration::as_secs_f64).collect())
}

/// Minimum, median and maximum.
fn spread_of(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (at(0), at(values.len() / 2), at(values.len().saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_round_by_round() {
        let mut table = Table::default();
        table.group("g");
        for (ours, peer) in [(1, 2), (10, 20), (4, 12)] {
            table.add("ours", Duration::from_secs(ours));
            table.add("peer", Duration::from_secs(peer));
        }
        let rows = table.json()[0]["rows"].clone();
        assert_eq!(rows[0]["ratio"], 1.0);
        assert_eq!(rows[1]["ratio"], 2.0);
    }
}
