//! One table, as Markdown and as one JSON object a row, and one chart.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::plan::{PEERS, Peer};
use crate::run::{Fsync, Run};

/// All rounds of one row of one peer.
pub(crate) struct Figure {
    peer: &'static Peer,
    row: String,
    callers: usize,
    values: Vec<f64>,
    /// Of the round in the middle.
    latency: [Option<f64>; 3],
    unit: String,
    events: u64,
    lost: Option<u64>,
    doubled: Option<u64>,
    fsync_us: Fsync,
    commit: Option<String>,
}

impl Figure {
    fn median(&self) -> f64 {
        self.values[self.values.len() / 2]
    }
}

/// What the runs say together, in the order of the plan, and what was skipped.
pub(crate) struct Report {
    figures: Vec<Figure>,
    skipped: BTreeMap<String, Vec<String>>,
    rounds: u32,
}

impl Report {
    pub(crate) fn new(runs: &[Run]) -> Self {
        let mut names: Vec<(String, usize)> = Vec::new();
        let mut skipped: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for run in runs {
            for row in &run.rows {
                let name = (row.row.clone(), row.callers);
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            if let Some(why) = &run.skipped {
                let reasons = skipped.entry(run.peer.clone()).or_default();
                let reason = format!("{}: {why}", crate::plan::name_of(run.workload));
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
        }
        let mut figures = Vec::new();
        for (name, callers) in &names {
            for peer in PEERS {
                figures.extend(figure(runs, peer, name, *callers));
            }
        }
        let rounds = runs.iter().map(|run| run.round).max().unwrap_or_default();
        Self { figures, skipped, rounds }
    }

    fn find(&self, peer: &str, row: &str, callers: usize) -> Option<&Figure> {
        self.figures
            .iter()
            .find(|one| (one.peer.name, one.row.as_str(), one.callers) == (peer, row, callers))
    }

    /// One JSON object a row.
    pub(crate) fn ndjson(&self) -> String {
        let mut text = String::new();
        for one in &self.figures {
            let mut row = json!({
                "bench": "peers",
                "store": one.peer.store.name(),
                "version": one.peer.version,
                "row": one.row,
                "callers": one.callers,
                "rounds": one.values.len(),
                "events": one.events,
                "value": one.median(),
                "min": one.values.first(),
                "max": one.values.last(),
                "unit": one.unit,
                "fsync_us": one.fsync_us,
            });
            let mut set = |name: &str, value: Value| {
                if !value.is_null() {
                    row[name] = value;
                }
            };
            match one.peer.ours {
                Some(part) => set("through", part.into()),
                None => set("peer", one.peer.name.into()),
            }
            for (name, latency) in ["p50_ms", "p95_ms", "p99_ms"].iter().zip(one.latency) {
                set(name, latency.into());
            }
            if one.peer.name != "raw limit" {
                let limit = self.find("raw limit", &one.row, one.callers).map(Figure::median);
                set("limit", limit.into());
                set("ratio_to_limit", limit.map(|limit| one.median() / limit).into());
            }
            set("lost", one.lost.into());
            set("doubled", one.doubled.into());
            set("commit", one.commit.clone().into());
            text.push_str(&row.to_string());
            text.push('\n');
        }
        text
    }

    /// The table for people: a line a workload, a column a peer.
    pub(crate) fn markdown(&self, server: &str) -> String {
        let peers: Vec<&Peer> = PEERS
            .iter()
            .filter(|peer| self.figures.iter().any(|one| one.peer.name == peer.name))
            .collect();
        let mut text = format!(
            "Medians of up to {} rounds, the lowest and the highest in brackets. {server}.\n\n",
            self.rounds
        );
        let names: Vec<_> = peers.iter().map(|peer| peer.name).collect();
        let _ = writeln!(text, "| Row | Callers | {} | fsync us |", names.join(" | "));
        let _ = writeln!(text, "| --- | --- |{}", " --- |".repeat(names.len() + 1));
        let mut last: Option<(&str, usize)> = None;
        for one in &self.figures {
            let name = (one.row.as_str(), one.callers);
            if last.replace(name) == Some(name) {
                continue;
            }
            let cells: Vec<String> = names
                .iter()
                .map(|peer| self.find(peer, name.0, name.1).map_or(String::new(), cell))
                .collect();
            let all =
                self.figures.iter().filter(|other| (other.row.as_str(), other.callers) == name);
            let fsync: Vec<f64> = all
                .flat_map(|one| [one.fsync_us.before, one.fsync_us.after])
                .filter(|time| *time > 0.0)
                .collect();
            let low = fsync.iter().copied().fold(f64::INFINITY, f64::min);
            let high = fsync.iter().copied().fold(0.0, f64::max);
            let title = format!("{}, {}", name.0, one.unit);
            let _ = writeln!(
                text,
                "| {title} | {} | {} | {low:.0} to {high:.0} |",
                name.1,
                cells.join(" | ")
            );
        }
        for (peer, reasons) in &self.skipped {
            let _ = writeln!(text, "\nNot measured of {peer}: {}.", reasons.join("; "));
        }
        text
    }

    /// Single appends by callers, both axes logarithmic.
    pub(crate) fn chart(&self) -> String {
        chart::draw(&PEERS.iter().map(|peer| (peer.name, self.line(peer.name))).collect::<Vec<_>>())
    }

    fn line(&self, peer: &str) -> Vec<(usize, f64)> {
        let of = self.figures.iter().filter(|one| one.peer.name == peer && one.row == "fresh");
        of.map(|one| (one.callers, one.median())).collect()
    }
}

fn figure(runs: &[Run], peer: &'static Peer, row: &str, callers: usize) -> Option<Figure> {
    let mut found: Vec<_> = runs
        .iter()
        .filter(|run| run.peer == peer.name)
        .flat_map(|run| run.rows.iter().map(move |row| (run, row)))
        .filter(|(_, one)| one.row == row && one.callers == callers)
        .collect();
    found.sort_by(|(_, one), (_, other)| one.value.total_cmp(&other.value));
    let (run, middle) = *found.get(found.len() / 2)?;
    let sum = |pick: fn(&crate::drive::Measured) -> Option<u64>| {
        found.iter().map(|(_, one)| pick(one)).sum::<Option<u64>>()
    };
    Some(Figure {
        peer,
        row: row.to_owned(),
        callers,
        values: found.iter().map(|(_, one)| one.value).collect(),
        latency: [middle.p50_ms, middle.p95_ms, middle.p99_ms],
        unit: middle.unit.clone(),
        events: sum(|one| Some(one.events)).unwrap_or_default(),
        lost: sum(|one| one.lost),
        doubled: sum(|one| one.doubled),
        fsync_us: run.fsync_us,
        commit: run.commit.clone(),
    })
}

fn cell(one: &Figure) -> String {
    let (low, high) = (one.values.first(), one.values.last());
    let mut text = thousands(one.median());
    if let (true, Some(low), Some(high)) = (one.values.len() > 1, low, high) {
        let _ = write!(text, " ({} to {})", thousands(*low), thousands(*high));
    }
    if let (Some(lost), Some(doubled)) = (one.lost, one.doubled) {
        let of = thousands(one.events as f64);
        let _ = write!(text, "; {lost} lost, {doubled} doubled of {of}");
    }
    if one.row == "catch-up" {
        let _ = write!(text, "; of {}", thousands(one.events as f64 / one.values.len() as f64));
    }
    text
}

/// A whole number with commas: 41,000.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

mod chart {
    //! Lines by callers, each named at its end.

    use std::fmt::Write as _;

    const WIDTH: f64 = 760.0;
    const HEIGHT: f64 = 460.0;
    const LEFT: f64 = 70.0;
    const RIGHT: f64 = 560.0;
    const TOP: f64 = 50.0;
    const BOTTOM: f64 = 410.0;
    /// Names do not overlap at this distance.
    const BETWEEN_NAMES: f64 = 15.0;
    const COLOURS: [&str; 9] = [
        "#0b6e4f", "#4caf7a", "#c0392b", "#b9770e", "#d4ac0d", "#2e6da4", "#7d3c98", "#117a8b",
        "#7f8c8d",
    ];

    pub(super) fn draw(lines: &[(&str, Vec<(usize, f64)>)]) -> String {
        let x =
            |callers: usize| LEFT + (RIGHT - LEFT) * (callers as f64).log10() / 1_024_f64.log10();
        // From 100 to 1,000,000 events a second.
        let y = |value: f64| BOTTOM - (BOTTOM - TOP) * (value.max(100.0).log10() - 2.0) / 4.0;
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n\
             <title>Single events appended a second, by callers at the same time</title>\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">Single events appended a second, each \
             durable, by callers at the same time</text>\n"
        );
        for power in 2..=6 {
            let at = y(10_f64.powi(power));
            let label = super::thousands(10_f64.powi(power));
            let _ = writeln!(
                text,
                "<path d=\"M{LEFT} {at:.1}H{RIGHT}\" stroke=\"#ddd\"/>\
                 <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">{label}</text>",
                LEFT - 8.0,
                at + 4.0
            );
        }
        for callers in [1, 16, 64, 256, 1_024] {
            let _ = writeln!(
                text,
                "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
                x(callers),
                BOTTOM + 20.0,
                super::thousands(callers as f64)
            );
        }
        let _ = writeln!(
            text,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#555\">callers</text>",
            (LEFT + RIGHT) / 2.0,
            BOTTOM + 40.0
        );
        let mut names = Vec::new();
        for ((name, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let Some((callers, value)) = points.last() else { continue };
            let path: Vec<String> = points
                .iter()
                .map(|(callers, value)| format!("{:.1} {:.1}", x(*callers), y(*value)))
                .collect();
            let dashes = if *name == "raw limit" { " stroke-dasharray=\"5 4\"" } else { "" };
            let _ = writeln!(
                text,
                "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>",
                path.join("L")
            );
            for (callers, value) in points {
                let (x, y) = (x(*callers), y(*value));
                let _ = writeln!(
                    text,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
                );
            }
            names.push((y(*value), x(*callers), *name, *value, *colour));
        }
        names.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut free = f64::MIN;
        for (y, x, name, value, colour) in names {
            let at = y.max(free);
            free = at + BETWEEN_NAMES;
            let value = super::thousands(value);
            let _ = writeln!(
                text,
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{name} {value}</text>",
                x + 10.0,
                at + 4.0
            );
        }
        text.push_str("</svg>\n");
        text
    }
}
