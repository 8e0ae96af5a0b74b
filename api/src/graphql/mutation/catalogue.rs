//! How a mutation is written down.

use async_graphql::InputObjectType;

use super::form::Form;
use super::input::Asked;
use super::run::{Order, Served};
use crate::graphql::Fault;

/// The input of a mutation, which names its payload too.
pub(crate) trait MutationInput: Send + Sync + 'static {
    /// The name of the payload's type.
    const PAYLOAD: &'static str;

    /// The input's own fields, in `snake_case`.
    const FIELDS: &'static [&'static str];
}

/// An input that asks for one command.
pub(crate) trait Mutation: MutationInput + InputObjectType {
    /// Whom it asks.
    type Aggregate: Served;

    /// What every input says.
    fn asked(&self) -> &Asked;

    /// Reads the input. Without an order the form says why; with one, the form may still hold
    /// faults, and the order leaves out what they are about.
    fn order(
        self,
        form: &mut Form<'_>,
    ) -> impl Future<Output = Result<Option<Order<Self::Aggregate>>, Fault>> + Send;
}

/// Declares a root of mutations: for each its input, how that is read, and its resolver.
///
/// ```text
/// /// What it does, for the schema.
/// listing_hold(ListingHoldInput => "ListingHoldPayload") for Operator {
///     /// The listing.
///     listing: ID,
/// } |input, form| {
///     Ok(form.listing(&input.listing).await?.map(|at| at.asks(HoldListing { listing: at.key })))
/// }
/// ```
///
/// Without `for` a writer may send it.
macro_rules! mutations {
    (
        $(#[$root_doc:meta])*
        $root:ident of $aggregate:ty => $payload:ident {$(
            $(#[$doc:meta])*
            $name:ident($input:ident => $payload_name:literal) $(for $role:ident)? {
                $( $(#[$field_doc:meta])* $field:ident: $value:ty ),* $(,)?
            } |$given:ident, $form:ident| $order:block
        )+}
    ) => {
        $(
            $(#[$doc])*
            #[derive(async_graphql::InputObject)]
            pub(crate) struct $input {
                $( $(#[$field_doc])* $field: $value, )*
                #[graphql(flatten)]
                asked: $crate::graphql::mutation::input::Asked,
            }

            impl $crate::graphql::mutation::catalogue::MutationInput for $input {
                const PAYLOAD: &'static str = $payload_name;
                const FIELDS: &'static [&'static str] = &[$( stringify!($field) ),*];
            }

            impl $crate::graphql::mutation::catalogue::Mutation for $input {
                type Aggregate = $aggregate;

                fn asked(&self) -> &$crate::graphql::mutation::input::Asked {
                    &self.asked
                }

                async fn order(
                    self,
                    $form: &mut $crate::graphql::mutation::form::Form<'_>,
                ) -> Result<
                    Option<$crate::graphql::mutation::run::Order<$aggregate>>,
                    $crate::graphql::Fault,
                > {
                    let $given = self;
                    $order
                }
            }
        )+

        $(#[$root_doc])*
        #[derive(Default)]
        pub(crate) struct $root;

        #[async_graphql::Object]
        impl $root {$(
            $(#[$doc])*
            async fn $name(
                &self,
                ctx: &async_graphql::Context<'_>,
                input: $input,
            ) -> async_graphql::Result<$payload<$input>> {
                let role = $crate::graphql::mutation::catalogue::role!($($role)?);
                $crate::graphql::mutation::run::run(ctx, role, input).await.map($payload::new)
            }
        )+}
    };
}

/// The role that a mutation needs.
macro_rules! role {
    () => {
        $crate::http::Role::Writer
    };
    ($role:ident) => {
        $crate::http::Role::$role
    };
}

pub(crate) use {mutations, role};
