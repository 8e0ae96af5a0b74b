//! Commands about a person's rights to their data.

use async_graphql::ID;
use chrono::{DateTime, Utc};
use freehold_domain::user::{
    CancelErasure, CompleteErasure, GrantConsent, PlaceLegalHold, RecordKeyShredded,
    ReleaseLegalHold, RequestDataExport, RequestErasure, User, WithdrawConsent,
};
use freehold_domain::{LeaseId, LegalHoldId};

use super::catalogue::mutations;
use super::enums::ExportFormat;
use super::payload::UserPayload;
use super::run::Order;
use crate::graphql::objects::enums::{ConsentMethod, ConsentPurpose};

mutations! {
    /// Commands about a person's rights to their data.
    PrivacyMutations of User => UserPayload {
        /// Records that the user agreed to one purpose.
        consent_grant(ConsentGrantInput => "ConsentGrantPayload") {
            /// The user.
            user: ID,
            /// What the data may be used for.
            purpose: ConsentPurpose,
            /// Which version of the privacy notice they were shown.
            notice_version: String,
            /// How the consent was collected.
            method: ConsentMethod,
            /// Whose law applies: ISO 3166-1 or 3166-2, such as `DE` or `US-CA`.
            jurisdiction: String,
            /// From when the consent no longer counts; null when it lasts until withdrawn.
            expires_at: Option<DateTime<Utc>>,
        } |input, form| {
            let command = GrantConsent {
                purpose: input.purpose.into(),
                notice_version: input.notice_version,
                method: input.method.into(),
                jurisdiction: input.jurisdiction,
                expires_at: input.expires_at,
            };
            Ok(form.user(&input.user).map(|user| Order::new(user.0, command)))
        }

        /// Takes a consent back.
        consent_withdraw(ConsentWithdrawInput => "ConsentWithdrawPayload") {
            /// The user.
            user: ID,
            /// What the data may no longer be used for.
            purpose: ConsentPurpose,
        } |input, form| {
            let purpose = input.purpose.into();
            Ok(form.user(&input.user).map(|user| Order::new(user.0, WithdrawConsent { purpose })))
        }

        /// Asks for a copy of the user's data.
        data_export_request(DataExportRequestInput => "DataExportRequestPayload") {
            /// The user.
            user: ID,
            /// In which shape.
            format: ExportFormat,
        } |input, form| {
            let format = input.format.into();
            Ok(form.user(&input.user).map(|user| Order::new(user.0, RequestDataExport { format })))
        }

        /// Asks that the user be forgotten.
        erasure_request(ErasureRequestInput => "ErasureRequestPayload") {
            /// The user.
            user: ID,
            /// The UUID of a lease of the user that has not ended, where there is one.
            live_lease: Option<ID>,
        } |input, form| {
            let lease = input.live_lease;
            let live_lease = lease.and_then(|lease| form.uuid("live_lease", &lease)).map(LeaseId);
            let user = form.user(&input.user);
            Ok(user.map(|user| Order::new(user.0, RequestErasure { live_lease })))
        }

        /// Takes a request to be forgotten back; a closed account stays closed.
        erasure_cancel(ErasureCancelInput => "ErasureCancelPayload") {
            /// The user.
            user: ID,
        } |input, form| {
            Ok(form.user(&input.user).map(|user| Order::new(user.0, CancelErasure {})))
        }

        /// Forbids the erasure of a user for now. The hold's id is in the answer's event.
        legal_hold_place(LegalHoldPlaceInput => "LegalHoldPlacePayload") {
            /// The user.
            user: ID,
            /// A UUID for the hold, to release it by; a new one where absent.
            hold: Option<ID>,
            /// Why, in the words of whoever places it.
            reason: String,
        } |input, form| {
            let reason = input.reason;
            let hold = match input.hold {
                Some(hold) => form.uuid("hold", &hold),
                None => Some(form.new_id("hold")),
            };
            let asked = form.user(&input.user).zip(hold.map(LegalHoldId));
            Ok(asked.map(|(user, hold)| Order::new(user.0, PlaceLegalHold { hold, reason })))
        }

        /// Ends a legal hold.
        legal_hold_release(LegalHoldReleaseInput => "LegalHoldReleasePayload") {
            /// The user.
            user: ID,
            /// The hold's UUID.
            hold: ID,
        } |input, form| {
            let hold = form.uuid("hold", &input.hold).map(LegalHoldId);
            let asked = form.user(&input.user).zip(hold);
            Ok(asked.map(|(user, hold)| Order::new(user.0, ReleaseLegalHold { hold })))
        }

        /// Records that the user's data key is gone. `userErase` does this and destroys the key.
        user_key_shredded_record(
            UserKeyShreddedRecordInput => "UserKeyShreddedRecordPayload"
        ) for Operator {
            /// The user.
            user: ID,
        } |input, form| {
            Ok(form.user(&input.user).map(|user| Order::new(user.0, RecordKeyShredded {})))
        }

        /// Records that every place confirmed the erasure.
        erasure_complete(ErasureCompleteInput => "ErasureCompletePayload") for Operator {
            /// The user.
            user: ID,
            /// The reference of the certificate that says so.
            certificate: String,
        } |input, form| {
            let certificate = input.certificate;
            let user = form.user(&input.user);
            Ok(user.map(|user| Order::new(user.0, CompleteErasure { certificate })))
        }
    }
}
