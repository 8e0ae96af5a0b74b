//! Everything a request may use, in one place.

use std::sync::Arc;
use std::time::Duration;

use freehold_commands::{CommandContext, CommandExecutor};
use freehold_ports::{
    Clock, CommandId, EventCodec, EventStore, GlobalPosition, KeyVault, ReadModels,
};
use freehold_projections::{Projections, SubscriptionStatus};
use uuid::Uuid;

/// The parts of a running platform, shared by every entrance.
#[derive(Clone)]
pub struct Platform {
    /// The logs.
    pub store: Arc<dyn EventStore>,
    /// Between typed events and stored bytes.
    pub codec: EventCodec,
    /// The keys of people, to be destroyed when one is forgotten.
    pub vault: Arc<dyn KeyVault>,
    /// The way from commands to events.
    pub executor: CommandExecutor,
    /// What queries read.
    pub models: Arc<dyn ReadModels>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What keeps the read models current; none where another process does.
    pub projections: Option<Arc<Projections>>,
    /// How long a query waits for a read model to reach the position it asks for.
    pub freshness_limit: Duration,
}

impl Platform {
    /// How the live subscription of a projection is doing, if it runs in this process.
    pub fn live(&self, projection: &str) -> Option<SubscriptionStatus> {
        Some(self.projections.as_ref()?.status(projection).ok()?.live)
    }
}

/// Who sends a request, and what it belongs to; made from its token and headers.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The name of the token, or `anonymous` on loopback.
    pub actor: Arc<str>,
    /// Who owns the data.
    pub tenant: Arc<str>,
    /// The request's correlation id.
    pub correlation_id: Uuid,
}

impl Caller {
    /// The context of a command that this caller sends.
    pub fn context(&self, command_id: Option<CommandId>) -> CommandContext {
        let mut context = CommandContext::new(self.tenant.clone(), self.actor.clone());
        context.command_id = command_id;
        context.correlation_id = Some(self.correlation_id);
        context
    }
}

/// A read model did not reach a position in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("projection {projection} stands at {at}, not yet at {asked}; ask again")]
pub struct Stale {
    /// Which projection.
    pub projection: &'static str,
    /// Where it stands.
    pub at: GlobalPosition,
    /// The position asked for.
    pub asked: GlobalPosition,
}
