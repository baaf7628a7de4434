//! Ideas how to receive what is another user's, or to get into a dialog of others: each is refused, and brings nothing.

use serde_json::{Value, json};
use updates_bridge::demo::StandInOptions;

use super::kit::bridge::token;
use super::kit::js::Js;
use super::kit::world::World;
use super::kit::{eventually, s};

fn ids(js: &Js, id: &str) -> Vec<String> {
    let got = js.got(id, "update");
    got.iter().filter_map(|update| update["entityId"].as_str().map(ToOwned::to_owned)).collect()
}

#[test]
fn no_id_and_no_subscription_binds_anything_of_somebody_else() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("live").env("BRIDGE_AUTH__HANDSHAKE", "optional").start().ready();
    let mut js = Js::start();
    js.sign_on("eve", &bridge, "frn_eve");
    js.sign_on("bob", &bridge, "frn_bob");
    for (n, user) in
        ["*", "#", "frn_bob.*", "*.frn_bob", "#.frn_bob.#", "frn_bob.messageupdate", "frn bob", "frn_bob\n", ""]
            .iter()
            .enumerate()
    {
        let id = format!("odd{n}");
        js.connect(&id, &bridge.http, &json!({"auth": {}, "reconnection": false}));
        js.wait_for(&id, "connect", s(10));
        let answer = js.call(&id, "authenticate", &[json!({"token": token(user)})]);
        assert_eq!(answer["ok"], false, "{user:?}: {answer}");
    }
    for types in [
        json!(["*"]),
        json!(["#"]),
        json!(["messageupdate.frn_bob"]),
        json!(["*.frn_bob.*"]),
        json!(["frn_bob.#"]),
        json!([" "]),
        json!([["messageupdate"]]),
        json!({"0": "#"}),
        json!("#"),
    ] {
        let answer = js.call("eve", "subscribe", std::slice::from_ref(&types));
        assert_eq!(answer["ok"], false, "{types}: {answer}");
    }
    world.update("frn_bob", "message.create", "msg_of_bob");
    world.update("frn_eve", "message.create", "msg_of_eve");
    eventually("both have their own", s(10), || {
        (ids(&js, "bob") == ["msg_of_bob"] && ids(&js, "eve") == ["msg_of_eve"]).then_some(())
    });
}

#[test]
fn no_socket_becomes_another_users_and_no_token_of_another_is_taken_up() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("live").start().ready();
    let mut js = Js::start();
    js.sign_on("eve", &bridge, "fra_eve");
    let bob = js.sign_on("bob", &bridge, "fra_bob");
    let answer = js.call("eve", "authenticate", &[json!({"token": token("fra_bob")})]);
    assert_eq!(answer, json!({"ok": false, "error": "this socket belongs to another user"}));
    let answer = js.call("eve", "authenticate", &[json!({"token": token("fra_eve"), "userId": "fra_bob"})]);
    assert_eq!(answer["userId"], "fra_eve", "who the body says that it is counts for nothing");
    // Bob is away, and something waits for him.
    js.act("bob", "close", &json!({}));
    world.update("fra_bob", "message.create", "msg_while_away");
    let resume = json!({"token": token("fra_eve"), "resume": bob["resume"]});
    let second = js.sign_on_with("eve2", &bridge, resume);
    assert_eq!((&second["userId"], &second["recovered"]), (&json!("fra_eve"), &json!(false)), "{second}");
    let again = js.call("eve", "authenticate", &[json!({"token": token("fra_eve"), "resume": bob["resume"]})]);
    assert_eq!(again["recovered"], false, "{again}");
    world.update("fra_eve", "message.create", "msg_of_eve");
    eventually("its own", s(10), || ids(&js, "eve2").contains(&"msg_of_eve".to_owned()).then_some(()));
    assert!(!ids(&js, "eve").contains(&"msg_while_away".to_owned()));
    assert_eq!(ids(&js, "eve2"), ["msg_of_eve"]);
}

#[test]
fn updates_of_another_tenant_or_under_another_users_key_reach_nobody() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("live").start().ready();
    let mut js = Js::start();
    js.sign_on("eve", &bridge, "frt_eve");
    js.sign_on("bob", &bridge, "frt_bob");
    let publish = |key: &str, tenant: &str, user: &str, entity: &str| {
        let body = json!({"tenantId": tenant, "userId": user, "entityId": entity, "eventId": format!("evt_{entity}"),
            "eventType": "message.create", "data": {"dialogId": "dlg_x"}});
        world.publish(&format!("user.user.{key}.messageupdate"), Vec::new(), body.to_string().as_bytes());
    };
    for tenant in ["tnt_other", "TNT_DEFAULT", "tnt_default ", ""] {
        publish("frt_bob", tenant, "frt_bob", "msg_foreign");
    }
    publish("frt_eve", "tnt_default", "frt_bob", "msg_leak_one");
    publish("frt_bob", "tnt_default", "frt_eve", "msg_leak_two");
    publish("frt_bob", "tnt_default", "frt_bob", "msg_last");
    publish("frt_eve", "tnt_default", "frt_eve", "msg_last");
    eventually("the last of each", s(10), || {
        (!ids(&js, "bob").is_empty() && !ids(&js, "eve").is_empty()).then_some(())
    });
    assert_eq!((ids(&js, "bob"), ids(&js, "eve")), (vec!["msg_last".to_owned()], vec!["msg_last".to_owned()]));
    assert_eq!(bridge.counted("bridge_updates_foreign_total"), 4);
    assert_eq!(bridge.counted("bridge_updates_leaked_total"), 2);
}

#[test]
fn no_spelling_of_a_dialog_opens_one_of_others() {
    let world = World::alone(StandInOptions::default());
    let (own, theirs) = (world.chat3.add_dialog(&["frd_eve", "frd_bob"]), world.chat3.add_dialog(&["frd_bob"]));
    let bridge = world.setup("legacy").env("BRIDGE_MEMBERSHIP__MODE", "enforce").unset(&["RABBITMQ_URL"]).start();
    let mut js = Js::start();
    js.sign_on("eve", &bridge, "frd_eve");
    js.sign_on("bob", &bridge, "frd_bob");
    js.join("eve", &own);
    js.join("bob", &theirs);
    let spelled = |text: &str| json!(text);
    for dialog in [
        spelled(&theirs),
        spelled(&format!(" {theirs}")),
        spelled(&format!("{theirs} ")),
        spelled(&format!("{theirs}/members")),
        spelled(&format!("{own}/../{theirs}")),
        spelled(&format!("{own}?x={theirs}")),
        spelled(&format!("{own}%2f..%2f{theirs}")),
        spelled(&theirs.to_uppercase()),
        json!([theirs]),
        json!({"dialogId": theirs}),
        Value::Null,
    ] {
        let answer = js.call("eve", "dialog:join", std::slice::from_ref(&dialog));
        assert_eq!(answer["ok"], false, "{dialog}: {answer}");
        let answer = js.call("eve", "typing:start", &[json!({"dialogId": dialog})]);
        assert_eq!(answer["ok"], false, "{dialog}: {answer}");
    }
    assert_eq!(bridge.post_message("frd_eve", &theirs, &json!({"content": "let me in"})).0, 403);
    bridge.say("frd_bob", &theirs, "among us");
    bridge.say("frd_bob", &own, "to both");
    js.wait_for("eve", "message:new", s(10));
    js.wait_for("bob", "message:new", s(10));
    assert_eq!(js.got("eve", "message:new").len(), 1, "{:?}", js.got("eve", "message:new"));
    assert!(js.got("bob", "typing:start").is_empty());
}
