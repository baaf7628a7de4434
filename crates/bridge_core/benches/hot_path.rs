//! What one delivery costs in the core: reading an update, one turn of a recipient, and the comparison of one message.
//!
//! `just bench core`. Figures of one machine mean little; compare two commits on it.

use std::hint::black_box;
use std::sync::Arc;

use bridge_core::compare::{Comparator, Event, Limits as CompareLimits};
use bridge_core::form::Form;
use bridge_core::gate::Limits;
use bridge_core::recipient::{
    Effect, Input, LegacyArrival, LegacyCopy, LinkId, Recipient, ReplayLimit, Rules, SignOn, UpdateArrival, World,
};
use bridge_core::update::{LegacyMessage, Update};
use bridge_core::{DialogId, Json, Millis, SocketId, Stage, UserId};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;

struct Quiet;

impl World for Quiet {
    fn is_member(&self, _dialog: &DialogId) -> Option<bool> {
        Some(true)
    }
    fn dialog_of(&self, update: &Update) -> Option<DialogId> {
        DialogId::new(update.dialog()?).ok()
    }
    fn posted_in(&self) -> Vec<DialogId> {
        Vec::new()
    }
    fn session_is_up(&self) -> bool {
        true
    }
    fn is_running(&self) -> bool {
        true
    }
    fn members_hear_legacy(&self) -> bool {
        false
    }
    fn replay_limit(&self) -> ReplayLimit {
        ReplayLimit { most: 1 << 20, share: 64 << 10 }
    }
    fn handed(&self, _link: LinkId) -> u64 {
        u64::MAX
    }
}

fn body(n: u64, content: usize) -> String {
    json!({"_id": format!("{n:024x}"), "tenantId": "tnt_default", "userId": "usr_a", "entityId": format!("msg_{n}"),
        "eventId": format!("evt_{n}"), "sourceEventType": "message.create", "updateType": "update.message",
        "createdAt": 1_763_600_000_000_u64 + n, "data": {"message": {"messageId": format!("msg_{n}"), "dialogId": "dlg_1",
        "senderId": "usr_b", "type": "internal.text", "content": "x".repeat(content), "meta": {}, "createdAt": n}}})
    .to_string()
}

fn recipient(stage: Stage) -> Recipient {
    let rules = Rules { tenant: "tnt_default".into(), gate: Limits::default(), linger: 5_000, replay_age: 65_000 };
    let mut recipient = Recipient::new(UserId::new("usr_a").expect("an id"), Arc::new(rules), stage);
    let sign_on = SignOn {
        socket: SocketId(1),
        link: LinkId(1),
        name: None,
        accepts: None,
        undeclared: Form::Update,
        selection: None,
        claim: None,
    };
    let mut effects = Vec::new();
    recipient.apply(Millis(0), Input::SignedOn(sign_on), &Quiet, &mut effects);
    let dialog = DialogId::new("dlg_1").expect("an id");
    recipient.apply(Millis(0), Input::Joined { socket: SocketId(1), dialog }, &Quiet, &mut effects);
    recipient
}

fn read(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("read");
    for size in [200, 2_000] {
        let body = body(7, size);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("update of {size} B"), |bench| {
            bench.iter(|| Update::read(black_box(body.as_bytes()), 0));
        });
    }
    group.finish();
}

fn apply(bench: &mut Criterion) {
    for stage in [Stage::Complete, Stage::Shadow] {
        let (mut recipient, mut n) = (recipient(stage), 0);
        let mut effects = Vec::new();
        bench.bench_function(&format!("apply an update in {}", stage.name()), |bench| {
            let update = || {
                n += 1;
                (n, Arc::new(Update::read(body(n, 200).as_bytes(), 0).expect("an update")))
            };
            bench.iter_batched(
                update,
                |(n, update)| {
                    effects.clear();
                    let arrival = UpdateArrival {
                        update: &update,
                        routing_key: "update.dialog.user.usr_a.message",
                        redelivered: false,
                    };
                    recipient.apply(Millis(n), Input::Update(arrival), &Quiet, &mut effects);
                },
                BatchSize::SmallInput,
            );
        });
    }
}

/// Both copies of one message, from the recipient to the closed unit.
fn compare(bench: &mut Criterion) {
    let (mut recipient, mut comparator) =
        (recipient(Stage::Shadow), Comparator::new(CompareLimits { window: 5_000, memory: 64 << 20 }));
    let (mut n, mut effects) = (0, Vec::new());
    let dialog = DialogId::new("dlg_1").expect("an id");
    bench.bench_function("compare a message", |bench| {
        bench.iter(|| {
            n += 1;
            let now = Millis(n);
            let update = Arc::new(Update::read(body(n, 200).as_bytes(), 0).expect("an update"));
            let data: Json = update.message_part().expect("a message").into();
            let message = LegacyMessage::read(data.get()).message;
            let key = message.key("tnt_default").expect("a key");
            let sender = UserId::new("usr_b").expect("an id");
            let copy = Arc::new(LegacyCopy { data, dialog: dialog.clone(), message, key, sender });
            effects.clear();
            let legacy = LegacyArrival { copy: &copy, since: now, everywhere: false };
            recipient.apply(now, Input::Legacy(legacy), &Quiet, &mut effects);
            let arrival = UpdateArrival {
                update: &update,
                routing_key: "update.dialog.user.usr_a.message",
                redelivered: false,
            };
            recipient.apply(now, Input::Update(arrival), &Quiet, &mut effects);
            let seen: Vec<Event> = effects
                .drain(..)
                .filter_map(|effect| match effect {
                    Effect::Observe(event) => Some(event),
                    _ => None,
                })
                .collect();
            seen.into_iter().for_each(|event| comparator.observe(event));
            comparator.expire(now)
        });
    });
}

/// An update of a message that was posted elsewhere: applied, observed, closed and put down, ten in a millisecond.
fn alone(bench: &mut Criterion) {
    for stage in [Stage::Complete, Stage::Live] {
        let (mut recipient, mut comparator) =
            (recipient(stage), Comparator::new(CompareLimits { window: 5_000, memory: 24 << 20 }));
        let (mut made, mut n, mut effects) = (0, 0, Vec::new());
        let instance = "instance".into();
        bench.bench_function(&format!("an update posted elsewhere in {}", stage.name()), |bench| {
            let update = || {
                made += 1;
                Arc::new(Update::read(body(made, 200).as_bytes(), 0).expect("an update"))
            };
            let deliver = |update: Arc<Update>| {
                n += 1;
                let now = Millis(n / 10);
                let routing_key = "update.dialog.user.usr_a.message";
                let arrival = UpdateArrival { update: &update, routing_key, redelivered: false };
                recipient.apply(now, Input::Update(arrival), &Quiet, &mut effects);
                for effect in effects.drain(..) {
                    if let Effect::Observe(event) = effect {
                        comparator.observe(event);
                    }
                }
                if n % 1_000 == 0 {
                    for closed in comparator.expire(now) {
                        black_box(closed.record(&instance, |at| at.0.to_string(), false));
                    }
                }
            };
            bench.iter_batched(update, deliver, BatchSize::NumIterations(10_000));
        });
    }
}

criterion_group!(benches, read, apply, compare, alone);
criterion_main!(benches);
