use std::path::Path;

use super::*;

fn environment(variables: &[(&str, &str)]) -> Sources {
    Sources {
        environment: variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        ..Sources::default()
    }
}

fn with_file(text: &str) -> (tempfile::TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my.toml");
    std::fs::write(&path, text).unwrap();
    (folder, Sources { file: Some(path), ..Sources::default() })
}

fn origin(loaded: &Loaded, key: &str) -> String {
    loaded.settings.iter().find(|setting| setting.key.name == key).unwrap().origin.to_string()
}

#[test]
fn every_default_is_of_its_kind_and_every_key_has_a_field() {
    let loaded = Sources::default().load().unwrap();
    assert_eq!(loaded.config.http.listen.to_string(), "127.0.0.1:8001");
    for key in KEYS {
        let needs_default = !matches!(
            key.kind,
            Kind::MasterKey
                | Kind::Tokens
                | Kind::Postgres
                | Kind::Brokers
                | Kind::TopicPrefix
                | Kind::Subscriptions
        );
        assert_eq!(key.default.is_some(), needs_default, "{}", key.name);
        if let Some(text) = key.default {
            assert!(key.kind.read(text).is_some(), "{}", key.name);
        }
    }
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_defaults() {
    let (_folder, mut sources) = with_file(
        "[http]\nlisten = '127.0.0.1:1'\nmax_connections = 5\n[store]\npool_size = 2\nurl = 'x'",
    );
    sources.environment.insert("FREEHOLD__HTTP__LISTEN".into(), "127.0.0.1:2".into());
    sources.environment.insert("FREEHOLD__STORE__POOL_SIZE".into(), "3".into());
    sources.flags.push(("http.listen", "--listen", "127.0.0.1:3".into()));

    let loaded = sources.load().unwrap();

    assert_eq!(loaded.config.http.listen.port(), 3);
    assert_eq!(loaded.config.store.pool_size, 3);
    assert_eq!(loaded.config.http.max_connections, 5);
    assert_eq!(origin(&loaded, "http.listen"), "--listen");
    assert_eq!(origin(&loaded, "store.pool_size"), "FREEHOLD__STORE__POOL_SIZE");
    assert!(origin(&loaded, "http.max_connections").ends_with("my.toml"));
    assert_eq!(origin(&loaded, "log.level"), "default");
}

#[test]
fn a_process_that_nobody_sends_requests_to_takes_a_port_that_is_free_unless_told_which() {
    let ports = |settings: &[(&str, &str)]| {
        let database = ("DATABASE_URL", "postgres://ann@db/flats");
        let config = environment(&[&[database], settings].concat()).load().unwrap().config;
        config.http.addresses().iter().map(|address| address.port()).collect::<Vec<_>>()
    };
    let alone = ("FREEHOLD__ROLES", " projections ");
    assert_eq!(ports(&[]), [8001]);
    assert_eq!(ports(&[("FREEHOLD__ROLES", "api")]), [8001]);
    assert_eq!(ports(&[alone]), (8002..=8010).collect::<Vec<_>>());
    assert_eq!(ports(&[alone, ("FREEHOLD__HTTP__LISTEN", "127.0.0.1:8001")]), [8001]);
}

#[test]
fn a_file_that_is_no_toml_is_told_of_by_its_place_and_not_by_what_stands_there() {
    for (line, place) in [
        ("url = 'postgres://ann:hunter2@db/flats", "line 2, column "),
        ("url = postgres://ann:hunter2@db/flats", "line 2, column 7"),
        ("url = \"postgres://ann:hunter2\\@db/flats\"", "line 2, column "),
        ("other = 1\nhunter2 = 1\nhunter2 = 2", "line 4, column 1"),
    ] {
        let (_folder, sources) = with_file(&format!("[store]\n{line}\n"));
        let said = sources.load().unwrap_err().to_string();
        assert!(said.contains(place) && said.contains("my.toml"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn plain_names_are_understood_and_give_way_to_our_own() {
    let loaded = environment(&[
        ("DATABASE_URL", "sqlite:/var/lib/freehold"),
        ("DATABASE_POOL_SIZE", "9"),
        ("FREEHOLD__STORE__POOL_SIZE", "2"),
    ]);
    let loaded = loaded.load().unwrap();
    assert_eq!(loaded.config.store.url, StoreUrl::Sqlite("/var/lib/freehold".into()));
    assert_eq!(loaded.config.store.pool_size, 2);
}

#[test]
fn brokers_and_prefixes_are_checked_before_anything_is_published() {
    let set = |name: &str, text: &str| environment(&[(name, text)]).load();
    for brokers in ["k:9092", "one.example:9092,[::1]:9093", "10.0.0.1:1, 10.0.0.2:2"] {
        let loaded = set("KAFKA_BOOTSTRAP_SERVERS", brokers).unwrap();
        assert_eq!(loaded.config.kafka.bootstrap_servers.as_deref(), Some(brokers));
    }
    for wrong in ["k", "k:", ":9092", "k:9092,", "k:99999", "kafka://k:9092", ""] {
        assert!(set("KAFKA_BOOTSTRAP_SERVERS", wrong).is_err(), "{wrong}");
    }
    assert!(set("FREEHOLD__KAFKA__TOPIC_PREFIX", "test.eu-1_").is_ok());
    for wrong in ["a b", "a/", "", &"x".repeat(41)] {
        assert!(set("FREEHOLD__KAFKA__TOPIC_PREFIX", wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_name_without_use_in_this_release_is_a_warning() {
    let loaded = environment(&[("PULSAR_SERVICE_URL", "pulsar://p:6650")]).load().unwrap();
    assert_eq!(loaded.warnings, ["PULSAR_SERVICE_URL is set; this release has no use for it"]);
}

#[test]
fn everything_wrong_is_said_at_once_with_origin_and_nearest_match() {
    let (_folder, mut sources) = with_file("[http]\nlissen = 'x'\nmax_connections = 'many'");
    sources.environment.insert("FREEHOLD__STORE__POOL_SIZE".into(), "0".into());
    sources.environment.insert("DATABASE_URL".into(), "mysql://db/freehold".into());

    let said = sources.load().unwrap_err().to_string();

    let file = sources.file.unwrap().display().to_string();
    for line in [
        format!("{file} sets http.lissen, which does not exist; did you mean http.listen?"),
        format!("{file} sets http.max_connections to \"many\"; it must be a whole number from 1"),
        "FREEHOLD__STORE__POOL_SIZE sets store.pool_size to \"0\"; it must be a whole number from 1"
            .to_owned(),
        "DATABASE_URL sets store.url to \"mysql://db/freehold\"; it must be a folder, \
         sqlite:<folder>, postgres://user@host:port/database or memory: (the stores of this \
         release)"
            .to_owned(),
    ] {
        assert!(said.contains(&line), "{line}\nis not in\n{said}");
    }
}

#[test]
fn the_nearest_key_is_found_by_its_last_part_too() {
    for (variable, key) in [
        ("FREEHOLD__HTTP__LISSEN", Some("http.listen")),
        ("FREEHOLD__LISTEN", Some("http.listen")),
        ("FREEHOLD__SERVER__MAX_CONNECTIONS", Some("http.max_connections")),
        ("FREEHOLD__HTPP__MAX_BODY_BYTES", Some("http.max_body_bytes")),
        ("FREEHOLD__INGEST__MAX_BODY_BYTE", Some("ingest.max_body_bytes")),
        ("FREEHOLD__GRAPHQL__QUEUE_MAX_REQUEST", Some("store.queue_max_requests")),
        ("FREEHOLD__FROBNICATE", None),
    ] {
        let said = environment(&[(variable, "1")]).load().unwrap_err().to_string();
        let hint = key.map(|key| format!("; did you mean {key}?"));
        let hint = hint.unwrap_or("; `freehold config show` lists every key".to_owned());
        assert!(said.ends_with(&hint), "{variable}: {said}");
    }
}

#[test]
fn a_password_in_an_address_is_not_repeated() {
    let sources = environment(&[("DATABASE_URL", "mysql://ann:hunter2@db/freehold")]);
    let said = sources.load().unwrap_err().to_string();
    assert!(said.contains("mysql://***@db/freehold"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    let sources = environment(&[("DATABASE_URL", "mysql://db/f?password=a\"hunter2")]);
    let said = sources.load().unwrap_err().to_string();
    assert!(said.contains("mysql://db/f?password=***") && !said.contains("hunter2"), "{said}");

    for (address, printed) in [
        ("postgres://ann:hunter2@db:1/f?sslmode=require", "postgres://***@db:1/f?sslmode=require"),
        ("postgresql://ann:hunter2@db/f", "postgresql://***@db/f"),
        ("postgres://db/f?password=hunter2&port=1", "postgres://db/f?password=***&port=1"),
        ("postgres:///f?host=/run&password=hunter2", "postgres:///f?host=/run&password=***"),
        ("postgres://db/f?password=hunter2@ter", "postgres://db/f?password=***"),
        ("postgres://a:b@db/f?password=c@hunter2", "postgres://***@db/f?password=***"),
        (
            "postgres://db/f?password=a&password=hunter2",
            "postgres://db/f?password=***&password=***",
        ),
        ("postgres://db/f?password=a\"hunter2", "postgres://db/f?password=***"),
    ] {
        let sources = environment(&[
            ("DATABASE_URL", address),
            ("DATABASE_READ_URL", address),
            ("FREEHOLD__STORE__KEYS_URL", address),
        ]);
        let loaded = sources.load().unwrap();
        let shown: Vec<String> = loaded.settings.iter().map(Setting::printable).collect();
        assert_eq!(shown.iter().filter(|value| *value == printed).count(), 3, "{shown:?}");
        let config = format!("{:?} {shown:?}", loaded.config);
        assert!(!config.contains("hunter2"), "{config}");
    }
}

#[test]
fn an_address_that_no_driver_takes_is_refused_without_its_password() {
    for (address, advice) in [
        ("postgres://ann:hun/t@r?hunter2@db/f", "%2F for /"),
        ("postgres://ann:hunter2/x@db/f", "%2F for /"),
        ("postgres://ann:hunter2@db:port/f", "invalid port number"),
        ("postgres://db/f?sslmod=verify-full", "no parameter sslmod"),
        ("postgres://db/f?%70assword=hunter2", "no parameter like the one there"),
    ] {
        for name in ["DATABASE_URL", "DATABASE_READ_URL"] {
            let said = environment(&[(name, address)]).load().unwrap_err().to_string();
            assert!(said.contains(advice) && said.contains(name), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}

#[test]
fn an_address_without_its_scheme_is_no_folder() {
    for address in [
        "u:hunter2@h/d",
        "user:hunter2@h.example.org:5432/d",
        "u.v:hunter2@h/d",
        "u@h/d",
        "./u:hunter2@h/d",
        "postgres:u:hunter2@h/d",
        "db.example.org:5432/d",
    ] {
        let loaded = environment(&[("DATABASE_URL", address)]).load();
        let said = loaded.err().unwrap_or_else(|| panic!("{address}")).to_string();
        assert!(said.contains("postgres://"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    for folder in ["data", "./a:b", "/var/lib/f", "sqlite:./a@b", "C:\\data", "C:/data", "a.b"] {
        let loaded = environment(&[("DATABASE_URL", folder)]).load().unwrap();
        assert!(matches!(loaded.config.store.url, StoreUrl::Sqlite(_)), "{folder}");
    }
}

#[test]
fn a_secret_by_itself_and_in_a_file_is_refused_unless_they_are_one() {
    let (ours, other) = ("5a".repeat(32), "a5".repeat(32));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, format!("{ours}\n")).unwrap();
    let path = path.to_str().unwrap();
    let (_file, mut sources) = with_file(&format!("[vault]\nmaster_key_file = '{path}'"));
    for layer in [Sources::default(), sources.clone()] {
        let set = |key: &str| {
            let mut layer = layer.clone();
            if layer.file.is_none() {
                layer.environment.insert("FREEHOLD__VAULT__MASTER_KEY_FILE".into(), path.into());
            }
            layer.environment.insert("FREEHOLD__VAULT__MASTER_KEY".into(), key.into());
            layer.load()
        };
        let said = set(&other).unwrap_err().to_string();
        let named = said.replace("FREEHOLD__VAULT__MASTER_KEY_FILE", "");
        assert!(named.contains("FREEHOLD__VAULT__MASTER_KEY") && said.contains(path), "{said}");
        assert!(!said.contains(&other) && !said.contains(&ours), "{said}");
        set(&ours).unwrap();
    }
    // Another store for one command, whatever the file says.
    std::fs::write(path, "postgres://db/f").unwrap();
    sources = environment(&[("FREEHOLD__STORE__URL_FILE", path), ("DATABASE_URL", "elsewhere")]);
    assert!(matches!(sources.load().unwrap().config.store.url, StoreUrl::Postgres(_)));
    sources.flags.push(("store.url", "--store", "here".into()));
    assert!(matches!(sources.load().unwrap().config.store.url, StoreUrl::Sqlite(_)));
    sources.environment.insert("FREEHOLD__STORE__URL".into(), "there".into());
    assert!(sources.load().unwrap_err().to_string().contains("remove one of the two"));
}

#[test]
fn an_address_with_a_password_comes_from_a_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("url");
    std::fs::write(&path, "postgres://ann:hunter2@db/freehold\n").unwrap();
    let sources = environment(&[("FREEHOLD__STORE__URL_FILE", path.to_str().unwrap())]);
    let loaded = sources.load().unwrap();
    let StoreUrl::Postgres(url) = &loaded.config.store.url else { panic!("{loaded:?}") };
    assert_eq!(url.as_str(), "postgres://ann:hunter2@db/freehold");
    assert!(origin(&loaded, "store.url").contains("named by FREEHOLD__STORE__URL_FILE"));
}

#[test]
fn what_only_postgresql_uses_is_a_warning_without_it() {
    let read = [("DATABASE_READ_URL", "postgres://replica/f")];
    let warned = environment(&read).load().unwrap().warnings;
    assert_eq!(warned, ["DATABASE_READ_URL sets store.read_url, which PostgreSQL alone uses"]);
    let with_store = [read[0], ("DATABASE_URL", "postgres://db/f")];
    assert_eq!(environment(&with_store).load().unwrap().warnings, [""; 0]);
}

#[test]
fn a_store_on_postgresql_needs_a_configured_master_key() {
    let url = ("DATABASE_URL", "postgres://db/f");
    let none = MasterKey::obtain(&environment(&[url]).load().unwrap().config);
    assert!(matches!(none, Err(MasterKeyError::NotSet)));
    let key = "5a".repeat(32);
    let config = environment(&[url, ("FREEHOLD__VAULT__MASTER_KEY", &key)]).load().unwrap().config;
    assert_eq!(MasterKey::obtain(&config).unwrap().bytes(), &[0x5a; 32]);
}

#[test]
fn a_named_file_that_is_missing_or_malformed_is_an_error() {
    let missing = Sources { file: Some("/nowhere/f.toml".into()), ..Sources::default() };
    assert!(missing.load().unwrap_err().to_string().contains("/nowhere/f.toml cannot be read"));
    let (_folder, malformed) = with_file("[http\n");
    assert!(malformed.load().unwrap_err().to_string().contains("line 1"));
}

#[test]
fn secrets_come_from_files_too_and_are_never_printed() {
    let key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, format!("{key}\n")).unwrap();

    let sources = environment(&[("FREEHOLD__VAULT__MASTER_KEY_FILE", path.to_str().unwrap())]);
    let loaded = sources.load().unwrap();

    assert_eq!(MasterKey::obtain(&loaded.config).unwrap().bytes()[..3], [0x00, 0x11, 0x22]);
    let setting = loaded.settings.iter().find(|s| s.key.name == "vault.master_key").unwrap();
    assert_eq!(setting.printable(), "***");
    assert!(!format!("{:?}", loaded.config).contains("aabbcc"));

    let wrong = environment(&[("FREEHOLD__VAULT__MASTER_KEY", "hunter2")]).load().unwrap_err();
    assert!(!wrong.to_string().contains("hunter2"), "{wrong}");
}

#[test]
fn tokens_come_as_tables_or_in_one_variable() {
    let hash = "ab".repeat(32);
    let (_folder, sources) =
        with_file(&format!("[[auth.tokens]]\nname = 'ci'\nhash = '{hash}'\nrole = 'writer'\n"));
    assert_eq!(sources.load().unwrap().config.auth.tokens[0].role, Role::Writer);

    let line = format!("[{{ name = 'ci', hash = '{hash}', role = 'reader' }}]");
    let loaded = environment(&[("FREEHOLD__AUTH__TOKENS", &line)]).load().unwrap();
    assert_eq!(loaded.config.auth.tokens[0].role, Role::Reader);

    let (_folder, sources) = with_file("[[auth.tokens]]\nname = 'ci'\nhash = 'x'\nrole = 'admin'");
    assert!(sources.load().unwrap_err().to_string().contains("freehold token create"));
}

#[test]
fn a_subscription_parks_unless_it_is_told_to_stop() {
    let policy = environment(&[]).load().unwrap().config.failure_policy();
    assert_eq!((policy.max_streams, policy.stopping.len()), (1_000, 0));

    let (_folder, sources) = with_file(
        "[dead_letters]\nmax_streams = 7\n[[subscriptions]]\nname = 'market'\non_failure = 'stop'\n\
         [[subscriptions]]\nname = 'listings'\non_failure = 'park'\n",
    );
    let loaded = sources.load().unwrap();
    let policy = loaded.config.failure_policy();
    assert_eq!((policy.max_streams, policy.stopping), (7, ["market".to_owned()].into()));
    let shown = loaded.settings.iter().find(|setting| setting.key.name == "subscriptions");
    assert_eq!(shown.unwrap().printable(), "market (stop), listings (park)");

    let too_many = environment(&[("FREEHOLD__DEAD_LETTERS__MAX_STREAMS", "100001")]).load();
    let said = too_many.unwrap_err().to_string();
    assert!(said.contains("a whole number from 1 to 100000"), "{said}");

    for wrong in [
        "name = 'markets'\non_failure = 'stop'",
        "name = 'market'\non_failure = 'skip'",
        "name = 'market'",
        "name = 'market'\non_failure = 'stop'\n[[subscriptions]]\nname = 'market'\n\
         on_failure = 'park'",
    ] {
        let (_folder, sources) = with_file(&format!("[[subscriptions]]\n{wrong}\n"));
        let said = sources.load().unwrap_err().to_string();
        assert!(said.contains("engagement, accounts") && said.contains("park or stop"), "{said}");
    }
}

#[test]
fn a_key_file_is_made_once_for_its_owner_only_and_never_beside_an_old_log() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let config = config_in(&data);

    let first = MasterKey::obtain(&config).unwrap();
    let again = MasterKey::obtain(&config).unwrap();

    assert_eq!(first.bytes(), again.bytes());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(data.join("master.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    std::fs::write(data.join("log.db"), "").unwrap();
    std::fs::remove_file(data.join("master.key")).unwrap();
    assert!(matches!(MasterKey::obtain(&config), Err(MasterKeyError::Lost { .. })));
}

fn config_in(folder: &Path) -> Config {
    let sources = environment(&[("FREEHOLD__STORE__URL", folder.to_str().unwrap())]);
    sources.load().unwrap().config
}
