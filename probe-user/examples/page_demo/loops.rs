//! Made-up statements by request, and queries in a loop.

use std::sync::Arc;

use probe_user::{
    sql::{Operation, SqlCache, SqlInfo},
    traffic::{
        Confidence, DbReport, DbTally, Finding, Pattern, RouteCount, RouteKey, StatementRoutes,
        Unattributed,
    },
};

use crate::{TOP, total};

/// Method, route, statements a second, typical nanoseconds each.
const DB: [(&str, &str, f64, f64); 5] = [
    ("GET", "/api/products/{id}", 632.0, 410_000.0),
    ("GET", "/api/products", 84.0, 4_900_000.0),
    ("POST", "/api/orders", 160.0, 2_600_000.0),
    ("GET", "/api/orders/{id}/items", 1_128.0, 2_300_000.0),
    ("GET", "/api/export", 0.3, 380_000_000.0),
];

pub(crate) fn db_by_request(seconds: f64) -> DbReport {
    let tally = |rate: f64, ns: f64| DbTally {
        statements: total(rate, seconds),
        ns: total(rate * ns, seconds),
    };
    DbReport {
        routes: DB
            .map(|(method, route, rate, ns)| {
                let route = route.into();
                (RouteKey { method, route }, tally(rate, ns))
            })
            .into(),
        unattributed: [
            (Unattributed::SeveralRequests, tally(121.0, 500_000.0)),
            (Unattributed::NoRequest, tally(14.0, 900_000.0)),
        ]
        .into(),
        statement_routes: statement_routes(seconds),
        ..DbReport::default()
    }
}

/// The routes of the first statements.
fn statement_routes(seconds: f64) -> StatementRoutes {
    let mut cache = SqlCache::default();
    let routes = [
        ("GET", "/api/products"),
        ("GET", "/api/products/{id}"),
        ("POST", "/api/orders"),
    ];
    let statements = TOP.iter().zip(routes);
    statements
        .filter_map(|((text, rate, ..), (method, route))| {
            let parsed = cache.parse(text.as_bytes(), false, false);
            let key = RouteKey {
                method,
                route: route.into(),
            };
            let calls = total(*rate, seconds);
            let fingerprint = parsed.parts.first()?.info.fingerprint;
            Some((fingerprint, vec![RouteCount { key, calls }]))
        })
        .collect()
}

/// Route, query, and what it is like.
type Loop = (
    Option<(&'static str, &'static str)>,
    &'static str,
    Operation,
    Pattern,
    u32,
    u64,
    Confidence,
);

const LOOPS: [Loop; 4] = [
    (
        Some(("GET", "/api/orders/{id}/items")),
        "select id, name, price from products where id = ?",
        Operation::Select,
        Pattern::NPlusOne,
        24,
        58_000_000,
        Confidence::High,
    ),
    (
        Some(("POST", "/api/orders")),
        "insert into order_lines (order_id, product_id, amount) values (?)",
        Operation::Insert,
        Pattern::NPlusOne,
        11,
        54_000_000,
        Confidence::Medium,
    ),
    (
        Some(("GET", "/api/products")),
        "select value from settings where name = ?",
        Operation::Select,
        Pattern::RepeatedQuery,
        50,
        61_000_000,
        Confidence::High,
    ),
    (
        None,
        "select * from stock where product_id = ? for update",
        Operation::Select,
        Pattern::NPlusOne,
        7,
        58_000_000,
        Confidence::Low,
    ),
];

pub(crate) fn findings(at_ns: u64) -> Vec<Finding> {
    let finding = |(index, one): (u64, Loop)| {
        let (route, text, operation, pattern, count, elapsed_ns, confidence) = one;
        Finding {
            service: 2,
            pattern,
            route: route.map(|(method, route)| RouteKey {
                method,
                route: route.into(),
            }),
            sql: Arc::new(SqlInfo {
                text: text.into(),
                fingerprint: index,
                operation,
                complete: true,
            }),
            count,
            elapsed_ns,
            wasted_ns: elapsed_ns / 5 * 4,
            total_wasted_ns: elapsed_ns / 5 * 4 * (1 + index * index * 40),
            total_count: u64::from(count) * (1 + index * index * 40),
            confidence,
            times: 1 + index * index * 40,
            at_ns: at_ns.saturating_sub(index * 400_000_000_000),
        }
    };
    (0..).zip(LOOPS).map(finding).collect()
}
