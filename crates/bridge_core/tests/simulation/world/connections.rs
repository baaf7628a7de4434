//! Clients that come, go, and come back.

use bridge_core::form::Form;
use bridge_core::recipient::{Answer, Claim, Input, LinkId, Presence, SignOn};
use bridge_core::{Millis, SocketId, Stage};

use super::{Event, World};
use crate::client::{Gap, Link, Page, Span, Token, What};
use crate::instance::dialog_id;

impl World<'_> {
    /// `resume`: with its token, and with `last` or without; `late`: only in a second `authenticate`.
    pub(super) fn connect(&mut self, tab: usize, instance: usize, resume: Option<bool>, late: bool) {
        let user = self.tabs[tab].user;
        let number = self.instances[instance].number();
        let (link, socket) = (LinkId(number), SocketId(number));
        let made = Link { tab, user, outbox: Vec::new(), taken: 0, wire: Vec::new(), closed: false };
        self.instances[instance].links.insert(link, made);
        self.tabs[tab].connection = Some((instance, link));
        let token = self.tabs[tab].token.filter(|_| resume.is_some());
        let claimed = token.is_some();
        if let (true, Some(token), Some(last)) = (late, token, resume) {
            self.after(15, Event::Renew { tab, last, token });
        }
        let last_id = self.last_id(tab).filter(|_| resume == Some(true));
        let claim = match token {
            Some(token) if !late => Some(self.claim(instance, token, user, last_id.as_deref())),
            _ => None,
        };
        let named_last = last_id.is_some();
        let sign_on =
            SignOn { socket, link, name: None, accepts: None, undeclared: Form::Update, selection: None, claim };
        let answer = self.apply(instance, user, Input::SignedOn(sign_on));
        let Answer::Signed { socket, recovered, whole_until } = answer else {
            unreachable!("a sign-on is answered")
        };
        self.give_token(tab, instance, socket, whole_until);
        self.tabs[tab].socket = Some((instance, socket));
        if recovered {
            let page = self.tabs[tab].page.expect("what is recovered was there");
            self.pages[page].goes_on(named_last);
        } else {
            self.must_not_fail(tab, instance, resume.is_some() && !late, named_last);
            self.new_page(tab, instance);
            self.pages.last_mut().expect("it is new").in_vain = claimed && !late;
        }
        self.after(5, Event::Check { instance, user, socket, since: self.now });
    }

    fn give_token(&mut self, tab: usize, instance: usize, socket: SocketId, whole_until: Millis) {
        let number = self.instances[instance].number();
        self.instances[instance].tokens.insert(number, (self.tabs[tab].user, socket));
        self.tabs[tab].token = Some(Token { instance, number, whole_until });
    }

    /// A resume on the same instance within the linger recovers, unless more was missed than is kept.
    fn must_not_fail(&mut self, tab: usize, instance: usize, resumed: bool, named_last: bool) {
        let Some(page) = self.tabs[tab].page.map(|page| &self.pages[page]) else { return };
        let began = self.instances[instance].stages[0].0;
        let since = page.open.until.unwrap_or_default();
        let in_time = self.now < since + self.plan.linger && page.instance == instance && began <= page.open.from;
        // Only of what a transport took may have been let go for want of room, unless memory was short.
        let short = self.instances[instance].short >= since;
        let kept = if named_last || short { self.plan.replay.share } else { self.plan.replay.most };
        if resumed && in_time && kept > 10_000 {
            self.fault = Some(format!("at {} tab {tab} came back in time and was not recovered", self.now));
        }
    }

    fn new_page(&mut self, tab: usize, instance: usize) {
        self.pages.push(Page::new(tab, instance, self.now));
        self.tabs[tab].page = Some(self.pages.len() - 1);
        self.tabs[tab].last = None;
        for dialog in self.tabs[tab].wants.clone() {
            self.after(5, Event::Join { tab, dialog });
        }
    }

    fn last_id(&self, tab: usize) -> Option<String> {
        let message = self.tabs[tab].last?;
        Some(if self.plan.old_ids { super::posts::mongo(message) } else { format!("msg_{message}") })
    }

    fn claim<'a>(&mut self, instance: usize, token: Token, user: usize, last: Option<&'a str>) -> Claim<'a> {
        let known = self.instances[instance].tokens.get(&token.number).copied();
        match known {
            Some((owner, socket)) if token.instance == instance && owner == user => {
                let presence = self.instances[instance].recipients[&user].socket(socket).map(|own| own.presence());
                let link = presence.and_then(Presence::link);
                let handed = link.map(|link| {
                    let link = self.instances[instance].links.get_mut(&link).expect("it has a connection");
                    link.closed = true;
                    link.taken
                });
                Claim::Of { socket, last, handed }
            }
            _ => Claim::Unknown { since: token.whole_until },
        }
    }

    pub(super) fn renew(&mut self, tab: usize, last: bool, token: Token) {
        let (Some((instance, link)), Some((_, socket))) = (self.tabs[tab].connection, self.tabs[tab].socket)
        else {
            return;
        };
        let user = self.tabs[tab].user;
        let fresh = self.tabs[tab].page.expect("it signed on");
        // The page that went away, unless nobody was there before.
        let before = self.pages[..fresh].iter().rposition(|page| page.tab == tab);
        let Some(before) = before else { return };
        let last_message = self.pages[before].got.last().map(|(_, message)| *message);
        let last_id = last_message.filter(|_| last).map(|message| {
            if self.plan.old_ids { super::posts::mongo(message) } else { format!("msg_{message}") }
        });
        let claim = Some(self.claim(instance, token, user, last_id.as_deref()));
        let sign_on =
            SignOn { socket, link, name: None, accepts: None, undeclared: Form::Update, selection: None, claim };
        let own = &self.instances[instance].links[&link];
        let given = own.outbox.iter().chain(&own.wire).map(|(_, what)| *what).collect::<Vec<_>>();
        let answer = self.apply(instance, user, Input::Renewed { socket, sign_on });
        let Answer::Signed { recovered, whole_until, .. } = answer else { return };
        self.give_token(tab, instance, socket, whole_until);
        if recovered {
            // One page goes on: what came on the fresh connection belongs to it.
            let fresh = self.pages.remove(fresh);
            let page = &mut self.pages[before];
            page.goes_on(last_id.is_some());
            // What it was given before it said who it is may have reached the page that it goes on from.
            let had: Vec<usize> = page.got.iter().map(|(_, message)| *message).collect();
            page.got.extend(fresh.got.into_iter().filter(|(_, message)| !had.contains(message)));
            page.twice.extend(given.into_iter().filter_map(|what| match what {
                What::Message(message) if had.contains(&message) => Some(message),
                What::Message(_) | What::Resync(_) => None,
            }));
            page.told.extend(fresh.told);
            // Before it said who it is, it wanted everything.
            if let Some(span) = page.deaf.last_mut().filter(|span| span.until.is_none()) {
                span.until = Some(fresh.open.from);
                page.deaf.push(Span::since(self.now));
            }
            for (dialog, spans) in fresh.joined {
                if spans.iter().any(|span| span.until.is_none()) {
                    page.joins(dialog, spans[0].from);
                }
            }
            self.tabs[tab].page = Some(before);
            for tab in &mut self.tabs {
                tab.page = tab.page.map(|page| if page > before { page.min(self.pages.len() - 1) } else { page });
            }
            self.recount_pages();
        } else {
            self.pages[fresh].in_vain = true;
        }
        self.after(5, Event::Check { instance, user, socket, since: self.now });
    }

    /// Pages changed places: each tab has its newest.
    fn recount_pages(&mut self) {
        for (number, tab) in self.tabs.iter_mut().enumerate() {
            tab.page = self.pages.iter().rposition(|page| page.tab == number);
        }
    }

    pub(super) fn check(&mut self, instance: usize, user: usize, socket: SocketId, since: u64) {
        let now = self.now;
        let here = &self.instances[instance];
        let Some(recipient) = here.recipients.get(&user) else { return };
        let (stage, waited) = (recipient.stage(), now - since);
        let live = stage == Stage::Legacy || here.queue_is_live(user) || !here.facts.running;
        let most = if stage == Stage::Shadow { 1_000 } else { 10_000 };
        if !live && waited < most && (here.facts.session_up || !stage.use_rabbitmq_updates()) {
            self.after(100, Event::Check { instance, user, socket, since });
            return;
        }
        let tab = self.tabs.iter().find(|tab| tab.socket == Some((instance, socket)) && tab.connection.is_some());
        if let Some(page) = tab.and_then(|tab| tab.page) {
            let page = &mut self.pages[page];
            page.greeted.get_or_insert(now);
            if !live && stage.use_rabbitmq_updates() {
                page.late.get_or_insert(now);
            }
        }
        if !live {
            self.apply(instance, user, Input::Late { socket, since: Millis(since) });
        }
        self.apply(instance, user, Input::Greeted { socket });
    }

    pub(super) fn join(&mut self, tab: usize, dialog: usize) {
        let (Some((instance, _)), Some((_, socket))) = (self.tabs[tab].connection, self.tabs[tab].socket) else {
            return;
        };
        let user = self.tabs[tab].user;
        if !self.plan.members[dialog][user]
            || self.is_removed(user, dialog)
            || !self.tabs[tab].wants.contains(&dialog)
        {
            return;
        }
        if self.apply(instance, user, Input::Joined { socket, dialog: dialog_id(dialog) }) == Answer::Done {
            let (page, now) = (self.tabs[tab].page.expect("it signed on"), self.now);
            self.pages[page].joins(dialog, now);
        }
    }

    pub(super) fn leave(&mut self, tab: usize, dialog: usize) {
        self.tabs[tab].wants.remove(&dialog);
        let (Some((instance, _)), Some((_, socket))) = (self.tabs[tab].connection, self.tabs[tab].socket) else {
            return;
        };
        let user = self.tabs[tab].user;
        self.apply(instance, user, Input::Left { socket, dialog: dialog_id(dialog) });
        let (page, now) = (self.tabs[tab].page.expect("it signed on"), self.now);
        self.pages[page].leaves(dialog, now);
    }

    pub(super) fn messages(&mut self, tab: usize, wanted: bool) {
        let (Some((instance, _)), Some((_, socket))) = (self.tabs[tab].connection, self.tabs[tab].socket) else {
            return;
        };
        let (user, now) = (self.tabs[tab].user, self.now);
        let page = &mut self.pages[self.tabs[tab].page.expect("it signed on")];
        let types = if wanted {
            if let Some(span) = page.deaf.last_mut() {
                span.until.get_or_insert(now);
            }
            Vec::new()
        } else {
            page.deaf.push(Span::since(now));
            vec!["message".to_owned()]
        };
        let input =
            if wanted { Input::Subscribed { socket, types } } else { Input::Unsubscribed { socket, types } };
        self.apply(instance, user, input);
    }

    pub(super) fn removed(&mut self, user: usize, dialog: usize) {
        let now = self.now;
        for instance in 0..self.plan.instances {
            let who = (dialog_id(dialog), crate::instance::user_id(user));
            self.instances[instance].facts.strangers.insert(who);
            self.apply(instance, user, Input::PutOut { dialog: dialog_id(dialog) });
        }
        for page in self.pages.iter_mut().filter(|page| self.tabs[page.tab].user == user) {
            page.leaves(dialog, now);
        }
    }

    fn is_removed(&self, user: usize, dialog: usize) -> bool {
        self.removals.iter().any(|r| r.user == user && r.dialog == dialog && r.learnt <= self.now)
    }

    pub(super) fn drop(&mut self, tab: usize, arrives: bool, noticed: u64) {
        let Some((instance, link)) = self.tabs[tab].connection else { return };
        self.break_off(tab, arrives);
        let user = self.tabs[tab].user;
        self.after(noticed, Event::Noticed { instance, link, user });
    }

    /// The client's side of the end of a connection.
    pub(super) fn break_off(&mut self, tab: usize, arrives: bool) {
        let Some((instance, link)) = self.tabs[tab].connection.take() else { return };
        let now = self.now;
        let wire = {
            let link = self.instances[instance].links.get_mut(&link).expect("it has a connection");
            link.closed = true;
            std::mem::take(&mut link.wire)
        };
        for (at, what) in wire {
            if arrives || at <= now {
                self.receive(tab, what);
            } else if let Some(page) = self.tabs[tab].page {
                match what {
                    What::Message(message) => {
                        self.pages[page].cut_off.insert(message);
                    }
                    What::Resync(since) => self.pages[page].untold.push(Gap { at: now, since }),
                }
            }
        }
        if let Some(page) = self.tabs[tab].page {
            self.pages[page].open.until = Some(now);
        }
    }

    pub(super) fn noticed(&mut self, instance: usize, link: LinkId, user: usize) {
        let Some(gone) = self.instances[instance].links.remove(&link) else { return };
        self.apply(instance, user, Input::Lost { link, handed: gone.taken, for_good: false });
    }

    pub(super) fn send(&mut self, instance: usize, link: LinkId, serial: u64, what: What) {
        let Some(own) = self.instances[instance].links.get_mut(&link) else { return };
        own.outbox.push((serial, what));
        let at = self.tabs[own.tab].stalled_until.max(self.now + self.jitter(link.0, 12));
        self.at(at, Event::Take { instance, link });
    }

    pub(super) fn take(&mut self, instance: usize, link: LinkId) {
        let (now, arrives) = (self.now, self.now + 1 + self.jitter(link.0 + 3, 30));
        let Some(own) = self.instances[instance].links.get_mut(&link).filter(|own| !own.closed) else { return };
        if self.tabs[own.tab].stalled_until > now {
            let at = self.tabs[own.tab].stalled_until;
            self.at(at, Event::Take { instance, link });
            return;
        }
        // In order: nothing arrives before what was taken earlier.
        let arrives = own.wire.last().map_or(arrives, |(last, _)| arrives.max(*last));
        for (serial, what) in std::mem::take(&mut own.outbox) {
            own.taken = serial;
            own.wire.push((arrives, what));
        }
        let (taken, user) = (own.taken, own.user);
        self.instances[instance].facts.taken.insert(link, taken);
        self.at(arrives, Event::Arrive { instance, link });
        if taken % 3 == 0 {
            self.apply(instance, user, Input::HandedOver { link, up_to: taken });
        }
    }

    pub(super) fn arrive(&mut self, instance: usize, link: LinkId) {
        let now = self.now;
        let Some(own) = self.instances[instance].links.get_mut(&link).filter(|own| !own.closed) else { return };
        let tab = own.tab;
        let (here, rest): (Vec<_>, Vec<_>) = own.wire.drain(..).partition(|(at, _)| *at <= now);
        own.wire = rest;
        here.into_iter().for_each(|(_, what)| self.receive(tab, what));
    }

    fn receive(&mut self, tab: usize, what: What) {
        let now = self.now;
        let Some(page) = self.tabs[tab].page else { return };
        match what {
            What::Message(message) => {
                self.pages[page].got.push((now, message));
                self.tabs[tab].last = Some(message);
            }
            What::Resync(since) => self.pages[page].told.push(Gap { at: now, since }),
        }
    }

    /// The instance ends a connection because its client goes on over another.
    pub(super) fn cut(&mut self, instance: usize, link: LinkId) {
        if let Some(own) = self.instances[instance].links.get_mut(&link) {
            own.closed = true;
        }
    }
}
