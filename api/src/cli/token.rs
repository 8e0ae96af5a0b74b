//! `freehold token`.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{CliError, Exit, Global, Row};
use crate::http::{Role, TokenHash, new_token};

/// Makes tokens.
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make a token and print it, once, with the lines to put into the configuration
    Create(Create),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The actor that its holder's events name
    name: String,
    /// What its holder may do
    #[arg(long)]
    role: Role,
}

struct NewToken {
    name: String,
    role: Role,
    token: String,
    hash: TokenHash,
}

impl Row for NewToken {
    const COLUMNS: &'static [&'static str] = &["name", "role", "token", "hash"];

    fn cells(&self) -> Vec<Value> {
        let role = self.role.name();
        vec![
            self.name.clone().into(),
            role.into(),
            self.token.clone().into(),
            self.hash.to_hex().into(),
        ]
    }
}

impl Token {
    pub(super) fn run(self, global: &Global) -> Result<(), CliError> {
        let Self::Create(Create { name, role }) = self;
        if name.trim().is_empty() || name.chars().any(char::is_control) {
            let message =
                format!("{name:?} cannot be a token's name; give one that people can read");
            return Err(CliError::new(Exit::Usage, message));
        }
        let (token, hash) = new_token();
        let made = NewToken { name, role, token, hash };
        let output = global.output();
        output.note("The token is shown this once; give it to its holder. The server needs:\n");
        let name = toml::Value::String(made.name.clone());
        output.note(&format!(
            "[[auth.tokens]]\nname = {name}\nhash = \"{}\"\nrole = \"{}\"\n",
            made.hash.to_hex(),
            made.role.name(),
        ));
        let mut rows = output.rows();
        rows.write(&made)?;
        Ok(rows.finish()?)
    }
}
