//! A schema for each test on the server that `TEST_POSTGRES_URL` names, dropped afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use freehold_postgres::Database;
use sqlx::{Connection as _, PgConnection};

/// A schema that is dropped with this value.
pub(crate) struct Schema {
    server: String,
    name: String,
}

impl Schema {
    /// Makes an empty schema.
    pub(crate) fn new() -> Arc<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let server = std::env::var("TEST_POSTGRES_URL").expect("TEST_POSTGRES_URL is set");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        let schema = Self { server, name };
        schema.run(format!("CREATE SCHEMA {}", schema.name));
        Arc::new(schema)
    }

    /// Its name.
    #[allow(dead_code, reason = "each test crate uses its own part of this")]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        let separator = if self.server.contains('?') { '&' } else { '?' };
        format!("{}{separator}options=-csearch_path%3D{}", self.server, self.name)
    }

    /// Its database.
    #[allow(dead_code, reason = "each test crate uses its own part of this")]
    pub(crate) fn database(&self) -> Database {
        Database::at(&self.url()).unwrap()
    }

    #[allow(dead_code, reason = "each test crate uses its own part of this")]
    /// A connection as an operator has it.
    pub(crate) async fn operator(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }

    /// A connection to a server that may be starting.
    #[allow(dead_code, reason = "each test crate uses its own part of this")]
    pub(crate) async fn operator_again(&self) -> PgConnection {
        for _ in 0..300 {
            if let Ok(connection) = PgConnection::connect(&self.url()).await {
                return connection;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("the server does not come back");
    }

    /// Runs a statement on a thread of its own: tests are async, and dropping is not.
    fn run(&self, sql: String) {
        let server = self.server.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let mut connection = PgConnection::connect(&server).await.unwrap();
                sqlx::raw_sql(&sql).execute(&mut connection).await.unwrap();
            });
        });
        thread.join().unwrap();
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        self.run(format!("SET client_min_messages = error; DROP SCHEMA {} CASCADE", self.name));
    }
}
