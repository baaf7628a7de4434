//! The composition.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

use super::image::image;
use super::running::Running;
use super::{documents, gateway, read, root, said, seconds, settings, text};
use crate::kit::js::Js;
use crate::kit::{Turn, eventually, rabbit, runtime, s};

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

/// Variables of a service.
fn environment(service: &Value) -> BTreeMap<String, String> {
    service["environment"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect()
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
