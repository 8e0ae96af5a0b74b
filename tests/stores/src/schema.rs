//! A schema of its own on a PostgreSQL server, dropped with its value.

use std::time::Duration;

use freehold_postgres::Database;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

/// A schema that is dropped with this value.
pub struct Schema {
    server: String,
    name: String,
}

impl Schema {
    /// Makes an empty schema on the server that `TEST_POSTGRES_URL` names.
    #[expect(clippy::new_without_default, reason = "a schema is made on a server, not by default")]
    pub fn new() -> Self {
        let server = std::env::var("TEST_POSTGRES_URL").expect("TEST_POSTGRES_URL is set");
        Self::on(&server).unwrap()
    }

    /// Makes an empty schema on a server.
    pub fn on(server: &str) -> Result<Self, sqlx::Error> {
        let name = format!("test_{}", Uuid::new_v4().simple());
        run(server, format!("CREATE SCHEMA {name}"))?;
        Ok(Self { server: server.to_owned(), name })
    }

    /// Its name, which is also that of the sessions that stores have, not of an operator's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address for stores.
    pub fn url(&self) -> String {
        format!("{}&application_name={}", self.nameless_url(), self.name)
    }

    fn nameless_url(&self) -> String {
        let Self { server, name } = self;
        let separator = if server.contains('?') { '&' } else { '?' };
        format!("{server}{separator}options=-csearch_path%3D{name}")
    }

    /// Its database.
    pub fn database(&self) -> Database {
        Database::at(&self.url()).unwrap()
    }

    /// A connection as an operator has it.
    pub async fn operator(&self) -> PgConnection {
        PgConnection::connect(&self.nameless_url()).await.unwrap()
    }

    /// A connection to a server that may be starting.
    pub async fn operator_again(&self) -> PgConnection {
        for _ in 0..300 {
            if let Ok(connection) = PgConnection::connect(&self.nameless_url()).await {
                return connection;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the server does not come back");
    }

    /// Runs statements as an operator, also where nothing is async.
    pub fn run(&self, sql: String) {
        run(&self.server, sql).unwrap();
    }
}

/// Runs statements on a thread of its own: tests are async, and dropping is not.
fn run(server: &str, sql: String) -> Result<(), sqlx::Error> {
    let server = server.to_owned();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let mut connection = PgConnection::connect(&server).await?;
            sqlx::raw_sql(&sql).execute(&mut connection).await?;
            connection.close().await
        })
    });
    thread.join().unwrap()
}

impl Drop for Schema {
    fn drop(&mut self) {
        let name = &self.name;
        // Sessions that a test left behind would hold locks, and connections.
        let sql = format!(
            "SET client_min_messages = error;
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE application_name = '{name}';
             DROP SCHEMA {name} CASCADE"
        );
        let dropped = run(&self.server, sql);
        if let Err(error) = dropped
            && !std::thread::panicking()
        {
            panic!("schema {name} was not dropped: {error}");
        }
    }
}
