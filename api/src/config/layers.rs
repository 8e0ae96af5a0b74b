//! Collects values from every layer, remembers where each came from, and says what is wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use toml::{Table, Value};

use super::keys::UNUSED_NAMES;
use super::{Config, KEYS, Key, Kind, Part, Roles, StoreUrl};

const DEFAULT_FILE: &str = "freehold.toml";
const PREFIX: &str = "FREEHOLD__";

/// Where a process listens that nobody sends requests to, unless told: the first that is free.
const ROLES_LISTEN: std::ops::RangeInclusive<u16> = 8002..=8010;

/// Where values may come from, besides the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file that was named; without one, `freehold.toml` if it exists.
    pub file: Option<PathBuf>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// Flags: the key, the flag as typed, the value.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing set it.
    Default,
    /// A configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A file that holds a secret, and who named it.
    SecretFile(PathBuf, Box<Origin>),
    /// A flag.
    Flag(&'static str),
}

/// One key with its value.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The key.
    pub key: &'static Key,
    /// Its value, unless nothing sets it.
    pub value: Option<Value>,
    /// Where it came from.
    pub origin: Origin,
}

/// A configuration that was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the program uses.
    pub config: Config,
    /// Every key, in the order of the table.
    pub settings: Vec<Setting>,
    /// What was set in vain.
    pub warnings: Vec<String>,
}

/// One thing that is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key that does not exist.
    #[error("{origin} sets {key}, which does not exist{}", hint(.nearest))]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it was found.
        origin: Origin,
        /// The key that looks most like it.
        nearest: Option<&'static str>,
    },
    /// A value of the wrong kind.
    #[error("{origin} sets {key} to {found}; it must be {expected}")]
    WrongValue {
        /// The key.
        key: &'static str,
        /// Where it was found.
        origin: Origin,
        /// The value, unless it is a secret.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// Parts of the product in processes of their own, on a store that only one process can use.
    #[error(
        "{origin} sets roles to {roles}, and the store belongs to one process, which runs \
         everything; leave roles out, or let store.url (DATABASE_URL, --store) name a PostgreSQL \
         database, which processes can share"
    )]
    Apart {
        /// Where it was found.
        origin: Origin,
        /// What this process was to run.
        roles: Roles,
    },
    /// A relay that would do nothing, or messages to be read from nowhere.
    #[error(
        "{origin} sets roles to {roles}, and kafka.bootstrap_servers (KAFKA_BOOTSTRAP_SERVERS) \
         names no cluster for that; set it"
    )]
    NoCluster {
        /// Where it was found.
        origin: Origin,
        /// What this process was to run.
        roles: Roles,
    },
    /// A secret by itself and in a file, which differ.
    #[error("{first} sets {key}, and so does {second}, to something else; remove one of the two")]
    Twice {
        /// The key.
        key: &'static str,
        /// Where one was found.
        first: Origin,
        /// Where the other was found.
        second: Origin,
    },
    /// A file that cannot be read.
    #[error("{origin} cannot be read: {source}")]
    Unreadable {
        /// Which file.
        origin: Origin,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is not TOML.
    #[error("{path} is not valid TOML at line {line}, column {column}: {what}", path = .path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// Where in the line, in characters from 1.
        column: usize,
        /// What is wrong, without what stands there: it may be a password.
        what: String,
    },
}

/// Everything that is wrong with the configuration.
#[derive(Debug)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl Sources {
    /// The environment of this process, with a file and flags from its command line.
    pub fn of_process(
        file: Option<PathBuf>,
        flags: Vec<(&'static str, &'static str, String)>,
    ) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { file, environment, flags }
    }

    /// Reads every layer and checks it; reports everything that is wrong at once.
    pub fn load(&self) -> Result<Loaded, ConfigErrors> {
        let mut layers = Layers::default();
        self.read_file(&mut layers);
        self.read_environment(&mut layers);
        for (key, flag, text) in &self.flags {
            layers.set_text(known(key), text, Origin::Flag(flag));
        }
        layers.finish()
    }

    fn read_file(&self, layers: &mut Layers) {
        let path = self.file.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if self.file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                return;
            }
            Err(source) => {
                layers.errors.push(ConfigError::Unreadable { origin: Origin::File(path), source });
                return;
            }
        };
        match toml::from_str::<Table>(&text) {
            Ok(table) => layers.set_table("", table, &Origin::File(path)),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                let before = text.get(..at).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                let column = before.chars().rev().take_while(|sign| *sign != '\n').count() + 1;
                let what = error.message().to_owned();
                layers.errors.push(ConfigError::Malformed { path, line, column, what });
            }
        }
    }

    /// The plain names first: a name that was made for this program wins over one that was not.
    fn read_environment(&self, layers: &mut Layers) {
        for (name, value) in &self.environment {
            let origin = Origin::Environment(name.clone());
            if let Some(key) = KEYS.iter().find(|key| key.also.contains(&name.as_str())) {
                layers.set_text(key, value, origin);
            } else if UNUSED_NAMES.contains(&name.as_str()) {
                layers.warnings.push(format!("{name} is set; this release has no use for it"));
            }
        }
        for (name, value) in &self.environment {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            let key = rest.replace("__", ".").to_lowercase();
            layers.set_named(&key, Value::String(value.clone()), Origin::Environment(name.clone()));
        }
    }
}

impl Origin {
    /// Whether nobody can say which of two values is meant, one of them in a file: they come from
    /// the same place. Of master keys it is never said: with the wrong one nothing can be read.
    fn contradicts(&self, other: &Self, key: &Key) -> bool {
        let (named_by, other) = match (self, other) {
            (Self::SecretFile(_, by), other) | (other, Self::SecretFile(_, by)) => (&**by, other),
            _ => return false,
        };
        let same_place = match (named_by, other) {
            (Self::File(_), Self::File(_)) => true,
            // A plain name gives way to one that was made for this program.
            (Self::Environment(_), Self::Environment(name)) => name.starts_with(PREFIX),
            _ => false,
        };
        same_place || key.kind.is_secret()
    }
}

#[derive(Default)]
struct Layers {
    values: BTreeMap<&'static str, (Value, Origin)>,
    warnings: Vec<String>,
    errors: Vec<ConfigError>,
}

impl Layers {
    fn set_table(&mut self, prefix: &str, table: Table, origin: &Origin) {
        for (name, value) in table {
            let key = format!("{prefix}{name}");
            match value {
                Value::Table(inner) if find(&key).is_none() => {
                    self.set_table(&format!("{key}."), inner, origin);
                }
                value => self.set_named(&key, value, origin.clone()),
            }
        }
    }

    /// Sets a key that somebody wrote, which may be misspelled or name a secret's file.
    fn set_named(&mut self, name: &str, value: Value, origin: Origin) {
        if let Some(key) = find(name) {
            match (&value, &origin) {
                (Value::String(text), Origin::Environment(_)) => self.set_text(key, text, origin),
                _ => self.set(key, value, origin),
            }
            return;
        }
        let secret = name.strip_suffix("_file").and_then(find);
        let secret = secret.filter(|key| key.kind.may_hold_secret());
        match (secret, value) {
            (Some(key), Value::String(path)) => {
                let path = PathBuf::from(path);
                let read = std::fs::read_to_string(&path);
                let origin = Origin::SecretFile(path, Box::new(origin));
                match read {
                    Ok(text) => self.set_text(key, text.trim(), origin),
                    Err(source) => self.errors.push(ConfigError::Unreadable { origin, source }),
                }
            }
            _ => self.errors.push(ConfigError::UnknownKey {
                key: name.to_owned(),
                origin,
                nearest: nearest(name),
            }),
        }
    }

    fn set_text(&mut self, key: &'static Key, text: &str, origin: Origin) {
        match key.kind.read(text) {
            Some(value) => self.set(key, value, origin),
            None => self.refuse(key, &Value::String(text.to_owned()), origin),
        }
    }

    fn set(&mut self, key: &'static Key, value: Value, origin: Origin) {
        if let Some((before, first)) = self.values.get(key.name)
            && *before != value
            && first.contradicts(&origin, key)
        {
            let (first, second) = (first.clone(), origin);
            self.errors.push(ConfigError::Twice { key: key.name, first, second });
        } else if key.kind.admits(&value) {
            self.values.insert(key.name, (value, origin));
        } else {
            self.refuse(key, &value, origin);
        }
    }

    fn refuse(&mut self, key: &'static Key, value: &Value, origin: Origin) {
        let found = match value {
            _ if key.kind.is_secret() => "***".to_owned(),
            Value::String(text) => Value::String(without_password(text)).to_string(),
            value => without_password(&value.to_string()),
        };
        let why = key.kind.why_not(value).map(|why| format!(": {why}")).unwrap_or_default();
        let expected = format!("{}{why}", key.kind.expected());
        self.errors.push(ConfigError::WrongValue { key: key.name, origin, found, expected });
    }

    fn finish(mut self) -> Result<Loaded, ConfigErrors> {
        if !self.errors.is_empty() {
            return Err(ConfigErrors(self.errors));
        }
        let mut tree = Table::new();
        let mut settings = Vec::with_capacity(KEYS.len());
        for key in KEYS {
            let (value, origin) = match self.values.remove(key.name) {
                Some((value, origin)) => (Some(value), origin),
                None => (key.default.and_then(|text| key.kind.read(text)), Origin::Default),
            };
            if let Some(value) = value.clone() {
                put(&mut tree, key.name, value);
            }
            settings.push(Setting { key, value, origin });
        }
        let mut config: Config =
            tree.try_into().expect("every value was checked against the table of keys");
        let origin_of = |name| {
            let named = settings.iter().find(|setting: &&Setting| setting.key.name == name);
            named.map_or(Origin::Default, |setting| setting.origin.clone())
        };
        if config.roles.need_cluster() && config.kafka.bootstrap_servers.is_none() {
            let origin = origin_of("roles");
            let roles = config.roles;
            return Err(ConfigErrors(vec![ConfigError::NoCluster { origin, roles }]));
        }
        if !config.roles.has(Part::Api) && origin_of("http.listen") == Origin::Default {
            config.http.listen.set_port(*ROLES_LISTEN.start());
            config.http.further_ports = ROLES_LISTEN.end() - ROLES_LISTEN.start();
        }
        if !matches!(config.store.url, StoreUrl::Postgres(_)) {
            if ![Part::Api, Part::Projections].iter().all(|part| config.roles.has(*part)) {
                let origin = origin_of("roles");
                return Err(ConfigErrors(vec![ConfigError::Apart { origin, roles: config.roles }]));
            }
            let of_store = |key: &Key| key.kind == Kind::Postgres && key.name.starts_with("store.");
            let unused = settings.iter().filter(|setting| of_store(setting.key));
            for Setting { key, origin, .. } in unused.filter(|setting| setting.value.is_some()) {
                let key = key.name;
                self.warnings.push(format!("{origin} sets {key}, which PostgreSQL alone uses"));
            }
        }
        Ok(Loaded { config, settings, warnings: self.warnings })
    }
}

impl Setting {
    /// The value as it may be printed.
    pub fn printable(&self) -> String {
        match &self.value {
            None => String::new(),
            Some(_) if self.key.kind.is_secret() => "***".to_owned(),
            Some(Value::String(text)) => without_password(text),
            Some(Value::Array(tables)) => {
                let names = tables.iter().filter_map(|table| {
                    let said = table.get("role").or_else(|| table.get("on_failure"))?;
                    Some(format!("{} ({})", table.get("name")?.as_str()?, said.as_str()?))
                });
                names.collect::<Vec<_>>().join(", ")
            }
            Some(value) => value.to_string(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => path.display().fmt(f),
            Self::Environment(name) => f.write_str(name),
            Self::SecretFile(path, by) => write!(f, "{} (named by {by})", path.display()),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

fn known(name: &str) -> &'static Key {
    find(name).expect("flags name keys of the table")
}

/// The key that is most like a name, as a whole or in its last part: a right name is as often put
/// into the wrong table as it is misspelled. Of keys alike in that, the one that is more so as a
/// whole.
fn nearest(name: &str) -> Option<&'static str> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |key: &Key| {
        let whole = strsim::jaro_winkler(key.name, name);
        (whole.max(strsim::jaro_winkler(&last(key.name), &last(name))), whole)
    };
    KEYS.iter()
        .map(|key| (likeness(key), key.name))
        .filter(|((likeness, _), _)| *likeness > 0.85)
        .max_by(|((a, whole_a), _), ((b, whole_b), _)| {
            a.total_cmp(b).then(whole_a.total_cmp(whole_b))
        })
        .map(|(_, name)| name)
}

fn hint(nearest: &Option<&'static str>) -> String {
    match nearest {
        Some(name) => format!("; did you mean {name}?"),
        None => "; `freehold config show` lists every key".to_owned(),
    }
}

fn put(tree: &mut Table, name: &str, value: Value) {
    match name.split_once('.') {
        None => {
            tree.insert(name.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = tree.entry(first).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

/// A text without what an address in it tells of who logs in.
pub(crate) fn without_password(text: &str) -> String {
    let text = match text.split_once('?') {
        Some((place, parameters)) => {
            let shown: Vec<String> = parameters.split('&').map(without_secret).collect();
            format!("{place}?{}", shown.join("&"))
        }
        None => text.to_owned(),
    };
    // Of what is left the last one: a password may hold every sign, `?` too.
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 < at => {
            format!("{}***{}", &text[..scheme + 3], &text[at..])
        }
        // One whose scheme was left out; the names of folders may have both signs.
        (None, Some(at)) if text[..at].contains(':') && !text.starts_with("sqlite:") => {
            format!("***{}", &text[at..])
        }
        _ => text,
    }
}

/// A parameter without its value if that may be a password: a name with escapes may mean any.
fn without_secret(parameter: &str) -> String {
    match parameter.split_once('=') {
        Some((name, _))
            if name.contains('%') || name.to_ascii_lowercase().ends_with("password") =>
        {
            format!("{name}=***")
        }
        _ => parameter.to_owned(),
    }
}
