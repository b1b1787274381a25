use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use thimble_core::deployment::Point;

fn load_both(fallback: Option<&str>, main: Option<&str>) -> Result<(MenderConf, Vec<String>), ConfigError> {
    let home = tempfile::tempdir().unwrap();
    let paths = [home.path().join("fallback.conf"), home.path().join("main.conf")];
    for (path, text) in paths.iter().zip([fallback, main]) {
        if let Some(text) = text {
            fs::write(path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
    let source = |path| Source { path, required: false };
    MenderConf::load(source(&paths[0]), source(&paths[1]))
}

pub(super) fn load(text: &str) -> MenderConf {
    load_both(None, Some(text)).unwrap_or_else(|error| panic!("{error}")).0
}

pub(super) fn error(text: &str) -> String {
    load_both(None, Some(text)).map(|(conf, _)| conf).unwrap_err().to_string()
}

#[test]
fn missing_default_files_give_the_defaults() {
    let (conf, warnings) = load_both(None, None).unwrap();
    assert_eq!(conf, MenderConf::default());
    assert_eq!((conf.core_config(), warnings), (Config::default(), vec![]));
    assert!(conf.dbus_enabled && conf.dbus_proxy && !conf.skip_verify && conf.servers.is_empty());
    assert_eq!(load("{}"), conf);
}

#[test]
fn a_missing_file_of_the_command_line_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let missing = home.path().join("missing");
    for (fallback, main) in [(true, false), (false, true)] {
        let source = |required| Source { path: &missing, required };
        let error = MenderConf::load(source(fallback), source(main)).unwrap_err();
        assert!(error.to_string().contains(missing.to_str().unwrap()), "{error}");
    }
}

#[test]
fn every_documented_key_is_read() {
    let conf = load(
        r#"{"Servers":[{"ServerURL":"https://a.example/"},{"serverurl":"https://b.example:8443/x"}],
        "ServerCertificate":"/cert","SkipVerify":true,"TenantToken":" token\n","DeviceTier":"micro",
        "DeviceTypeFile":"/type","ArtifactVerifyKeys":["/k1","/k2"],"UpdatePollIntervalSeconds":1,
        "InventoryPollIntervalSeconds":2,"RetryPollIntervalSeconds":3,"RetryPollCount":4,"RetryDownloadCount":5,"ResumeDownloads":true,
        "StateScriptTimeoutSeconds":6,"StateScriptRetryIntervalSeconds":7,"StateScriptRetryTimeoutSeconds":8,
        "ModuleTimeoutSeconds":9,"UpdateControlMapExpirationTimeSeconds":10,
        "UpdateControlMapBootExpirationTimeSeconds":11,"UpdateLogPath":"/logs","DaemonLogLevel":"debug",
        "HttpsClient":{"Certificate":"/c","Key":"pkcs11:k","SSLEngine":"e"},
        "Security":{"AuthPrivateKey":"/p","SSLEngine":"f"},"RootfsPartA":"/dev/a","RootfsPartB":"/dev/b","Bootloader":"grub","BootloaderAllowSingle":true,"RootfsVerify":false,
        "DBus":{"Enabled":false,"Proxy":false},"UpdateControl":{
        "Windows":[{"At":["reboot","commit"],"From":"22:00","To":"04:30","Days":["sat","Sun"],"DeadlineSeconds":60,
                    "AtDeadline":"fail"},{"At":["install"],"From":"00:00","To":"24:00"}],
        "Inhibitors":[{"At":["install"],"File":"/run/busy"},{"At":["commit"],"Program":"/bin/x","DeadlineSeconds":5}],
        "Button":{"Chip":"/dev/gpiochip0","Line":17,"ActiveLow":true,"HoldMilliseconds":500},
        "Light":{"Chip":"/dev/gpiochip1","Line":4}},
        "Connectivity":{"DisableKeepAlive":true,"IdleConnTimeoutSeconds":5},
        "BootUtilitiesSetActivePart":"x","Unknown":{"a":[1]}}"#,
    );
    let seconds = Duration::from_secs;
    let expected = MenderConf {
        unknown_keys: Vec::new(),
        servers: vec!["https://a.example".into(), "https://b.example:8443/x".into()],
        unusable_server: None,
        server_certificate: Some("/cert".into()),
        skip_verify: true,
        tenant_token: Some(Secret::new("token".into())),
        device_tier: Some(Tier::Micro),
        device_type_file: Some("/type".into()),
        artifact_verify_keys: vec!["/k1".into(), "/k2".into()],
        update_log_path: Some("/logs".into()),
        daemon_log_level: Some(Level::Debug),
        https_client: Some(HttpsClient {
            certificate: "/c".into(),
            key: Secret::new("pkcs11:k".into()),
            ssl_engine: Some("e".into()),
        }),
        auth_private_key: Some(Secret::new("/p".into())),
        auth_ssl_engine: Some("f".into()),
        rootfs_part_a: Some("/dev/a".into()),
        rootfs_part_b: Some("/dev/b".into()),
        bootloader: bootloader::Choice::Grub,
        bootloader_allow_single: true,
        rootfs_verify: false,
        dbus_enabled: false,
        dbus_proxy: false,
        policies: policy::Settings {
            windows: vec![
                policy::Window {
                    points: policy::Points::default().with(Point::Reboot).with(Point::Commit),
                    from: policy::Minute::parse("22:00").unwrap(),
                    to: policy::Minute::parse("04:30").unwrap(),
                    days: 0b100_0001,
                    deadline: seconds(60),
                    then: policy::AtDeadline::Fail,
                },
                policy::Window {
                    points: policy::Points::default().with(Point::Install),
                    from: policy::Minute::parse("00:00").unwrap(),
                    to: policy::Minute::parse("24:00").unwrap(),
                    days: 0b111_1111,
                    deadline: seconds(604_800),
                    then: policy::AtDeadline::Continue,
                },
            ],
            inhibitors: vec![
                policy::Inhibitor {
                    points: policy::Points::default().with(Point::Install),
                    sign: policy::Sign::File("/run/busy".into()),
                    deadline: seconds(604_800),
                    then: policy::AtDeadline::Continue,
                },
                policy::Inhibitor {
                    points: policy::Points::default().with(Point::Commit),
                    sign: policy::Sign::Program("/bin/x".into()),
                    deadline: seconds(5),
                    then: policy::AtDeadline::Continue,
                },
            ],
        },
        button: Some(Button {
            line: Line { chip: "/dev/gpiochip0".into(), line: 17, active_low: true },
            hold: Duration::from_millis(500),
        }),
        light: Some(Line { chip: "/dev/gpiochip1".into(), line: 4, active_low: false }),
        core: Config {
            update_poll_interval: seconds(1),
            inventory_poll_interval: seconds(2),
            retry_poll_interval: seconds(3),
            retry_poll_count: 4,
            retry_download_count: 5,
            resume_downloads: true,
            state_script_timeout: seconds(6),
            state_script_retry_interval: seconds(7),
            state_script_retry_timeout: seconds(8),
            module_timeout: seconds(9),
            update_control_map_expiration: seconds(10),
            update_control_map_boot_expiration: seconds(11),
            policies: true,
        },
    };
    assert!(conf.unknown_keys.len() == 1 && conf.unknown_keys[0].contains("\"Unknown\""));
    assert_eq!(MenderConf { unknown_keys: Vec::new(), ..conf }, expected);
}

/// `{"Key": value}`, or `{"Group": {"Key": value}}`.
pub(super) fn only(key: &str, value: &str) -> String {
    key.split_once('.').map_or_else(
        || format!("{{\"{key}\":{value}}}"),
        |(group, key)| format!("{{\"{group}\":{{\"{key}\":{value}}}}}"),
    )
}

#[test]
fn l16_a_wrong_type_is_an_error_that_names_file_and_key() {
    for key in &keys::NAMES {
        let mut refused = 0;
        for value in ["5.5", "\"5\"", "true", "[5]", "{}", "\"x\"", "-1"] {
            if let Err(error) = load_both(None, Some(&only(key, value))) {
                let text = error.to_string();
                // A list names its item; a lone certificate or key asks for its other half.
                assert!(text.contains(key) && text.contains("main.conf"), "{key} {value}: {text}");
                refused += 1;
            }
        }
        assert!(refused >= 4, "{key}: {refused}");
        assert_eq!(load(&only(key, "null")), MenderConf::default(), "{key}: null is as if it were not there");
    }
    for group in ["HttpsClient", "Security", "DBus", "Connectivity"] {
        assert!(error(&only(group, "true")).contains(&format!("{group} must be an object")));
        assert_eq!(load(&only(group, "null")), MenderConf::default());
    }
}

#[test]
fn l16_a_file_that_is_not_a_json_object_is_an_error() {
    for text in ["", " ", "{", "[]", "5", "{} x", "{\"ServerURL\":}", "{}\u{feff}"] {
        assert!(error(text).contains("main.conf: not "), "{text:?}: {}", error(text));
        assert!(load_both(Some(text), Some("{}")).unwrap_err().to_string().contains("fallback.conf"));
    }
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(FILE_MAX as usize));
    assert!(error(&long).contains("longer than"));
    let deep = format!("{{\"a\":{}}}", "[".repeat(500_000));
    assert!(error(&deep).contains("not valid JSON"));
}

#[test]
fn l17_an_unknown_device_tier_is_an_error() {
    for tier in ["Standard", "", "big", "micro "] {
        assert!(error(&only("DeviceTier", &format!("{tier:?}"))).contains("DeviceTier must be"), "{tier}");
    }
    for tier in [Tier::Standard, Tier::Micro] {
        assert_eq!(load(&only("DeviceTier", &format!("{:?}", tier.name()))).device_tier, Some(tier));
    }
}

#[test]
fn r42_the_tier_of_the_orchestrator_is_refused_in_the_file_that_says_it() {
    let system = only("DeviceTier", "\"system\"");
    let text = error(&system);
    assert!(text.contains("main.conf: DeviceTier \"system\" is not supported"), "{text}");
    assert!(text.contains("remove the key"), "{text}");
    let text = load_both(Some(&system), Some("{}")).unwrap_err().to_string();
    assert!(text.contains("fallback.conf: DeviceTier"), "{text}");
    // The main file's value counts.
    let (conf, _) = load_both(Some(&system), Some(&only("DeviceTier", "\"micro\""))).unwrap();
    assert_eq!(conf.device_tier, Some(Tier::Micro));
}

#[test]
fn intervals_of_0_are_defaults_and_negative_ones_errors() {
    for key in keys::NAMES.iter().filter(|key| key.ends_with("Seconds")) {
        assert_eq!(load(&only(key, "0")), MenderConf::default(), "{key}");
        for bad in ["-1", "1.0", "1e3", "99999999999999999999"] {
            assert!(error(&only(key, bad)).contains(key));
        }
        load(&only(key, &i64::MAX.to_string()));
    }
    for bad in ["0", "-1", "10001"] {
        assert!(error(&only("RetryDownloadCount", bad)).contains("1 to 10000"));
    }
    assert_eq!(load(&only("RetryDownloadCount", "10000")).core_config().retry_download_count, 10_000);
    assert!(error(&only("RetryPollCount", "-1")).contains("RetryPollCount"));
}

#[test]
fn a_control_map_expires_after_two_polls_unless_configured() {
    let core = load(&only("UpdatePollIntervalSeconds", "50")).core_config();
    assert_eq!(core.update_control_map_expiration, Duration::from_secs(100));
}

#[test]
fn a_policy_that_is_not_understood_is_an_error_that_names_its_key() {
    let window = |members: &str| format!(r#"{{"UpdateControl":{{"Windows":[{{{members}}}]}}}}"#);
    let good = r#""At":["install"],"From":"01:00","To":"02:00""#;
    load(&window(good));
    for (members, key) in [
        (r#""From":"01:00","To":"02:00""#, "Windows[].At"),
        (r#""At":[],"From":"01:00","To":"02:00""#, "Windows[].At"),
        (r#""At":["Install"],"From":"01:00","To":"02:00""#, "Windows[].At"),
        (r#""At":"install","From":"01:00","To":"02:00""#, "Windows[].At"),
        (r#""At":["install"],"From":"1:00","To":"02:00""#, "Windows[].From"),
        (r#""At":["install"],"From":"01:00""#, "Windows[].To"),
    ] {
        assert!(error(&window(members)).contains(key), "{members}: {}", error(&window(members)));
    }
    for (extra, key) in [
        (r#""Form":"01:00""#, "UpdateControl.Windows"),
        (r#""from":"01:00""#, "UpdateControl.Windows"),
        (r#""Days":[]"#, "Windows[].Days"),
        (r#""Days":["Monday"]"#, "Windows[].Days"),
        (r#""DeadlineSeconds":0"#, "Windows[].DeadlineSeconds"),
        (r#""DeadlineSeconds":31536001"#, "Windows[].DeadlineSeconds"),
        (r#""AtDeadline":"pause""#, "Windows[].AtDeadline"),
    ] {
        assert!(error(&window(&format!("{good},{extra}"))).contains(key), "{extra}");
    }
    let inhibitor = |members: &str| format!(r#"{{"UpdateControl":{{"Inhibitors":[{{{members}}}]}}}}"#);
    for members in [
        r#""At":["install"]"#,
        r#""At":["install"],"File":"/a","Program":"/b""#,
        r#""At":["install"],"File":"a""#,
    ] {
        assert!(error(&inhibitor(members)).contains("UpdateControl.Inhibitors"), "{members}");
    }
    for group in [r#"{"Window":[]}"#, r#"{"Button":{"Line":1}}"#, r#"{"Light":{"Chip":"/dev/x","Line":-1}}"#]
    {
        assert!(error(&format!(r#"{{"UpdateControl":{group}}}"#)).contains("UpdateControl"), "{group}");
    }
    let many = vec![format!("{{{good}}}"); 17].join(",");
    assert!(error(&format!(r#"{{"UpdateControl":{{"Windows":[{many}]}}}}"#)).contains("at most 16"));
}

#[test]
fn keys_ignore_case_and_the_last_spelling_wins() {
    let conf = load(r#"{"serverurl":"https://a","SERVERURL":"https://b","DBUS":{"ENABLED":false}}"#);
    assert_eq!((conf.servers, conf.dbus_enabled), (vec!["https://b".to_owned()], false));
    let conf = load(r#"{"Server\u0055RL":"https:\/\/a"}"#);
    assert_eq!(conf.servers, ["https://a"]);
}

#[test]
fn the_main_file_wins_key_by_key() {
    let fallback = r#"{"ServerURL":"https://a","TenantToken":"t","HttpsClient":{"Certificate":"/c"},
                       "ArtifactVerifyKeys":["/1","/2"],"UpdatePollIntervalSeconds":5}"#;
    let main = r#"{"ServerURL":"https://b","HttpsClient":{"Key":"/k"},"ArtifactVerifyKeys":["/3"]}"#;
    let (conf, _) = load_both(Some(fallback), Some(main)).unwrap();
    assert_eq!(conf.servers, ["https://b"]);
    assert_eq!(conf.tenant_token.unwrap().expose(), "t");
    assert_eq!(conf.artifact_verify_keys, [PathBuf::from("/3")], "lists replace");
    assert_eq!(conf.https_client.unwrap().certificate, Path::new("/c"));
    assert_eq!(conf.core.update_poll_interval, Duration::from_secs(5));
    let (conf, _) = load_both(Some(r#"{"TenantToken":"t"}"#), Some(r#"{"TenantToken":""}"#)).unwrap();
    assert_eq!(conf.tenant_token, None, "an empty string takes the value back");
}

#[test]
fn conflicts_are_found_in_a_file_and_across_files() {
    for (a, b) in [
        (r#""ServerURL":"https://a""#, r#""Servers":[{"ServerURL":"https://b"}]"#),
        (r#""ArtifactVerifyKey":"/a""#, r#""ArtifactVerifyKeys":["/a"]"#),
    ] {
        assert!(error(&format!("{{{a},{b}}}")).contains("exclude each other"));
        for (fallback, main) in [(a, b), (b, a)] {
            let text = load_both(Some(&format!("{{{fallback}}}")), Some(&format!("{{{main}}}"))).unwrap_err();
            assert!(text.to_string().contains("main.conf"), "{text}");
        }
    }
    assert_eq!(load(r#"{"ServerURL":"","Servers":[{"ServerURL":"https://b"}]}"#).servers, ["https://b"]);
}

#[test]
fn a_client_certificate_needs_its_key() {
    assert!(error(&only("HttpsClient.Certificate", "\"/c\"")).contains("HttpsClient.Key"));
    assert!(error(&only("HttpsClient.Key", "\"/k\"")).contains("HttpsClient.Certificate"));
    assert_eq!(load(r#"{"HttpsClient":{"Certificate":"","Key":""}}"#).https_client, None);
}

#[test]
fn servers_are_kept_once_and_without_the_slash() {
    let conf = load(
        r#"{"Servers":[{"ServerURL":"https://a/"},{"ServerURL":"https://b"},{"ServerURL":"https://a"}]}"#,
    );
    assert_eq!(conf.servers, ["https://a", "https://b"]);
    assert_eq!(load(r#"{"ServerURL":"https://a/p//"}"#).servers, ["https://a/p/"], "one slash");
    for bad in [r#"[{}]"#, r#"["https://a"]"#, r#"[{"ServerURL":5}]"#, r#"[{"ServerURL":"https://a b"}]"#] {
        assert!(error(&only("Servers", bad)).contains("Servers"), "{bad}");
    }
    for bad in ["https://u:p@a", "https://a\\r\\nX: y", "http://a\\u0000"] {
        assert!(error(&only("ServerURL", &format!("\"{bad}\""))).contains("ServerURL"));
    }
    assert_eq!(load(&only("ServerURL", "\"https://a/x@y\"")).servers, ["https://a/x@y"]);
}

#[test]
fn an_empty_verify_key_is_no_key_but_not_in_a_list() {
    assert!(load(&only("ArtifactVerifyKey", "\"\"")).artifact_verify_keys.is_empty());
    assert!(error(&only("ArtifactVerifyKeys", "[\"/a\",\"\"]")).contains("ArtifactVerifyKeys"));
    assert!(error(&only("ArtifactVerifyKeys", "[\"/a\",null]")).contains("ArtifactVerifyKeys"));
}

#[test]
fn an_empty_verify_key_does_not_undo_that_of_the_fallback() {
    for (fallback, main) in [
        (r#"{"ArtifactVerifyKey":"/k"}"#, r#"{"ArtifactVerifyKey":""}"#),
        (r#"{"ArtifactVerifyKeys":["/k"]}"#, r#"{"ArtifactVerifyKeys":[]}"#),
    ] {
        let error = load_both(Some(fallback), Some(main)).unwrap_err().to_string();
        assert!(error.contains("ArtifactVerifyKey") && error.contains("must be set"), "{error}");
        let (conf, _) = load_both(Some(main), Some(fallback)).unwrap();
        assert_eq!(conf.artifact_verify_keys, [PathBuf::from("/k")]);
    }
}

#[test]
fn d5_a_token_that_everybody_can_read_is_warned_of_once_and_the_mode_stays() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("mender.conf");
    let source = Source { path: &path, required: true };
    fs::write(&path, r#"{"TenantToken":"secret-token"}"#).unwrap();
    for (mode, expected) in [(0o644, 1), (0o600, 0), (0o640, 0)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let (_, warnings) = MenderConf::load(source, source).unwrap();
        assert_eq!(warnings.len(), expected, "{mode:o}: {warnings:?}");
        assert!(warnings.iter().all(|text| text.contains("TenantToken") && !text.contains("secret")));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, mode);
    }
    fs::write(&path, r#"{"ServerURL":"https://a"}"#).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(MenderConf::load(source, source).unwrap().1.is_empty());
}

#[test]
fn d10_secrets_are_not_in_debug_texts_or_errors() {
    let conf = load(
        r#"{"TenantToken":"hush","Security":{"AuthPrivateKey":"pkcs11:x?pin-value=hush"},
            "HttpsClient":{"Certificate":"/c","Key":"pkcs11:y?pin-value=hush"}}"#,
    );
    assert!(!format!("{conf:?} {conf:#?}").contains("hush"));
    for bad in
        [r#"{"TenantToken":["hush"]}"#, r#"{"TenantToken":"hush"#, r#"{"ServerURL":"https://u:hush@a"}"#]
    {
        let error = load_both(None, Some(bad)).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hush"));
    }
}

#[test]
fn l16_a_server_that_cannot_be_asked_is_named_with_file_key_and_reason() {
    for (url, reason) in [
        ("ftp://x", "http://"),
        ("127.0.0.1:8080", "http://"),
        ("http://", "host"),
        ("https://host:99999", "65535"),
        ("http://host:abc", "65535"),
        ("http://[::1", "host"),
        ("https://h\u{e4}", "percent-encode"),
    ] {
        for (text, key) in [
            (format!(r#"{{"ServerURL":"{url}"}}"#), "main.conf: ServerURL cannot"),
            (
                format!(r#"{{"Servers":[{{"ServerURL":"https://good"}},{{"ServerURL":"{url}"}}]}}"#),
                "main.conf: Servers[].ServerURL cannot",
            ),
        ] {
            let said = load(&text).unusable_server.expect(url).to_string();
            assert!(said.contains(key) && said.contains(reason), "{said}");
        }
    }
    for url in ["https://a", "HTTP://127.0.0.1:1/", "http://[::1]:80/x/", "https://a:443"] {
        assert_eq!(load(&only("ServerURL", &format!("\"{url}\""))).unusable_server, None, "{url}");
    }
    let (bad, good) = (r#"{"ServerURL":"ftp://a"}"#, r#"{"ServerURL":"https://a"}"#);
    let both = |fallback, main| load_both(Some(fallback), Some(main)).unwrap().0.unusable_server;
    assert!(both(bad, "{}").unwrap().path.ends_with("fallback.conf"));
    assert!(both(good, bad).unwrap().path.ends_with("main.conf"));
    assert_eq!(both(bad, good), None);
}

#[test]
fn l16_what_the_client_has_no_room_for_is_known_before_a_server_is_asked() {
    let said = |text: &str| load(text).unusable_server.map(|unusable| unusable.to_string());
    let long = |length: usize| only("ServerURL", &format!("\"http://a/{}\"", "x".repeat(length - 9)));
    assert_eq!(said(&long(1024)), None);
    let too_long = said(&long(1025)).expect("it is too long");
    assert!(too_long.ends_with("ServerURL cannot be used: it is longer than 1024 bytes"), "{too_long}");
    let servers = |count: usize, twice: &str| {
        let list: Vec<String> =
            (0..count).map(|number| format!(r#"{{"ServerURL":"http://a/{number}"}}"#)).collect();
        format!(r#"{{"Servers":[{twice}{}]}}"#, list.join(","))
    };
    // The same server twice is one.
    assert_eq!(said(&servers(8, r#"{"ServerURL":"http://a/7/"},"#)), None);
    let too_many = said(&servers(9, "")).expect("there are too many");
    assert!(too_many.ends_with("main.conf: Servers has more than 8 servers"), "{too_many}");
}

#[test]
fn an_openssl_engine_is_named_as_not_used() {
    for key in ["HttpsClient.SSLEngine", "Security.SSLEngine"] {
        let warnings = load_both(None, Some(&only(key, "\"pkcs11\""))).unwrap().1;
        assert!(warnings.len() == 1 && warnings[0].starts_with(key), "{warnings:?}");
        assert!(load_both(None, Some(&only(key, "\"\""))).unwrap().1.is_empty());
    }
}

#[test]
fn a_file_that_others_may_change_is_refused_with_the_command_that_mends_it() {
    let lab = tempfile::tempdir().unwrap();
    let path = lab.path().join("mender.conf");
    fs::write(&path, r#"{"SkipVerify":true}"#).unwrap();
    let load = || {
        let nowhere = Source { path: Path::new("/nowhere"), required: false };
        MenderConf::load(nowhere, Source { path: &path, required: true })
    };
    for (place, mode, group, good) in [
        (&*path, 0o644, 0, true),
        (&path, 0o664, 0, true),
        (&path, 0o664, 1234, false),
        (&path, 0o646, 0, false),
        (lab.path(), 0o777, 0, false),
        (lab.path(), 0o755, 1234, true),
    ] {
        std::os::unix::fs::chown(place, None, Some(group)).unwrap();
        fs::set_permissions(place, fs::Permissions::from_mode(mode)).unwrap();
        let text = load().err().map(|error| error.to_string());
        assert_eq!(text.is_none(), good, "{mode:o} {group}: {text:?}");
        if let Some(text) = text {
            let command = format!("run `chmod go-w {}`", place.display());
            assert!(text.starts_with("configuration refused: /") && text.contains(&command), "{text}");
        }
        fs::set_permissions(place, fs::Permissions::from_mode(0o700)).unwrap();
    }
    std::os::unix::fs::chown(&path, Some(1234), None).unwrap();
    let text = load().unwrap_err().to_string();
    assert!(text.contains("belongs to user 1234") && text.contains("chown root /"), "{text}");
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_text() {
    let text = include_str!("../../../tests/cases/byte-order-mark.conf");
    assert!(text.starts_with('\u{feff}'));
    assert_eq!(load(text).servers, ["https://updates.example.com"]);
    assert!(error("{}\u{feff}").contains("line 1, column 3"));
}

#[test]
fn what_is_no_json_is_told_with_line_column_and_cause() {
    let text = error(include_str!("../../../tests/cases/trailing-comma.conf"));
    assert!(text.contains("main.conf: not valid JSON: line 4, column 1: a comma before `}`"), "{text}");
}

#[test]
fn r36_the_log_level_has_any_case_and_the_names_of_both_clients() {
    for (word, level) in [
        ("DEBUG", Level::Debug),
        ("Warn", Level::Warning),
        ("warning", Level::Warning),
        ("panic", Level::Fatal),
        ("loud", Level::Info),
    ] {
        let text = format!(r#"{{"DaemonLogLevel": "{word}"}}"#);
        let (conf, warnings) = load_both(None, Some(&text)).unwrap();
        assert_eq!(conf.daemon_log_level, Some(level), "{word}");
        assert_eq!(warnings.len(), usize::from(word == "loud"), "{warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains("\"loud\"") && warning.contains("main.conf")));
    }
    // A good level of the main file takes the place of a bad one.
    let (conf, warnings) =
        load_both(Some(r#"{"DaemonLogLevel":"loud"}"#), Some(r#"{"DaemonLogLevel":"error"}"#)).unwrap();
    assert_eq!((conf.daemon_log_level, warnings), (Some(Level::Error), vec![]));
    assert!(error(r#"{"DaemonLogLevel": 5}"#).contains("DaemonLogLevel must be a string"));
}

#[test]
fn r37_each_unknown_key_is_told_with_the_nearest_known_one() {
    let conf = load(
        r#"{"ServerUrll":"x","ResumeDownload":true,"HttpsClient":{"Certficate":"x"},"UpdateControll":{},
        "clientprotocol":"https","xyzzy\n":1,"serverurl":"https://a.example"}"#,
    );
    let expected = [
        ("\"ServerUrll\"", "did you mean ServerURL?"),
        ("\"ResumeDownload\"", "did you mean ResumeDownloads?"),
        ("\"HttpsClient.Certficate\"", "did you mean HttpsClient.Certificate?"),
        ("\"UpdateControll\"", "did you mean UpdateControl?"),
        ("\"xyzzy\\n\"", "ignored"),
    ];
    assert_eq!(conf.unknown_keys.len(), expected.len(), "{:?}", conf.unknown_keys);
    for (warning, (key, hint)) in conf.unknown_keys.iter().zip(expected) {
        assert!(
            warning.contains(key) && warning.ends_with(hint) && warning.contains("main.conf"),
            "{warning}"
        );
    }
}

#[test]
fn an_unknown_key_of_a_policy_is_an_error_with_the_nearest_known_one() {
    let text = error(r#"{"UpdateControl":{"Window":[]}}"#);
    assert!(text.contains("UpdateControl has no key Window; did you mean Windows?"), "{text}");
    let window = r#"{"At":["install"],"From":"01:00","To":"02:00","Dyas":[]}"#;
    let text = error(&format!(r#"{{"UpdateControl":{{"Windows":[{window}]}}}}"#));
    assert!(text.contains("has no key Dyas; did you mean Days?"), "{text}");
}
