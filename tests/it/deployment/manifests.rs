//! The manifests for Kubernetes.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

use super::{documents, read, root, said, seconds, settings, text, tool};

/// Kubernetes objects of an overlay, as far as they are files of the base.
fn objects() -> Vec<Value> {
    let files = std::fs::read_dir(root().join("deploy/kubernetes/base")).unwrap();
    let names =
        files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "yaml"));
    let all = names.flat_map(|path| documents(&std::fs::read_to_string(path).unwrap()));
    all.filter(|object| object["kind"] != "Kustomization").collect()
}

fn of_kind(kind: &str) -> Vec<Value> {
    objects().into_iter().filter(|object| object["kind"] == kind).collect()
}

#[test]
fn settings_limits_and_names_of_the_manifests_are_the_gateways() {
    let [set] = &of_kind("StatefulSet")[..] else { panic!("one StatefulSet") };
    let pod = &set["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    for (overlay, replicas) in [("staging", 2), ("production", 3)] {
        let dir = tempfile::tempdir().unwrap();
        let base = root().join("deploy/kubernetes");
        std::fs::copy(base.join("base/config/default.toml"), dir.path().join("default.toml")).unwrap();
        let own = format!("{overlay}.toml");
        std::fs::copy(base.join("overlays").join(overlay).join(&own), dir.path().join(&own)).unwrap();
        let secret = [
            ("CHAT3_API_URL", "http://chat3:3000/api"),
            ("CHAT3_API_KEY", "a key of some length, not a short one"),
            ("JWT_SECRET", "a secret of at least thirty-two bytes"),
            ("RABBITMQ_URL", "amqp://rabbitmq"),
            ("BRIDGE_ADMIN__TOKEN", "an admin token of some length, not a short one"),
        ];
        let mut variables: BTreeMap<String, String> =
            secret.map(|(name, value)| (name.into(), value.into())).into_iter().collect();
        for one in container["env"].as_array().unwrap() {
            let value = match one["name"].as_str().unwrap() {
                "BRIDGE_ENV" => overlay.to_owned(),
                _ => one["value"].as_str().unwrap_or("updates-bridge-0").to_owned(),
            };
            variables.insert(text(&one["name"]), value);
        }
        let settings = settings(dir.path(), &variables);
        let port = |name: &str| {
            let ports = container["ports"].as_array().unwrap();
            let port = ports.iter().find(|port| port["name"] == name).unwrap();
            format!("0.0.0.0:{}", port["containerPort"])
        };
        assert_eq!(settings["http.listen"], port("http"));
        assert_eq!(settings["admin.listen"], port("admin"));
        let mounts = container["volumeMounts"].as_array().unwrap();
        let state = mounts.iter().find(|mount| mount["name"] == "state").unwrap();
        assert!(text(&settings["state_dir"]).starts_with(&text(&state["mountPath"])));
        let config = mounts.iter().find(|mount| mount["name"] == "config").unwrap();
        assert!(config["subPath"].is_null(), "a subPath is never swapped");
        let args = container["args"].as_array().unwrap();
        assert_eq!(args.last(), Some(&config["mountPath"]));
        let pause = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
        let drain = seconds(&text(&settings["http.drain_timeout"]));
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(grace > pause + drain, "{grace} s for {pause} s and {drain} s");
        let headless = of_kind("Service").into_iter().find(|one| one["spec"]["clusterIP"] == "None").unwrap();
        let name = &headless["metadata"]["name"];
        assert_eq!(headless["spec"]["publishNotReadyAddresses"], true);
        assert_eq!(&set["spec"]["serviceName"], name);
        let address = format!("dns+http://{}:{}", text(name), headless["spec"]["ports"][0]["port"]);
        assert_eq!(settings["fleet.nodes"], json!([address]));
        assert!(settings["legacy.relay"] == true && pod["enableServiceLinks"] == false);
        let kustomization = read(&format!("deploy/kubernetes/overlays/{overlay}/kustomization.yaml"));
        let kustomization = documents(&kustomization).remove(0);
        assert_eq!(kustomization["configMapGenerator"][0]["files"], json!([own]));
        if let Some(built) = built(overlay) {
            let set = built.iter().find(|object| object["kind"] == "StatefulSet").unwrap();
            assert_eq!(set["spec"]["replicas"], replicas);
            let env = &set["spec"]["template"]["spec"]["containers"][0]["env"][0];
            assert_eq!(env, &json!({"name": "BRIDGE_ENV", "value": overlay}));
            let map = built.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
            let files: Vec<&String> = map["data"].as_object().unwrap().keys().collect();
            assert_eq!(files, ["default.toml", &own]);
            let mounted = &pod["volumes"][0]["configMap"]["name"];
            assert_eq!(&map["metadata"]["name"], mounted, "one name for ever, so that a change restarts no pod");
            let budget = built.iter().find(|object| object["kind"] == "PodDisruptionBudget").unwrap();
            assert_eq!(budget["spec"]["selector"]["matchLabels"], set["spec"]["selector"]["matchLabels"]);
        }
    }
}

/// The objects of an overlay, as kustomize builds them; `None`, and said, where it is not here.
fn built(overlay: &str) -> Option<Vec<Value>> {
    let dir = root().join("deploy/kubernetes/overlays").join(overlay);
    for (program, args) in [("kustomize", vec!["build"]), ("kubectl", vec!["kustomize"])] {
        let Ok(output) = Command::new(program).args(args).arg(&dir).output() else { continue };
        assert!(output.status.success(), "{}", said(&output));
        let built = String::from_utf8(output.stdout).unwrap();
        valid(overlay, &built);
        return Some(documents(&built));
    }
    println!("SKIPPED: neither kustomize nor kubectl is here: overlay {overlay} is not built");
    None
}

/// Each field is one that Kubernetes knows: of the oldest version that the manifests are for, and of a newer one.
fn valid(overlay: &str, built: &str) {
    for version in ["1.30", "1.37"] {
        let Some(mut check) = tool("kubernetes-validate") else { return };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(format!("{overlay}.yaml"));
        std::fs::write(&file, built).unwrap();
        let output = check.args(["--strict", "-k", version]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
}
