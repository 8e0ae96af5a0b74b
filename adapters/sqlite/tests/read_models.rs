//! Read models on SQLite keep the contract of their port, in a file and in memory.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use freehold_contract::Fresh;
use freehold_ports::ReadModels;
use freehold_sqlite::SqliteReadModels;

mod in_a_file {
    use super::*;

    fn fresh() -> Fresh<dyn ReadModels> {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteReadModels::open(folder.path()).unwrap();
        Fresh::keeping(Arc::new(store), folder)
    }

    freehold_contract::read_models_suite!(fresh());
    freehold_contract::dead_letters_suite!(fresh());
}

mod in_memory {
    use super::*;

    fn fresh() -> Fresh<dyn ReadModels> {
        Fresh::new(Arc::new(SqliteReadModels::in_memory().unwrap()))
    }

    freehold_contract::read_models_suite!(fresh());
    freehold_contract::dead_letters_suite!(fresh());
}
