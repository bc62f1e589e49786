//! What Docker's clients can ask of a container and Fairway does not do: taken, and warned of.

use std::fmt;

use fairway_model::LOG_DRIVER;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// An option: its key (`Outer.Inner` for one field of an object), the flag of Docker's command line, and values that ask
/// for nothing special.
type Row = (&'static str, &'static str, &'static [&'static str]);

/// Options of `Config`.
const CONFIG: [Row; 4] = [
    ("Domainname", "--domainname", &[]),
    ("Healthcheck.Test", "--health-cmd", &["NONE"]),
    ("NetworkDisabled", "--network none", &[]),
    ("Volumes", "--volume", &[]),
];

/// Options of `HostConfig`.
const HOST_CONFIG: [Row; 44] = [
    ("Annotations", "--annotation", &[]),
    ("Binds", "--volume", &[]),
    ("BlkioDeviceReadBps", "--device-read-bps", &[]),
    ("BlkioDeviceReadIOps", "--device-read-iops", &[]),
    ("BlkioDeviceWriteBps", "--device-write-bps", &[]),
    ("BlkioDeviceWriteIOps", "--device-write-iops", &[]),
    ("BlkioWeight", "--blkio-weight", &[]),
    ("BlkioWeightDevice", "--blkio-weight-device", &[]),
    ("CgroupParent", "--cgroup-parent", &[]),
    ("CgroupnsMode", "--cgroupns", &[]),
    ("CpuCount", "--cpu-count", &[]),
    ("CpuPercent", "--cpu-percent", &[]),
    ("CpuPeriod", "--cpu-period", &[]),
    ("CpuQuota", "--cpu-quota", &["-1"]),
    ("CpuRealtimePeriod", "--cpu-rt-period", &[]),
    ("CpuRealtimeRuntime", "--cpu-rt-runtime", &[]),
    ("CpuShares", "--cpu-shares", &[]),
    ("CpusetCpus", "--cpuset-cpus", &[]),
    ("CpusetMems", "--cpuset-mems", &[]),
    ("DeviceCgroupRules", "--device-cgroup-rule", &[]),
    ("DeviceRequests", "--gpus", &[]),
    ("Devices", "--device", &[]),
    ("IpcMode", "--ipc", &[]),
    ("Isolation", "--isolation", &["default"]),
    ("KernelMemory", "--kernel-memory", &[]),
    ("LogConfig.Type", "--log-driver", &[LOG_DRIVER]),
    ("MemoryReservation", "--memory-reservation", &[]),
    ("MemorySwap", "--memory-swap", &["-1"]),
    ("MemorySwappiness", "--memory-swappiness", &["-1"]),
    ("Mounts", "--mount", &[]),
    ("OomKillDisable", "--oom-kill-disable", &[]),
    ("OomScoreAdj", "--oom-score-adj", &[]),
    ("PidMode", "--pid", &[]),
    ("ReadonlyRootfs", "--read-only", &[]),
    ("Runtime", "--runtime", &["runc"]),
    ("SecurityOpt", "--security-opt", &[]),
    ("ShmSize", "--shm-size", &[]),
    ("StorageOpt", "--storage-opt", &[]),
    ("Tmpfs", "--tmpfs", &[]),
    ("UTSMode", "--uts", &[]),
    ("Ulimits", "--ulimit", &[]),
    ("UsernsMode", "--userns", &["host"]),
    ("VolumeDriver", "--volume-driver", &[]),
    ("VolumesFrom", "--volumes-from", &[]),
];

/// What a body of `POST /containers/create` holds that Fairway does not do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// One for each option.
    pub warnings: Vec<String>,
    /// Whether there is nothing of `Config`, which Docker refuses.
    pub config_is_empty: bool,
}

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Options { prefix: "", rows: &CONFIG }.deserialize(deserializer)
    }
}

/// Reads an object and keeps what is asked for by its rows.
struct Options {
    prefix: &'static str,
    rows: &'static [Row],
}

/// The limits that a body of `POST /containers/{id}/update` asks for and Fairway has not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct IgnoredLimits(pub Vec<String>);

impl<'de> Deserialize<'de> for IgnoredLimits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = Options { prefix: "", rows: &HOST_CONFIG }.deserialize(deserializer)?;
        Ok(Self(found.warnings))
    }
}

impl<'de> DeserializeSeed<'de> for Options {
    type Value = Ignored;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Ignored, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Options {
    type Value = Ignored;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ignored, A::Error> {
        let mut found = Ignored { warnings: Vec::new(), config_is_empty: true };
        while let Some(key) = map.next_key::<String>()? {
            if self.prefix.is_empty() && key.eq_ignore_ascii_case("HostConfig") {
                let of_host = Options { prefix: "HostConfig.", rows: &HOST_CONFIG };
                found.warnings.extend(map.next_value_seed(of_host)?.warnings);
                continue;
            }
            found.config_is_empty &= key.eq_ignore_ascii_case("NetworkingConfig");
            let rows: Vec<&Row> =
                self.rows.iter().filter(|row| outer(row).eq_ignore_ascii_case(&key)).collect();
            if rows.is_empty() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: Value = map.next_value()?;
            let asked = rows.into_iter().filter(|row| asks(field(row, &value), row.2));
            found.warnings.extend(asked.map(|(key, flag, _)| {
                format!("{flag} ({}{key}) is not supported and has no effect", self.prefix)
            }));
        }
        Ok(found)
    }
}

fn outer(row: &Row) -> &'static str {
    row.0.split_once('.').map_or(row.0, |(outer, _)| outer)
}

/// The value that a row is about: the whole, or a field of it, in any case.
fn field<'a>(row: &Row, value: &'a Value) -> &'a Value {
    let Some((_, inner)) = row.0.split_once('.') else { return value };
    let fields = value.as_object().into_iter().flatten();
    let found = fields.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(inner));
    found.map_or(&Value::Null, |(_, value)| value)
}

/// Whether a value asks for something.
fn asks(value: &Value, neutral: &[&str]) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(number) => {
            let text = number.to_string();
            text != "0" && !neutral.contains(&text.as_str())
        }
        Value::String(text) => !text.is_empty() && !neutral.contains(&text.as_str()),
        Value::Array(values) => values.iter().any(|value| asks(value, neutral)),
        Value::Object(entries) => !entries.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(body: &str) -> Vec<String> {
        crate::json::from_slice::<Ignored>(body.as_bytes()).unwrap().warnings
    }

    fn body(prefix: &str, key: &str, value: &str) -> String {
        let inner = match key.split_once('.') {
            Some((outer, inner)) => format!(r#"{{"{outer}":{{"{inner}":{value}}}}}"#),
            None => format!(r#"{{"{key}":{value}}}"#),
        };
        if prefix.is_empty() { inner } else { format!(r#"{{"HostConfig":{inner}}}"#) }
    }

    #[test]
    fn each_option_is_warned_of_by_its_flag_unless_it_asks_for_nothing() {
        let host = HOST_CONFIG.iter().map(|row| ("HostConfig.", row));
        for (prefix, (key, flag, neutral)) in CONFIG.iter().map(|row| ("", row)).chain(host) {
            for value in ["true", "7", r#""x""#, r#"["x"]"#, r#"{"x":{}}"#] {
                let expected = format!("{flag} ({prefix}{key}) is not supported and has no effect");
                assert_eq!(warnings(&body(prefix, key, value)), [expected], "{value}");
            }
            for value in ["null", "false", "0", r#""""#, "[]", "{}"] {
                assert_eq!(warnings(&body(prefix, key, value)), Vec::<String>::new(), "{key} {value}");
            }
            for value in *neutral {
                assert_eq!(
                    warnings(&body(prefix, key, &format!("{value:?}"))),
                    Vec::<String>::new(),
                    "{key}"
                );
            }
        }
    }

    #[test]
    fn defaults_of_dockers_client_cause_no_warnings() {
        // `docker create bb sleep 1` of 28.2, without what is empty in ways that are tested above.
        let body = r#"{"Hostname":"","AttachStdout":true,"AttachStderr":true,"Cmd":["sleep","1"],"Image":"bb",
            "HostConfig":{"NetworkMode":"default","RestartPolicy":{"Name":"no","MaximumRetryCount":0},
            "ConsoleSize":[24,80],"LogConfig":{"Type":"","Config":{}},"MemorySwappiness":-1,"PidsLimit":0,
            "ContainerIDFile":"/tmp/id","MaskedPaths":null},"NetworkingConfig":{"EndpointsConfig":{"default":{}}}}"#;
        assert_eq!(warnings(body), Vec::<String>::new());
    }

    #[test]
    fn a_body_without_a_configuration_is_known() {
        let empty = |body: &str| crate::json::from_slice::<Ignored>(body.as_bytes()).unwrap().config_is_empty;
        assert!(
            empty("{}") && empty("null") && empty(r#"{"HostConfig":{"Memory":1},"networkingConfig":{}}"#)
        );
        assert!(!empty(r#"{"Image":"bb"}"#) && !empty(r#"{"Cmd":null}"#));
    }
}
