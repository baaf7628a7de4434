//! What stands in Dockerfile, docker-compose.yml and deploy/ is true of this gateway: settings, ports, paths and commands. No
//! engine is needed: the composition runs as processes, and tools that read the files are asked where they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::kit::js::Js;
use crate::kit::{Turn, eventually, rabbit, runtime, s};

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}"))
}

fn gateway() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_updates-bridge"));
    command.env_clear();
    command
}

fn said(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// `${NAME:-default}` becomes the default, as for who sets nothing.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (variable, behind) = after.split_once('}').expect("its end");
        plain += before;
        plain += variable.split_once(":-").expect("every variable has a default").1;
        rest = behind;
    }
    plain + rest
}

fn composition() -> Value {
    documents(&plain(&read("docker-compose.yml"))).remove(0)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// Variables of a service.
fn environment(service: &Value) -> BTreeMap<String, String> {
    service["environment"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// The settings in force, where they are valid.
fn settings(config: &Path, environment: &BTreeMap<String, String>) -> BTreeMap<String, Value> {
    let output = gateway()
        .args(["config", "explain", "--json", "--config-dir"])
        .arg(config)
        .envs(environment)
        .output()
        .unwrap();
    assert!(output.status.success(), "{environment:#?}\n{}", said(&output));
    assert!(output.stderr.is_empty(), "warnings: {}", said(&output));
    let all: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    all.into_iter().map(|one| (text(&one["key"]), one["value"].clone())).collect()
}

fn seconds(text: &str) -> u64 {
    text.trim_matches('"').trim_end_matches('s').parse().unwrap_or_else(|_| panic!("{text}: seconds"))
}

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
fn settings_and_limits_of_the_composition_are_the_gateways() {
    let composition = composition();
    for name in ["gateway-1", "gateway-2"] {
        let service = &composition["services"][name];
        let mut variables = environment(service);
        variables.extend(image().env);
        let settings = settings(&root().join("config"), &variables);
        assert_eq!(settings["instance_id"], name);
        assert_eq!(settings["http.listen"], "0.0.0.0:3001");
        assert_eq!(settings["admin.listen"], "0.0.0.0:3002");
        assert!(text(&service["ports"][0]).ends_with(":3002"));
        let grace = seconds(&text(&service["stop_grace_period"]));
        assert!(grace > seconds(&text(&settings["http.drain_timeout"])), "{grace}");
        let subnet = &composition["networks"]["bridge"]["ipam"]["config"][0]["subnet"];
        assert_eq!(&settings["http.trusted_proxies"][0], subnet, "the proxy is believed");
    }
    let proxy = read("deploy/haproxy/haproxy.cfg");
    assert!(proxy.contains("gateway-1:3001") && proxy.contains("gateway-2:3001"));
    let scraped = &documents(&read("deploy/prometheus/prometheus.yml"))[0]["scrape_configs"][0];
    assert_eq!(scraped["static_configs"][0]["targets"], json!(["gateway-1:3002", "gateway-2:3002"]));
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

/// A tool that scripts/test installs beside this test, where it can be had.
fn tool(name: &str) -> Option<Command> {
    let packages = root().join("tests/deploy/packages");
    let program = packages.join("bin").join(name);
    if !program.exists() {
        println!("SKIPPED: {name} is not here; scripts/test installs it where it can be had");
        return None;
    }
    let mut command = Command::new(program);
    command.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    Some(command)
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

#[test]
fn tools_that_read_the_files_find_no_fault() {
    if let Some(mut compose) = tool("docker-compose") {
        let output = compose.current_dir(root()).args(["config", "--quiet"]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    }
    if let Some(mut hadolint) = tool("hadolint") {
        let output = hadolint.arg(root().join("Dockerfile")).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    let ask = |program: &str, args: &[&str], paths: &[PathBuf]| {
        if let Ok(output) = Command::new(program).args(args).args(paths).output() {
            assert!(output.status.success(), "{program}: {}", said(&output));
        } else {
            println!("SKIPPED: there is no {program} here");
        }
    };
    ask("promtool", &["check", "config"], &[root().join("deploy/prometheus/prometheus.yml")]);
    let dir = tempfile::tempdir().unwrap();
    let unit = dir.path().join("updates-bridge.service");
    // It looks for the program too.
    let own = read("deploy/systemd/updates-bridge.service")
        .replace("/usr/local/bin/updates-bridge", env!("CARGO_BIN_EXE_updates-bridge"));
    std::fs::write(&unit, own).unwrap();
    ask("systemd-analyze", &["verify", "--man=no"], &[unit]);
}

#[test]
fn the_unit_starts_what_there_is_and_waits_for_its_end() {
    let unit = read("deploy/systemd/updates-bridge.service");
    let value = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {key}")).to_owned()
    };
    let start = value("ExecStart");
    let args: Vec<&str> = start.split_whitespace().collect();
    assert_eq!(args[..2], ["/usr/local/bin/updates-bridge", "serve"]);
    let output = gateway().args(&args[1..]).arg("--help").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let state = value("Environment").replace("%S", "/var/lib");
    let (name, dir) = state.split_once('=').unwrap();
    assert_eq!(dir, format!("/var/lib/{}", value("StateDirectory")));
    let mut variables = BTreeMap::from([(name.into(), dir.into())]);
    variables.insert("JWT_SECRET".into(), "a secret of at least thirty-two bytes".into());
    variables.insert("CHAT3_API_KEY".into(), "a key of some length".into());
    let settings = settings(&root().join("config"), &variables);
    assert_eq!(settings["state_dir"], dir);
    assert!(seconds(&value("TimeoutStopSec")) > seconds(&text(&settings["http.drain_timeout"])));
}

#[test]
fn the_archive_of_a_release_has_the_program_and_its_completions() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(root().join("scripts/release"))
        .env("BINARY", env!("CARGO_BIN_EXE_updates-bridge"))
        .env("OUT", dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let mut unpack = Command::new("sh");
    unpack.args(["-c", "sha256sum -c *.sha256 && rm -r */ && tar xzf *.tar.gz && rm *.gz *.sha256"]);
    let checked = unpack.current_dir(dir.path()).output().unwrap();
    assert!(checked.status.success(), "{}", said(&checked));
    let name = format!("updates-bridge-{}-", env!("CARGO_PKG_VERSION"));
    let own = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap();
    assert!(own.file_name().to_str().unwrap().starts_with(&name));
    let runs = Command::new(own.path().join("updates-bridge")).arg("--version").output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&runs.stdout).trim(),
        name.replace("bridge-", "bridge ").trim_end_matches('-')
    );
    let bash = std::fs::read_to_string(own.path().join("completions/updates-bridge.bash")).unwrap();
    assert!(bash.contains("complete -F") && bash.contains("rollback"), "{bash}");
    assert!(own.path().join("updates-bridge.service").exists() && own.path().join("config/default.toml").exists());
}

/// What the Dockerfile says of the image.
struct Image {
    env: BTreeMap<String, String>,
    args: Vec<String>,
    health: Vec<String>,
}

fn image() -> Image {
    let file = read("Dockerfile").replace("\\\n", " ");
    let last = file.rsplit("\nFROM ").next().unwrap();
    let list = |word: &str| -> Vec<String> {
        let line = last.lines().find(|line| line.starts_with(word)).unwrap_or_else(|| panic!("no {word}"));
        serde_json::from_str(&line[line.find('[').unwrap()..]).unwrap()
    };
    let env = last.lines().filter_map(|line| line.strip_prefix("ENV ")).flat_map(str::split_whitespace);
    let env = env.map(|pair| pair.split_once('=').unwrap()).map(|(name, value)| (name.into(), value.into()));
    let (entry, cmd, health) = (list("ENTRYPOINT"), list("CMD"), list("HEALTHCHECK"));
    assert_eq!(entry, ["/usr/local/bin/updates-bridge"]);
    assert!(last.contains("USER 65532:65532") && last.contains("COPY config /etc/updates-bridge"));
    Image { env: env.collect(), args: cmd, health }
}

/// A process of the composition; it ends with the test.
struct Running {
    child: Child,
    out: PathBuf,
}

impl Running {
    fn start(command: &mut Command, dir: &Path, name: &str) -> Self {
        let out = dir.join(format!("{name}.out"));
        let file = |name: &Path| std::fs::File::create(name).unwrap();
        let err = dir.join(format!("{name}.err"));
        let child = command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err)).current_dir(dir);
        Self { child: child.spawn().unwrap(), out }
    }

    /// What it has printed, once `is_whole` says so.
    fn printed(&mut self, is_whole: impl Fn(&str) -> bool) -> String {
        eventually("its output", s(60), || {
            assert!(self.child.try_wait().unwrap().is_none(), "{}", self.log());
            std::fs::read_to_string(&self.out).ok().filter(|text| is_whole(text))
        })
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.out.with_extension("err")).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            println!("--- {}\n{}", self.out.display(), self.log());
        }
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// The services of the composition as processes, each with its own command and variables; only addresses are others.
#[test]
fn the_composition_runs_with_the_images_command_and_its_proxy_keeps_websockets() {
    let _turn = Turn::beside();
    let (composition, image) = (composition(), image());
    let services = &composition["services"];
    let dir = tempfile::tempdir().unwrap();
    let amqp = rabbit::shared(|node| node.url());
    let words = |list: &Value| -> Vec<String> { list.as_array().unwrap().iter().map(text).collect() };
    let ports: Vec<u16> = (0..5).map(|_| free_port()).collect();
    let local = |written: &str| {
        let mut own = written.replace("amqp://guest:guest@rabbitmq:5672/%2F", &amqp);
        own = own.replace("http://chat3:3000", &format!("http://127.0.0.1:{}", ports[4]));
        for (number, gateway) in ["gateway-1", "gateway-2"].iter().enumerate() {
            own = own.replace(&format!("{gateway}:3001"), &format!("127.0.0.1:{}", ports[number]));
            own = own.replace(&format!("{gateway}:3002"), &format!("127.0.0.1:{}", ports[2 + number]));
        }
        own.replace("--port=3000", &format!("--port={}", ports[4])).replace("172.30.3.0/24", "127.0.0.0/8")
    };
    let args: Vec<String> = words(&services["chat3"]["command"]).iter().map(|word| local(word)).collect();
    let mut chat3 = Running::start(gateway().args(&args), dir.path(), "chat3");
    let env = chat3.printed(|text| text.contains("# ready"));
    let value = |name: &str| {
        let line = env.lines().find_map(|line| line.strip_prefix(&format!("export {name}='")));
        line.unwrap_or_else(|| panic!("{name}: {env}")).split('\'').next().unwrap().to_owned()
    };
    let health = words(&services["chat3"]["healthcheck"]["test"]);
    assert_eq!(health[..3], ["CMD", "updates-bridge", "health"]);
    let at_chat3 = health[3].replace("127.0.0.1:3000", &format!("127.0.0.1:{}", ports[4]));
    let asked = gateway().args(["health", &at_chat3]).output().unwrap();
    assert!(asked.status.success(), "{}", said(&asked));

    std::os::unix::fs::symlink(root().join("config"), dir.path().join("etc")).unwrap();
    let mut gateways = Vec::new();
    for (number, name) in ["gateway-1", "gateway-2"].into_iter().enumerate() {
        let mut variables = image.env.clone();
        variables.extend(environment(&services[name]).into_iter().map(|(name, value)| (name, local(&value))));
        let own = dir.path().join(name);
        variables.insert("BRIDGE_STATE_DIR".into(), own.display().to_string());
        variables.insert("BRIDGE_HTTP__LISTEN".into(), format!("127.0.0.1:{}", ports[number]));
        variables.insert("BRIDGE_ADMIN__LISTEN".into(), format!("127.0.0.1:{}", ports[2 + number]));
        let args = image.args.iter().map(|word| word.replace("/etc/updates-bridge", "etc"));
        let mut running = Running::start(gateway().args(args).envs(variables), dir.path(), name);
        running.printed(|text| text.contains("http"));
        let mut health = image.health.clone();
        assert_eq!(health.remove(0), "updates-bridge");
        let url = format!("http://127.0.0.1:{}/healthz", ports[number]);
        let asked = gateway().args(health).arg(url).output().unwrap();
        assert!(asked.status.success(), "{}", said(&asked));
        gateways.push(running);
    }
    let token = environment(&services["gateway-1"])["BRIDGE_ADMIN__TOKEN"].clone();
    let nodes = format!("127.0.0.1:{},127.0.0.1:{}", ports[2], ports[3]);
    eventually("both in shadow, with one fleet", s(60), || {
        let shown = gateway()
            .args(["flag", "show", "--fleet", "--json", "--token", &token, "--node"])
            .arg(nodes.split(',').next().unwrap())
            .output()
            .unwrap();
        let text = said(&shown);
        (shown.status.success() && text.matches("\"stage\": \"shadow\"").count() == 2).then_some(())
    });

    let front = free_port();
    let config = read("deploy/haproxy/haproxy.cfg");
    // Open files are few here.
    let config = local(&config)
        .replace("maxconn 20000", "maxconn 200")
        .replace("bind :8080", &format!("bind 127.0.0.1:{front}"));
    let file = dir.path().join("haproxy.cfg");
    std::fs::write(&file, config).unwrap();
    let is_here = Command::new("haproxy").arg("-v").output().is_ok_and(|output| output.status.success());
    if !is_here {
        println!("SKIPPED: there is no haproxy here (Debian: apt-get install haproxy): the proxy is not tried");
        return;
    }
    let _proxy = Running::start(Command::new("haproxy").arg("-db").arg("-f").arg(&file), dir.path(), "haproxy");
    let url = format!("http://127.0.0.1:{front}");
    eventually("a gateway behind the proxy", s(60), || {
        let asked = gateway().args(["health", &format!("{url}/readyz")]).output().unwrap();
        asked.status.success().then_some(())
    });
    let mut js = Js::start();
    let (person, dialog) = (value("TOKEN_1"), value("DIALOG"));
    for (id, transports) in [("upgrades", json!(["polling", "websocket"])), ("at once", json!(["websocket"]))] {
        js.connect(id, &url, &json!({"auth": {"token": person}, "transports": transports}));
        js.wait_for(id, "authenticated", s(60));
        js.join(id, &dialog);
        // The people of the composition talk.
        js.wait_count(id, "message:new", 3, s(60));
    }
    // One that drains gets no new clients; those that it had come back elsewhere by themselves.
    let serving = |gateway: &Running| {
        let line = std::fs::read_to_string(&gateway.out).unwrap();
        let addresses: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
        let ask = reqwest::Client::new().get(format!("http://{}/admin/sessions", text(&addresses["admin"])));
        let sessions = runtime().block_on(async { ask.bearer_auth(&token).send().await.unwrap().text().await });
        sessions.unwrap().matches("\"transport\"").count()
    };
    // The people of the composition talk over both.
    let place = (0..2).max_by_key(|place| serving(&gateways[*place])).unwrap();
    let pid = gateways[place].child.id().to_string();
    ["upgrades", "at once"].into_iter().for_each(|id| js.forget(id));
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    eventually("its end", s(60), || gateways[place].child.try_wait().unwrap());
    js.connect("after", &url, &json!({"auth": {"token": person}, "transports": ["websocket"]}));
    for id in ["upgrades", "at once", "after"] {
        js.wait_for(id, "authenticated", s(60));
        js.join(id, &dialog);
        js.wait_count(id, "message:new", 2, s(60));
    }
}
