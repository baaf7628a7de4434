//! One poster for each dialog, message after message, at either gateway, past every fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::plan::Dice;
use super::record::{Outcome, Post, Record, content, now};
use crate::kit::bridge::token;
use crate::kit::s;

/// What messages say, which tells the proxy before Chat3 what to do with the answer.
pub(super) type Word = Arc<Mutex<&'static str>>;

pub(super) struct Poster {
    pub(super) record: Arc<Record>,
    pub(super) dialog: usize,
    pub(super) id: String,
    pub(super) urls: [String; 2],
    pub(super) word: Word,
    pub(super) stop: Arc<AtomicBool>,
    /// Between two messages, in ms.
    pub(super) every: u64,
}

impl Poster {
    pub(super) async fn post(self, mut dice: Dice) {
        let http = reqwest::Client::builder().timeout(s(60)).build().expect("a client");
        while !self.stop.load(Ordering::Acquire) {
            sleep(dice.ms(self.every / 2, self.every * 3 / 2)).await;
            let at = dice.below(2);
            let members = &self.record.members[self.dialog];
            let user = &members[dice.below(members.len())];
            let begun = now();
            let number = {
                let mut posts = self.record.posts.lock();
                let posts = &mut posts[self.dialog];
                posts.push(Post { begun, answered: u64::MAX, outcome: Outcome::Open, at });
                posts.len() - 1
            };
            let word = *self.word.lock();
            let body = json!({"content": content(word, (self.dialog, number)), "meta": {"number": number}});
            let url = format!("{}/api/messages/dialog/{}", self.urls[at], self.id);
            let sent = http.post(&url).bearer_auth(token(user)).json(&body).send().await;
            let outcome = match sent {
                Err(error) if error.is_connect() => Outcome::Refused,
                Err(_) => Outcome::Unknown,
                Ok(answer) => match answer.status().as_u16() {
                    201 => Outcome::Accepted,
                    429 | 503 => Outcome::Refused,
                    502 | 504 => Outcome::Unknown,
                    other => {
                        let answer: Value = answer.json().await.unwrap_or_default();
                        self.record.findings.add("answer", &format!("a POST of a member: {other} {answer}"));
                        Outcome::Unknown
                    }
                },
            };
            let answered = now();
            if outcome != Outcome::Accepted && !self.record.faults.touches(begun, answered) {
                self.record.findings.add("answer", &format!("{outcome:?} without a fault at {begun}"));
            }
            let mut posts = self.record.posts.lock();
            let post = &mut posts[self.dialog][number];
            (post.answered, post.outcome) = (answered, outcome);
        }
    }
}
