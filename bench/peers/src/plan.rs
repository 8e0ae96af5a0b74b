//! Who is measured, doing what.

use clap::ValueEnum as _;

use crate::drive::Workload;

/// A store and the program that drives it.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// Part of Freehold, and what of it.
    pub(crate) ours: Option<&'static str>,
    pub(crate) version: &'static str,
    pub(crate) driver: Driver,
    pub(crate) store: Store,
    /// Workloads it is not asked to do, and why.
    pub(crate) without: &'static [(Workload, &'static str)],
}

/// A program that takes what `drive::Asked` says.
pub(crate) enum Driver {
    /// This one, asked to drive.
    Own(&'static str),
    Node(&'static str),
    Python(&'static str),
}

/// Where it keeps its events.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Store {
    /// A fresh database of the server that all share.
    Postgres,
    /// The same, with Message DB installed.
    MessageDb,
    /// A fresh UmaDB server.
    UmaDb,
}

impl Store {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres | Self::MessageDb => "postgres",
            Self::UmaDb => "umadb",
        }
    }
}

const ONE_CATEGORY: &str = "see message-db; its readers follow one category";
const BY_HAND: &str = "nothing is decided or followed by hand";

pub(crate) const PEERS: &[Peer] = &[
    Peer {
        name: "freehold",
        ours: Some("log"),
        version: env!("CARGO_PKG_VERSION"),
        driver: Driver::Own("freehold"),
        store: Store::Postgres,
        without: &[],
    },
    Peer {
        name: "freehold-commands",
        ours: Some("commands"),
        version: env!("CARGO_PKG_VERSION"),
        driver: Driver::Own("freehold-commands"),
        store: Store::Postgres,
        without: &[],
    },
    Peer {
        name: "postgres-es",
        ours: None,
        version: "0.5.0",
        driver: Driver::Own("postgres-es"),
        store: Store::Postgres,
        without: &[],
    },
    Peer {
        name: "message-db",
        ours: None,
        version: "1.3.1",
        driver: Driver::Own("message-db"),
        store: Store::MessageDb,
        without: &[],
    },
    Peer {
        name: "message-db, 64 categories",
        ours: None,
        version: "1.3.1",
        driver: Driver::Own("message-db-categories"),
        store: Store::MessageDb,
        without: &[(Workload::Hot, ONE_CATEGORY), (Workload::Read, ONE_CATEGORY)],
    },
    Peer {
        name: "emmett",
        ours: None,
        version: "0.42.0",
        driver: Driver::Node("emmett.mjs"),
        store: Store::Postgres,
        without: &[],
    },
    Peer {
        name: "eventsourcing",
        ours: None,
        version: "9.5.6",
        driver: Driver::Python("python_eventsourcing.py"),
        store: Store::Postgres,
        without: &[],
    },
    Peer {
        name: "umadb",
        ours: None,
        version: "0.7.8",
        driver: Driver::Own("umadb"),
        store: Store::UmaDb,
        without: &[],
    },
    Peer {
        name: "raw limit",
        ours: None,
        version: "",
        driver: Driver::Own("raw"),
        store: Store::Postgres,
        without: &[(Workload::Hot, BY_HAND), (Workload::Tail, BY_HAND)],
    },
];

/// How much is measured.
pub(crate) struct Plan {
    pub(crate) cells: Vec<(Workload, usize)>,
    pub(crate) rounds: u32,
    pub(crate) seconds: f64,
    /// How many events are read in order, at the most, and how long filling may take.
    pub(crate) count: u64,
    pub(crate) fill_seconds: f64,
}

impl Plan {
    pub(crate) fn new(quick: bool) -> Self {
        use Workload as W;
        if quick {
            let cells = vec![
                (W::Fresh, 1),
                (W::Fresh, 64),
                (W::Twenty, 64),
                (W::Batch100, 16),
                (W::Hot, 16),
                (W::Read, 16),
                (W::Tail, 16),
            ];
            return Self { cells, rounds: 1, seconds: 1.0, count: 100_000, fill_seconds: 4.0 };
        }
        let callers = [1, 16, 64, 256, 1_024];
        let mut cells: Vec<_> = callers.map(|callers| (W::Fresh, callers)).into();
        cells.extend(callers.map(|callers| (W::Twenty, callers)));
        cells.extend([W::Batch10, W::Batch100, W::Batch1000].map(|batch| (batch, 16)));
        cells.extend([(W::Hot, 16), (W::Tail, 16), (W::Read, 16)]);
        Self { cells, rounds: 3, seconds: 4.0, count: 1_000_000, fill_seconds: 15.0 }
    }
}

/// A workload by the name that drivers know it by.
pub(crate) fn name_of(workload: Workload) -> String {
    let value = workload.to_possible_value().expect("no workload is hidden");
    value.get_name().to_owned()
}
