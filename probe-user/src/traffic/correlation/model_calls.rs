//! Calls of AI models: whose they are, by the same rules as statements. A call waits with its request for
//! the route.

use std::collections::HashSet;

use super::{
    super::model_calls::{Ended, WaitingCall},
    Call, Correlation,
    flight::{InFlight, RequestKey},
    statements::Owner,
};
use crate::{
    traffic::RouteKey,
    wire::http1::{Exchange, Wanted},
};

impl Correlation {
    /// A call of a model begins.
    pub(in crate::traffic) fn model_called(&mut self, call: &Call, wanted: Box<Wanted>) {
        let by_thread = self.flights.of_thread(call);
        self.models.begin(call, wanted, by_thread);
    }

    /// A client is about to receive a part of the answer to its request of this number.
    pub(in crate::traffic) fn model_answers(&mut self, call: &Call, serial: u64) {
        if self.models.receives_for_another(call, serial) {
            self.flights.moves(call.tgid);
        }
    }

    /// A request of a client is over, which may have been a call of a model.
    pub(in crate::traffic) fn model_call_ends(&mut self, stream: u64, exchange: &Exchange) {
        let serial = exchange.serial;
        let key = RequestKey { stream, serial };
        if let Some(ended) = self.models.end(key, exchange) {
            self.model_call(ended);
        }
    }

    /// A request of a client can't be followed to its end.
    pub(super) fn model_call_lost(&mut self, key: RequestKey) {
        if let Some(ended) = self.models.lose(key) {
            self.model_call(ended);
        }
    }

    /// Nothing more will be seen of calls: of those of processes that have ended, or of any.
    pub(in crate::traffic) fn lose_model_calls(&mut self, of: Option<&HashSet<u32>>) {
        for ended in self.models.lose_all(of) {
            self.model_call(ended);
        }
    }

    /// Tells the calls whose request is over and which have been silent since.
    pub(super) fn give_up_model_calls(&mut self) {
        for ended in self.models.give_up(self.now_ns) {
            self.model_call(ended);
        }
    }

    /// A call is over: it waits for the route of the request that it was made for.
    fn model_call(&mut self, ended: Ended) {
        let Ended {
            call,
            trace,
            by_thread,
            left_alone,
        } = ended;
        if let Some(left_alone) = left_alone {
            let mut call = *call;
            call.route = left_alone.route;
            return self.models.hand_out(call);
        }
        let owner = self.owner(call.service, trace, Some(call.started_ns), by_thread);
        let Ok(owner) = owner else {
            return self.models.hand_out(*call);
        };
        let (Owner::Thread(key) | Owner::Trace(key)) = owner;
        match self.flights.get_mut(key) {
            Some(request) if self.models.may_wait() => {
                let by_trace = matches!(owner, Owner::Trace(_));
                if !by_trace {
                    request.latest_ns = request.latest_ns.max(call.started_ns);
                }
                request.calls.push(WaitingCall { call, by_trace });
            }
            _ => self.models.hand_out(*call),
        }
    }

    /// Hands out the calls of a request, with its route where that is certain.
    pub(super) fn release_calls<'a>(
        &mut self,
        request: &mut InFlight,
        route: impl Fn(&WaitingCall) -> Option<&'a RouteKey>,
    ) {
        for waiting in std::mem::take(&mut request.calls) {
            let route = route(&waiting).cloned();
            let mut call = *waiting.call;
            call.route = route;
            self.models.waited(call);
        }
    }
}
