use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use axum::Json;
use axum::Router;
use axum::extract::{Path, Query};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::config;

/// A moment after which the answers of [`brief`] are not believed any more.
const BRIEF: Duration = Duration::from_millis(1);

async fn membership(routes: Router, cache: Duration) -> Arc<Membership> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let settings = config::Chat3 { url, api_key: "key".into(), ..config::Chat3::default() };
    Arc::new(Membership::new(Chat3::new(&settings).unwrap(), cache, 250))
}

fn dialog() -> DialogId {
    DialogId::new("dlg_aaaaaaaaaaaaaaaaaaaa").unwrap()
}

fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

async fn ask(membership: &Membership, id: &str) -> MemberAnswer {
    tokio::time::sleep(BRIEF * 2).await;
    membership.check(&dialog(), &user(id)).await
}

fn no_route() -> Response {
    (StatusCode::NOT_FOUND, "<pre>Cannot GET /api/dialogs</pre>").into_response()
}

fn refused(status: u16, message: &str) -> Response {
    (StatusCode::from_u16(status).unwrap(), Json(json!({"error": "x", "message": message}))).into_response()
}

#[tokio::test]
async fn only_an_answer_about_the_dialog_says_that_it_is_not_there() {
    static CASE: AtomicU8 = AtomicU8::new(0);
    let routes = Router::new().fallback(|| async {
        match CASE.load(Ordering::Relaxed) {
            0 => refused(404, "Tenant 'tnt_default' not found"),
            1 => no_route(),
            2 => refused(400, "Validation error"),
            3 => refused(404, "Dialog not found"),
            _ => refused(
                400,
                "Invalid dialog ID format. Expected format: dlg_[20 lowercase alphanumeric characters]",
            ),
        }
    });
    let membership = membership(routes, BRIEF).await;
    for case in 0..5 {
        CASE.store(case, Ordering::Relaxed);
        let answer = ask(&membership, "a").await;
        assert_eq!(answer == MemberAnswer::NoDialog, case > 2, "{case}: {answer:?}");
        assert_eq!(matches!(answer, MemberAnswer::Unknown(_)), case <= 2, "{case}: {answer:?}");
    }
}

#[tokio::test]
async fn the_endpoint_is_found_again_when_chat3_is_rolled_back_and_upgraded() {
    static OLD: AtomicU8 = AtomicU8::new(0);
    let old = || OLD.load(Ordering::Relaxed) == 1;
    let members = move || async move {
        let page = json!({"data": [{"userId": "a"}], "pagination": {"page": 1, "pages": 1}});
        if old() { no_route() } else { Json(page).into_response() }
    };
    let inside = move || async move {
        let members = json!([{"userId": "a", "isActive": true}, {"userId": "gone", "isActive": false}]);
        Json(if old() { json!({"data": {"members": members}}) } else { json!({"data": {"memberCount": 1}}) })
    };
    let routes = Router::new()
        .route("/api/dialogs/{dialog}/members", axum::routing::get(members))
        .route("/api/dialogs/{dialog}", axum::routing::get(inside));
    let membership = membership(routes, BRIEF).await;
    for version in [0, 1, 0] {
        OLD.store(version, Ordering::Relaxed);
        assert_eq!(ask(&membership, "a").await, MemberAnswer::Member, "{version}");
        assert_eq!(ask(&membership, "gone").await, MemberAnswer::NotMember, "{version}");
    }
}

#[tokio::test]
async fn the_answer_about_a_dialog_tells_its_other_id() {
    let dialog_of = || async {
        Json(json!({"data": {"_id": "6b042c4058408bbf7fd91056", "dialogId": "dlg_aaaaaaaaaaaaaaaaaaaa",
            "members": [{"userId": "a", "isActive": true}]}}))
    };
    let routes = Router::new()
        .route("/api/dialogs/{dialog}/members", axum::routing::get(|| async { no_route() }))
        .route("/api/dialogs/{dialog}", axum::routing::get(dialog_of));
    let membership = membership(routes, Duration::from_secs(30)).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&told);
    membership.tell_dialogs(move |mongo, dialog| noted.lock().push((mongo.to_owned(), dialog.clone())));
    assert_eq!(membership.check(&dialog(), &user("a")).await, MemberAnswer::Member);
    assert_eq!(*told.lock(), [("6b042c4058408bbf7fd91056".to_owned(), dialog())]);
}

#[tokio::test]
async fn all_pages_are_read_even_when_chat3_gives_smaller_ones() {
    #[derive(serde::Deserialize)]
    struct Paging {
        page: usize,
        limit: usize,
    }
    let page = |Path(_): Path<String>, Query(paging): Query<Paging>| async move {
        let limit = paging.limit.min(50);
        let all = (0..120).map(|user| json!({"userId": format!("u{user}")}));
        let data: Vec<Value> = all.skip((paging.page - 1) * limit).take(limit).collect();
        Json(json!({"data": data, "pagination": {"page": paging.page, "limit": limit, "total": 120, "pages": 3}}))
    };
    let routes = Router::new().route("/api/dialogs/{dialog}/members", axum::routing::get(page));
    let membership = membership(routes, Duration::from_secs(30)).await;
    assert_eq!(ask(&membership, "u119").await, MemberAnswer::Member);
    assert_eq!(membership.known(&dialog(), &user("u0")), Some(true));
    assert_eq!(membership.known(&dialog(), &user("u120")), Some(false));
}

#[tokio::test]
async fn many_who_wait_share_one_question_and_its_failure() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let routes = Router::new().fallback(|| async {
        ASKED.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
        StatusCode::SERVICE_UNAVAILABLE
    });
    let membership = membership(routes, Duration::from_secs(30)).await;
    let start = Instant::now();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let membership = Arc::clone(&membership);
            tokio::spawn(async move { membership.check(&dialog(), &user("a")).await })
        })
        .collect();
    for one in waiting {
        assert!(matches!(one.await.unwrap(), MemberAnswer::Unknown(_)));
    }
    assert_eq!(ASKED.load(Ordering::Relaxed), 1);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}: one after another it is 20 s", start.elapsed());
}

#[tokio::test]
async fn callers_who_go_away_leave_nothing_behind() {
    let routes = Router::new().fallback(|| async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        StatusCode::SERVICE_UNAVAILABLE
    });
    let membership = membership(routes, Duration::from_secs(30)).await;
    for other in 0..20 {
        let other = DialogId::new(&format!("dlg_{other}")).unwrap();
        let gone = timeout(BRIEF, async { membership.check(&other, &user("a")).await }).await;
        assert!(gone.is_err(), "it was still being asked");
    }
    assert!(!membership.asker.open.lock().is_empty(), "the questions go on");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(membership.asker.open.lock().is_empty());
}

#[tokio::test]
async fn one_user_can_not_have_all_questions() {
    let routes = Router::new().fallback(|| async {
        std::future::pending::<()>().await;
        StatusCode::OK
    });
    let membership = membership(routes, Duration::from_secs(30)).await;
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..open::MOST {
        let (membership, other) = (Arc::clone(&membership), DialogId::new(&format!("dlg_{n}")).unwrap());
        waiting.spawn(async move { membership.check(&other, &user("greedy")).await });
    }
    for _ in 0..open::MOST - 250 {
        let refused = waiting.join_next().await.unwrap().unwrap();
        assert_eq!(refused, MemberAnswer::Unknown("too many open questions".into()));
    }
    assert_eq!(membership.asker.open.lock().len(), 250);
    assert!(membership.question(&dialog(), Some(&user("modest"))).is_some());
    assert!(membership.question(&DialogId::new("dlg_0").unwrap(), Some(&user("greedy"))).is_some(), "it is open");
}

#[tokio::test]
async fn what_a_user_is_expected_to_ask_counts_for_it() {
    let routes = Router::new().fallback(|| async {
        std::future::pending::<()>().await;
        StatusCode::OK
    });
    let membership = membership(routes, Duration::from_secs(30)).await;
    for n in 0..open::MOST {
        membership.expect(&DialogId::new(&format!("dlg_{n}")).unwrap(), Some(&user("greedy")));
    }
    assert_eq!(membership.asker.open.lock().len(), 250);
    membership.expect(&DialogId::new("dlg_other").unwrap(), Some(&user("modest")));
    assert_eq!(membership.asker.open.lock().len(), 251);
}

#[tokio::test]
async fn who_was_just_invited_is_asked_about_again() {
    static MEMBERS: AtomicU8 = AtomicU8::new(0);
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let routes = Router::new().fallback(|| async {
        ASKED.fetch_add(1, Ordering::Relaxed);
        match MEMBERS.load(Ordering::Relaxed) {
            0 => refused(404, "Dialog not found"),
            1 => Json(json!({"data": []})).into_response(),
            _ => Json(json!({"data": [{"userId": "a"}]})).into_response(),
        }
    });
    let membership = membership(routes, Duration::from_secs(3_600)).await;
    for (members, answer) in [(0, MemberAnswer::NoDialog), (1, MemberAnswer::NotMember), (2, MemberAnswer::Member)]
    {
        MEMBERS.store(members, Ordering::Relaxed);
        let asked = ASKED.load(Ordering::Relaxed);
        for _ in 0..10 {
            assert_eq!(membership.check(&dialog(), &user("a")).await, answer);
        }
        assert!(ASKED.load(Ordering::Relaxed) - asked <= 2, "a refusal is believed for a moment");
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    let asked = ASKED.load(Ordering::Relaxed);
    assert_eq!(membership.check(&dialog(), &user("a")).await, MemberAnswer::Member);
    assert_eq!(ASKED.load(Ordering::Relaxed), asked, "a member is believed for the cache's time");
}

#[tokio::test]
async fn somebody_who_leaves_between_two_pages_hides_no_other_member() {
    #[derive(serde::Deserialize)]
    struct Paging {
        page: usize,
        limit: usize,
    }
    static LEFT: AtomicUsize = AtomicUsize::new(0);
    // Each time that a second page is asked for, one of the first page has left meanwhile.
    let page = |Path(_): Path<String>, Query(paging): Query<Paging>| async move {
        if paging.page == 2 && LEFT.load(Ordering::Relaxed) < 2 {
            LEFT.fetch_add(1, Ordering::Relaxed);
        }
        let all: Vec<Value> =
            (LEFT.load(Ordering::Relaxed)..150).map(|user| json!({"userId": format!("u{user}")})).collect();
        let (total, pages) = (all.len(), all.len().div_ceil(paging.limit));
        let data: Vec<Value> = all.into_iter().skip((paging.page - 1) * paging.limit).take(paging.limit).collect();
        Json(json!({"data": data, "pagination": {"page": paging.page, "total": total, "pages": pages}}))
    };
    let routes = Router::new().route("/api/dialogs/{dialog}/members", axum::routing::get(page));
    let membership = membership(routes, Duration::from_secs(30)).await;
    for id in ["u99", "u100", "u101", "u102", "u149"] {
        assert_eq!(membership.check(&dialog(), &user(id)).await, MemberAnswer::Member, "{id}");
    }
}

#[tokio::test]
async fn nobody_is_gone_at_the_first_look() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let routes = Router::new().fallback(|| async {
        let first = ASKED.fetch_add(1, Ordering::Relaxed) == 0;
        Json(if first { json!({"data": []}) } else { json!({"data": [{"userId": "a"}]}) })
    });
    let membership = membership(routes, Duration::from_secs(30)).await;
    assert!(!membership.is_gone(&dialog(), &user("a"), Duration::from_secs(10)).await);
    assert!(membership.is_gone(&dialog(), &user("b"), Duration::ZERO).await);
}
