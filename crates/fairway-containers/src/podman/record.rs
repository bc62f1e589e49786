//! Records of containers/storage, and the names that Kubernetes gives to containers.

use serde_json::Value;

use crate::json::{list as elements, text};

/// Reads `containers.json`: identifiers and names. Working containers of buildah, which have no name in their
/// metadata, are left out.
pub(super) fn list(value: &Value) -> Vec<Result<(String, Vec<String>), &'static str>> {
    let Some(records) = value.as_array() else { return vec![Err("it is not a list of containers")] };
    records.iter().filter_map(|record| record_of(record).transpose()).collect()
}

fn record_of(value: &Value) -> Result<Option<(String, Vec<String>)>, &'static str> {
    let id = text(value, &["id"]).ok_or("a container has no id")?;
    let metadata: Value =
        text(value, &["metadata"]).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    if text(&metadata, &["name"]).is_none() {
        return Ok(None);
    }
    let names = elements(value, &["names"]).filter_map(Value::as_str).map(str::to_owned).collect();
    Ok(Some((id.to_owned(), names)))
}

/// The parts of a name such as `k8s_POD_web_default_f6a1_0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KubernetesName<'a> {
    /// `POD` for the container that holds the pod's namespace.
    pub(super) container: &'a str,
    pub(super) pod: &'a str,
    pub(super) namespace: &'a str,
}

/// Splits the name that a runtime of Kubernetes gave to a container. None of its parts has an underscore.
pub(super) fn kubernetes_name(name: &str) -> Option<KubernetesName<'_>> {
    let parts: Vec<&str> = name.split('_').collect();
    match parts.as_slice() {
        ["k8s", container, pod, namespace, _, _] => Some(KubernetesName { container, pod, namespace }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As podman 4.3.1 writes it, without what is not read.
    const RECORDS: &str = r#"[
        {"id":"55db","names":["web"],"layer":"5009","flags":{"MountLabel":""},
         "metadata":"{\"image-name\":\"localhost/bb:latest\",\"name\":\"web\",\"created-at\":1796000127}"},
        {"id":"7e7e","names":["debian-working-container"],"metadata":""},
        {"id":"8f8f","names":["broken-metadata"],"metadata":"{"},
        {"names":["no-id"]}, 7,
        {"id":"2b84","names":null,"metadata":"{\"name\":\"made\"}"}
    ]"#;

    #[test]
    fn containers_of_podman_are_listed_and_others_not() {
        let records = list(&serde_json::from_str(RECORDS).unwrap());
        let broken = || Err("a container has no id");
        let expected = [
            Ok(("55db".to_owned(), vec!["web".to_owned()])),
            broken(),
            broken(),
            Ok(("2b84".to_owned(), Vec::new())),
        ];
        assert_eq!(records, expected);
        assert_eq!(list(&json!({})), [Err("it is not a list of containers")]);
        assert_eq!(list(&json!([])), []);
    }

    #[test]
    fn names_of_kubernetes_are_split() {
        let name = |container, pod, namespace| Some(KubernetesName { container, pod, namespace });
        for (text, expected) in [
            ("k8s_POD_web-1_default_f6a1-22_0", name("POD", "web-1", "default")),
            ("k8s_nginx_web-1_kube-system_f6a1_3", name("nginx", "web-1", "kube-system")),
            ("k8s_nginx", None),
            ("web_app_x_y_z_0", None),
            ("", None),
        ] {
            assert_eq!(kubernetes_name(text), expected, "{text}");
        }
    }
}
