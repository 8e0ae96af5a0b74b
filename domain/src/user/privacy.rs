//! A person's rights to their data: consent, export, erasure, and the holds that delay it.
//!
//! An erasure goes forward in one order, each step refused before the one above it:
//! requested, account closed (its e-mail address is released while it can still be read), data key
//! shredded, completed. See `domain/README.md`.

use chrono::{DateTime, Duration, Utc};

use super::command::{
    CompleteErasure, GrantConsent, PlaceLegalHold, ReleaseLegalHold, RequestDataExport,
    RequestErasure, WithdrawConsent,
};
use super::decide::Decision;
use super::event::{
    ConsentGranted, ConsentWithdrawn, DataExportRequested, ErasureCancelled, ErasureRequested,
    LegalHoldPlaced, LegalHoldReleased, SubjectKeyShredded, UserErased,
};
use super::refusal::{ErasureBlock, Faults, UserRefused};
use super::state::{Account, Consent, Standing, User};
use super::text;
use crate::Circumstances;

impl User {
    pub(super) fn record_key_shredded(&self) -> Decision {
        match self {
            // Recording it again is not an error: an interrupted erasure is run again.
            Self::Shredded(_) | Self::Erased(_) => Ok(None),
            Self::Unregistered | Self::Registered(_) => self.account()?.record_key_shredded(),
        }
    }

    pub(super) fn complete_erasure(&self, command: &CompleteErasure) -> Decision {
        let certificate = text::reference(&command.certificate, 200);
        let certificate = certificate.ok_or(UserRefused::CertificateInvalid)?;
        match self {
            Self::Unregistered => Err(UserRefused::NotRegistered),
            Self::Registered(_) => Err(UserRefused::KeyNotShredded),
            Self::Shredded(_) => Ok(Some(UserErased { certificate }.into())),
            Self::Erased(_) => Ok(None),
        }
    }
}

impl Account {
    pub(super) fn grant_consent(&self, command: GrantConsent, now: DateTime<Utc>) -> Decision {
        let GrantConsent { purpose, notice_version, method, jurisdiction, expires_at } = command;
        let notice_version = text::reference(&notice_version, 64);
        let mut faults = Faults::default();
        let notice_version = faults.check(notice_version.ok_or(UserRefused::NoticeVersionInvalid));
        let jurisdiction = faults.check(text::jurisdiction(&jurisdiction));
        if expires_at.is_some_and(|expiry| expiry <= now) {
            faults.note(UserRefused::ConsentExpired);
        }
        faults.finish()?;
        let granted = ConsentGranted {
            purpose,
            notice_version: notice_version?,
            method,
            jurisdiction: jurisdiction?,
            granted_at: now,
            expires_at,
        };
        let unchanged = match self.consents.get(&purpose) {
            Some(Consent::Granted(kept)) => {
                ConsentGranted { granted_at: kept.granted_at, ..granted.clone() } == *kept
            }
            Some(Consent::Withdrawn(_)) | None => false,
        };
        Ok((!unchanged).then(|| granted.into()))
    }

    // An expired consent can be withdrawn too: the person's no is then on record.
    pub(super) fn withdraw_consent(
        &self,
        command: &WithdrawConsent,
        now: DateTime<Utc>,
    ) -> Decision {
        let purpose = command.purpose;
        match self.consents.get(&purpose) {
            Some(Consent::Granted(_)) => {
                Ok(Some(ConsentWithdrawn { purpose, withdrawn_at: now }.into()))
            }
            Some(Consent::Withdrawn(_)) => Ok(None),
            None => Err(UserRefused::ConsentUnknown),
        }
    }

    pub(super) fn request_export(&self, command: &RequestDataExport) -> Decision {
        Ok(Some(DataExportRequested { format: command.format }.into()))
    }

    pub(super) fn request_erasure(
        &self,
        command: &RequestErasure,
        circumstances: &Circumstances,
    ) -> Decision {
        if self.erasure_deadline.is_some() {
            return Ok(None);
        }
        self.refuse_on_hold()?;
        if let Some(lease) = command.live_lease {
            return Err(UserRefused::ErasureBlocked { by: ErasureBlock::LiveLease(lease) });
        }
        let requested_at = circumstances.now;
        let days = Duration::days(i64::from(circumstances.policy.erasure_deadline_days));
        let deadline = requested_at.checked_add_signed(days).unwrap_or(DateTime::<Utc>::MAX_UTC);
        Ok(Some(ErasureRequested { requested_at, deadline }.into()))
    }

    pub(super) fn cancel_erasure(&self) -> Decision {
        Ok(self.erasure_deadline.map(|_| ErasureCancelled {}.into()))
    }

    pub(super) fn place_hold(&self, command: &PlaceLegalHold) -> Decision {
        let reason = self.personal(text::reason(&command.reason)?);
        let hold = command.hold;
        match self.legal_holds.get(&hold) {
            None => Ok(Some(LegalHoldPlaced { hold, reason }.into())),
            Some(kept) if *kept == reason => Ok(None),
            Some(_) => Err(UserRefused::LegalHoldExists),
        }
    }

    pub(super) fn release_hold(&self, command: &ReleaseLegalHold) -> Decision {
        let hold = command.hold;
        match self.legal_holds.get(&hold) {
            Some(_) => Ok(Some(LegalHoldReleased { hold }.into())),
            None => Err(UserRefused::LegalHoldUnknown),
        }
    }

    fn record_key_shredded(&self) -> Decision {
        if self.erasure_deadline.is_none() {
            return Err(UserRefused::ErasureNotRequested);
        }
        self.refuse_on_hold()?;
        match self.standing {
            Standing::Active | Standing::Suspended => Err(UserRefused::AccountNotClosed),
            Standing::Closed => Ok(Some(SubjectKeyShredded { subject: self.user.into() }.into())),
        }
    }

    fn refuse_on_hold(&self) -> Result<(), UserRefused> {
        match self.legal_holds.keys().next() {
            Some(hold) => Err(UserRefused::ErasureBlocked { by: ErasureBlock::LegalHold(*hold) }),
            None => Ok(()),
        }
    }
}
