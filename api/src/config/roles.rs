//! Which parts of the product a process runs.

use std::fmt;

use serde::Deserialize;

/// A part of the product that a process may run without the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// GraphQL and ingestion.
    Api,
    /// Keeps the read models current.
    Projections,
    /// Publishes the logs to Kafka, where the configuration names a cluster.
    Relay,
    /// Takes messages of senders in from Kafka.
    Ingest,
}

impl Part {
    /// Every part, with the word for it in the configuration.
    const ALL: [(&'static str, Self); 4] = [
        ("api", Self::Api),
        ("projections", Self::Projections),
        ("relay", Self::Relay),
        ("ingest", Self::Ingest),
    ];
}

/// The roles of a process: the parts that it runs, at least one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Roles(Vec<Part>);

impl Roles {
    /// Every part that runs unless it is said: all that need no cluster.
    pub fn usual() -> Self {
        Self(vec![Part::Api, Part::Projections, Part::Relay])
    }

    /// Whether the process runs a part.
    pub fn has(&self, part: Part) -> bool {
        self.0.contains(&part)
    }

    /// Whether the process reads from Kafka, or does nothing but publish to it.
    pub(super) fn need_cluster(&self) -> bool {
        self.has(Part::Ingest) || self.0.iter().all(|part| *part == Part::Relay)
    }

    /// What to write, for messages.
    pub(super) fn words() -> String {
        Part::ALL.map(|(word, _)| word).join(", ")
    }
}

impl TryFrom<String> for Roles {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let part = |word: &str| {
            let found = Part::ALL.iter().find(|(name, _)| *name == word.trim());
            found.map(|(_, part)| *part)
        };
        let parts: Option<Vec<Part>> = text.split(',').map(part).collect();
        parts.map(Self).ok_or_else(|| format!("one or more of {}", Self::words()))
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Part::ALL.iter().filter(|(_, part)| self.has(*part)).map(|(word, _)| *word);
        f.write_str(&named.collect::<Vec<_>>().join(","))
    }
}
