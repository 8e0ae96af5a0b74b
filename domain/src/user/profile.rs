//! Who someone is: registering, proving, changing, suspending, closing.

use chrono::{DateTime, Utc};

use super::command::{
    ChangePreferences, CloseAccount, IdentityOutcome, Origin, RegisterUser, SuspendUser,
    UpdateProfile, VerifyEmail, VerifyIdentity, VerifyPhone,
};
use super::decide::Decision;
use super::event::{
    AccountClosed, EmailVerified, IdentityVerificationFailed, IdentityVerified, PhoneVerified,
    PreferencesChanged, ProfileUpdated, UserRegistered, UserReinstated, UserSuspended,
};
use super::refusal::{Faults, UserRefused};
use super::state::{Account, Contact, Standing, User};
use super::text;
use super::value::Change;
use crate::Personal;

impl User {
    pub(super) fn register(&self, command: RegisterUser, now: DateTime<Utc>) -> Decision {
        match self {
            Self::Unregistered => {}
            Self::Registered(_) => return Err(UserRefused::AlreadyRegistered),
            Self::Shredded(_) | Self::Erased(_) => return Err(UserRefused::UserErased),
        }
        let RegisterUser { user, origin, display_name, email, phone } = command;
        let mut faults = Faults::default();
        let source = match origin {
            Origin::Client if email.is_none() => Some(Err(UserRefused::EmailMissing)),
            Origin::Client => None,
            Origin::Feed(source) => Some(text::source(&source)),
        };
        let source = source.map(|source| faults.check(source));
        let display_name = display_name.map(|name| faults.check(display_name_line(&name)));
        let email = email.map(|email| faults.check(text::normalize_email(&email)));
        let phone = phone.map(|phone| faults.check(text::normalize_phone(&phone)));
        faults.finish()?;
        let personal = |value| Personal::new(user.into(), value);
        let event = UserRegistered {
            user,
            display_name: display_name.transpose()?.map(personal),
            email: email.transpose()?.map(personal),
            phone: phone.transpose()?.map(personal),
            source: source.transpose()?,
            registered_at: now,
        };
        Ok(Some(event.into()))
    }
}

impl Account {
    pub(super) fn verify_email(&self, command: &VerifyEmail) -> Decision {
        let verified = text::normalize_email(&command.email)?;
        let email = current(&self.email, &verified).ok_or(UserRefused::EmailNotCurrent)?;
        Ok((!email.verified).then(|| EmailVerified {}.into()))
    }

    pub(super) fn verify_phone(&self, command: &VerifyPhone) -> Decision {
        let verified = text::normalize_phone(&command.phone)?;
        let phone = current(&self.phone, &verified).ok_or(UserRefused::PhoneNotCurrent)?;
        Ok((!phone.verified).then(|| PhoneVerified {}.into()))
    }

    pub(super) fn verify_identity(&self, command: &VerifyIdentity, now: DateTime<Utc>) -> Decision {
        let method = command.method;
        match command.outcome {
            IdentityOutcome::Verified { expires_at: Some(expiry) } if expiry <= now => {
                Err(UserRefused::IdentityExpired)
            }
            IdentityOutcome::Verified { expires_at } => {
                let verified = IdentityVerified { method, expires_at };
                Ok((self.identity.as_ref() != Some(&verified)).then(|| verified.into()))
            }
            IdentityOutcome::Failed { reason } => {
                Ok(Some(IdentityVerificationFailed { method, reason }.into()))
            }
        }
    }

    pub(super) fn update_profile(&self, command: UpdateProfile) -> Decision {
        let UpdateProfile { display_name, email, phone } = command;
        let email_of = |contact: &Option<Contact>| contact.as_ref().map(|c| c.value.clone());
        let old_email = email_of(&self.email);
        let old_phone = email_of(&self.phone);
        let mut faults = Faults::default();
        let mut read = |old, change, parse: fn(&str) -> Result<String, UserRefused>| {
            faults.check(self.changed(old, change, parse))
        };
        let display_name = read(self.display_name.as_ref(), display_name, display_name_line);
        let email = read(old_email.as_ref(), email, text::normalize_email);
        let phone = read(old_phone.as_ref(), phone, text::normalize_phone);
        if email == Ok(Change::Clear) && self.source.is_none() {
            faults.note(UserRefused::EmailMissing);
        }
        faults.finish()?;
        let (display_name, email, phone) = (display_name?, email?, phone?);
        if display_name.is_keep() && email.is_keep() && phone.is_keep() {
            return Ok(None);
        }
        let released_email = if email.is_keep() { None } else { old_email };
        Ok(Some(ProfileUpdated { display_name, email, released_email, phone }.into()))
    }

    pub(super) fn change_preferences(&self, command: ChangePreferences) -> Decision {
        let ChangePreferences { language, currency, units, channels } = command;
        let language = language.as_deref().map(text::language).transpose()?;
        let kept = &self.preferences;
        let changes = PreferencesChanged {
            language: language.filter(|new| kept.language.as_ref() != Some(new)),
            currency: currency.filter(|new| kept.currency != Some(*new)),
            units: units.filter(|new| kept.units != Some(*new)),
            channels: channels.filter(|new| kept.channels.as_ref() != Some(new)),
        };
        Ok((changes != PreferencesChanged::default()).then(|| changes.into()))
    }

    pub(super) fn suspend(&self, command: &SuspendUser) -> Decision {
        let reason = self.personal(text::reason(&command.reason)?);
        match self.standing {
            Standing::Suspended => Ok(None),
            Standing::Active | Standing::Closed => Ok(Some(UserSuspended { reason }.into())),
        }
    }

    pub(super) fn reinstate(&self) -> Decision {
        Ok((self.standing == Standing::Suspended).then(|| UserReinstated {}.into()))
    }

    pub(super) fn close(&self, command: &CloseAccount) -> Decision {
        let reason = command.reason.as_deref().map(text::reason).transpose()?;
        match self.standing {
            Standing::Closed => Ok(None),
            Standing::Active | Standing::Suspended => {
                let reason = reason.map(|reason| self.personal(reason));
                let released_email = self.email.as_ref().map(|email| email.value.clone());
                Ok(Some(AccountClosed { reason, released_email }.into()))
            }
        }
    }

    /// Marks a value as being about the account's user.
    pub(super) fn personal(&self, value: String) -> Personal<String> {
        Personal::new(self.user.into(), value)
    }

    /// What is left of a requested change once it is parsed and compared with what is there.
    fn changed(
        &self,
        old: Option<&Personal<String>>,
        change: Change<String>,
        parse: impl FnOnce(&str) -> Result<String, UserRefused>,
    ) -> Result<Change<Personal<String>>, UserRefused> {
        match change {
            Change::Keep => Ok(Change::Keep),
            Change::Clear if old.is_none() => Ok(Change::Keep),
            Change::Clear => Ok(Change::Clear),
            Change::Set(new) => {
                let new = parse(&new)?;
                let unchanged = old.and_then(Personal::known) == Some(&new);
                Ok(if unchanged { Change::Keep } else { Change::Set(self.personal(new)) })
            }
        }
    }
}

fn display_name_line(text: &str) -> Result<String, UserRefused> {
    text::line(text, 200).ok_or(UserRefused::DisplayNameInvalid)
}

fn current<'a>(contact: &'a Option<Contact>, value: &String) -> Option<&'a Contact> {
    contact.as_ref().filter(|contact| contact.value.known() == Some(value))
}
