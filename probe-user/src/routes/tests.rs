use proptest::prelude::*;

use super::*;

fn router() -> Router {
    Router::new::<&str>(&[], Limits::default()).unwrap()
}

fn learned(path: &str) -> String {
    router().route("GET", Some(path), Some(200)).to_string()
}

#[test]
fn ids_dates_and_hashes_do_not_make_series() {
    for (path, route) in [
        ("/", "/"),
        ("/users/42", "/users/{id}"),
        ("/users/-1", "/users/{id}"),
        ("/users/42/orders/7", "/users/{id}/orders/{id}"),
        ("/u/6fa459ea-ee8a-3ca4-894e-db77e160355e", "/u/{uuid}"),
        ("/u/6FA459EAEE8A3CA4894EDB77E160355E", "/u/{hash}"),
        ("/u/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/u/{ulid}"),
        (
            "/commit/9fceb02d0ae598e95dc970b74767f19372d61af8",
            "/commit/{hash}",
        ),
        ("/o/507f1f77bcf86cd799439011", "/o/{hash}"),
        ("/day/2024-02-29", "/day/{date}"),
        ("/at/2024-02-29T12:00:00Z", "/at/{date}"),
        ("/people/jane.doe@example.org", "/people/{email}"),
        ("/people/jane%40example.org", "/people/{email}"),
        (
            "/t/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmN",
            "/t/{token}",
        ),
        ("/k/V1StGXR8Z5jdHi6BmyT", "/k/{token}"),
        ("/c/cus_9s6XKzkNRiz8i3", "/c/{token}"),
        ("/assets/app.3f2a9c1b.js", "/assets/app.{hash}.js"),
        ("/img/img_12345.png", "/img/img_{id}.png"),
        ("/r/report-2024-01-15.pdf", "/r/report-{date}.pdf"),
        (
            "/f/6fa459ea-ee8a-3ca4-894e-db77e160355e.png",
            "/f/{uuid}.png",
        ),
    ] {
        assert_eq!(learned(path), route, "{path}");
    }
}

#[test]
fn words_stay_words() {
    for path in [
        "/api/v1/users",
        "/oauth2/token",
        "/2fa/setup",
        "/facade/decade",
        "/internationalization/acknowledgements",
        "/getUserProfileSettings",
        "/.well-known/openid-configuration",
        "/wp-admin/admin-ajax.php",
        "/files/jquery-3.7.1.min.js",
        "/errors/404",
        "/straße/größe",
    ] {
        let route = learned(path);
        let expected = if path == "/errors/404" {
            "/errors/{id}"
        } else {
            path
        };
        assert_eq!(route, expected);
    }
}

#[test]
fn spellings_of_one_path_are_one_route() {
    for path in [
        "/a/b",
        "/a/b/",
        "//a///b",
        "/a/./b",
        "/a/x/../b",
        "/../a/b",
        "/%61/b",
        "/a/b?secret=1",
        "/a/b#secret",
        "/a;jsessionid=1/b;v=2",
    ] {
        assert_eq!(learned(path), "/a/b", "{path}");
    }
    // An encoded slash does not separate; what is no text is not shown.
    assert_eq!(learned("/a%2fb"), "/a%2fb");
    assert_eq!(learned("/a/%ff%fe"), "/a/{param}");
    assert_eq!(learned("/a/{id}"), "/a/{param}");
    assert_eq!(learned("/a/b%3Ftoken=secret"), "/a/{param}");
    assert_eq!(learned("/a/b%0ac"), "/a/{param}");
}

#[test]
fn configured_templates_win_by_specificity() {
    let templates = [
        "GET /users/{id}",
        "/users/me",
        "DELETE /users/{user_id}",
        "GET /users/:id/orders/<int:order>",
        "/static/*",
        "/files/{path:path}",
        "POST /users",
    ];
    let mut router = Router::new(&templates, Limits::default()).unwrap();
    for (method, path, status, route) in [
        ("GET", "/users/me", 200, "/users/me"),
        ("GET", "/users/jane", 404, "/users/{id}"),
        ("HEAD", "/users/jane", 200, "/users/{id}"),
        ("DELETE", "/users/jane/", 204, "/users/{user_id}"),
        (
            "GET",
            "/users/jane/orders/x",
            200,
            "/users/:id/orders/<int:order>",
        ),
        ("GET", "/static", 200, "/static/*"),
        ("GET", "/static/a/b.js", 404, "/static/*"),
        ("PUT", "/files/a/b/c", 500, "/files/{path:path}"),
        ("POST", "/users", 422, "/users"),
        // Not configured: learned, or not.
        ("PUT", "/users/7", 200, "/users/{id}"),
        ("GET", "/elsewhere", 404, UNMATCHED),
    ] {
        assert_eq!(
            &*router.route(method, Some(path), Some(status)),
            route,
            "{method} {path}"
        );
    }
}

#[test]
fn a_template_that_cannot_match_is_told() {
    let error = |templates: &[&str]| Router::new(templates, Limits::default()).unwrap_err();
    assert!(matches!(error(&["users"]), TemplateError::NotAPath { .. }));
    assert!(matches!(
        error(&["GET users/{id}"]),
        TemplateError::NotAPath { .. }
    ));
    assert!(matches!(
        error(&["/a/{id}.json"]),
        TemplateError::Segment { .. }
    ));
    assert!(matches!(
        error(&["/a/{*rest}/b"]),
        TemplateError::Segment { .. }
    ));
    assert!(matches!(
        error(&["/a/{x}", "/a/{y}"]),
        TemplateError::Conflict { .. }
    ));
    assert!(
        error(&["/a/{x}", "/a/{y}"])
            .to_string()
            .contains("remove one of them")
    );
    assert!(Router::new(&["/static/*", "/static"], Limits::default()).is_ok());
    // A star within the path is one segment.
    let mut router = Router::new(&["/a/*/c"], Limits::default()).unwrap();
    assert_eq!(&*router.route("GET", Some("/a/b/c"), None), "/a/*/c");
}

#[test]
fn only_success_teaches_and_failures_are_found() {
    let mut router = router();
    assert_eq!(&*router.route("GET", Some("/orders"), Some(500)), UNMATCHED);
    assert_eq!(&*router.route("GET", Some("/orders"), None), UNMATCHED);
    assert_eq!(&*router.route("GET", Some("/orders"), Some(200)), "/orders");
    assert_eq!(&*router.route("GET", Some("/orders"), Some(500)), "/orders");
    assert_eq!(&*router.route("GET", None, Some(200)), UNMATCHED);
    assert_eq!(&*router.route("OPTIONS", Some("*"), Some(200)), UNMATCHED);
    for scan in 0..10_000 {
        let path = format!("/scan{scan}.php");
        assert_eq!(&*router.route("GET", Some(&path), Some(404)), UNMATCHED);
    }
    assert_eq!((router.learned(), router.nodes()), (1, 2));
}

#[test]
fn too_many_children_are_one_parameter_and_the_old_routes_retire() {
    let mut router = router();
    let slug = |number: usize| {
        // Words only, so that no shape folds them.
        let letter = |digit: usize| char::from(b'a' + u8::try_from(digit % 26).unwrap());
        format!("{}{}y", letter(number), letter(number / 26))
    };
    for number in 0..50 {
        let path = format!("/blog/{}/comments", slug(number));
        assert_eq!(*router.route("GET", Some(&path), Some(200)), *path);
    }
    assert!(router.take_retired().is_empty());
    let path = format!("/blog/{}/comments", slug(50));
    assert_eq!(
        &*router.route("GET", Some(&path), Some(200)),
        "/blog/{param}/comments"
    );
    // Those that were routes of their own now have the folded one, also when they fail.
    let first = format!("/blog/{}/comments", slug(0));
    assert_eq!(
        &*router.route("GET", Some(&first), Some(500)),
        "/blog/{param}/comments"
    );
    let retired = router.take_retired();
    assert_eq!(retired.len(), 50);
    assert!(
        retired
            .iter()
            .all(|retired| &*retired.replaced_by == "/blog/{param}/comments")
    );
    assert_eq!(router.learned(), 1);
    // Other places are as they were.
    assert_eq!(&*router.route("GET", Some("/blog"), Some(200)), "/blog");
    assert_eq!(&*router.route("GET", Some("/about"), Some(200)), "/about");
}

#[test]
fn folding_merges_what_is_below() {
    let mut router = Router::new::<&str>(
        &[],
        Limits {
            children: 2,
            ..Limits::default()
        },
    )
    .unwrap();
    for path in [
        "/t/red/users",
        "/t/blue/users",
        "/t/blue/orders/7",
        "/t/green/users",
    ] {
        router.route("GET", Some(path), Some(200));
    }
    for (path, route) in [
        ("/t/red/orders/1", "/t/{param}/orders/{id}"),
        ("/t/pink/users", "/t/{param}/users"),
        ("/t/pink/else", UNMATCHED),
    ] {
        assert_eq!(&*router.route("GET", Some(path), Some(404)), route);
    }
    assert_eq!(router.learned(), 2);
}

#[test]
fn a_million_distinct_paths_stay_under_the_cap() {
    let mut router = router();
    let mut given = std::collections::BTreeSet::new();
    let mut state = 1_u64;
    for number in 0..1_000_000_u64 {
        // Words of pseudo-random letters, in two or three levels.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(number | 1);
        let word = |shift: u32| {
            (0..3).fold(String::new(), |mut word, letter| {
                let bits = (state >> (shift + letter * 5)) % 26;
                word.push(char::from(b'a' + u8::try_from(bits).unwrap()));
                word
            })
        };
        let path = match number % 3 {
            0 => format!("/{}/{}", word(10), word(25)),
            1 => format!("/shop/{}/{}", word(10), word(25)),
            _ => format!("/{}", word(10)),
        };
        given.insert(router.route("GET", Some(&path), Some(200)));
        assert!(router.learned() <= Limits::default().routes);
    }
    let bound = Limits::default().routes_ever + Limits::default().routes + 2;
    assert!(given.len() <= bound, "{} labels", given.len());
    assert!(router.nodes() <= 1000, "{} nodes", router.nodes());
}

#[test]
fn full_tables_answer_other() {
    let limits = Limits {
        routes: 3,
        ..Limits::default()
    };
    let mut router = Router::new::<&str>(&[], limits).unwrap();
    for path in ["/a", "/b", "/c"] {
        assert_eq!(&*router.route("GET", Some(path), Some(200)), path);
    }
    assert_eq!(&*router.route("GET", Some("/d"), Some(200)), OTHER);
    assert_eq!(&*router.route("GET", Some("/d"), Some(404)), UNMATCHED);
    assert_eq!(&*router.route("GET", Some("/a"), Some(200)), "/a");
}

#[test]
fn long_and_deep_paths_are_cut() {
    let deep = "/a".repeat(40);
    assert_eq!(learned(&deep), format!("{}/{{rest}}", "/a".repeat(16)));
    let long = format!("/files/{}", "word/".repeat(400));
    assert!(learned(&long).ends_with("/{rest}"));
    assert_eq!(learned(&format!("/{}", "x".repeat(5000))), "/{rest}");
    assert_eq!(learned(&format!("/s/{}", "word-".repeat(20))), "/s/{param}");
}

proptest! {
    /// Any text is answered with one of a bounded number of labels, without its query.
    #[test]
    fn any_path_has_a_route(paths in prop::collection::vec(".{0,80}", 1..200)) {
        let mut router = router();
        for path in &paths {
            let path = format!("/{path}?token=SECRET");
            let route = router.route("GET", Some(&path), Some(200));
            prop_assert!(!route.contains("SECRET") && !route.contains(['?', '#']));
            prop_assert!(!route.chars().any(char::is_control));
            // What is learned is found again.
            if &*route != OTHER && router.take_retired().is_empty() {
                prop_assert_eq!(&*router.route("GET", Some(&path), Some(404)), &*route);
            }
            prop_assert!(router.learned() <= Limits::default().routes);
        }
    }

    /// Two routers that saw the same requests give the same routes, whatever the caps do.
    #[test]
    fn routes_are_deterministic(
        paths in prop::collection::vec("(/[a-d]{1,2}){1,4}", 1..300),
        children in 1_usize..6,
        routes in 1_usize..20,
    ) {
        let limits = Limits { children, routes, ..Limits::default() };
        let mut one = Router::new::<&str>(&[], limits).unwrap();
        let mut two = Router::new::<&str>(&[], limits).unwrap();
        for path in &paths {
            let route = one.route("GET", Some(path), Some(200));
            prop_assert_eq!(&route, &two.route("GET", Some(path), Some(200)));
            // A route has as many segments as its path.
            if &*route != OTHER {
                prop_assert_eq!(route.matches('/').count(), path.matches('/').count());
            }
            prop_assert!(one.learned() <= routes);
        }
        let retired = one.take_retired();
        prop_assert_eq!(&retired, &two.take_retired());
        // No look-up gives a retired route any more.
        for path in &paths {
            let route = one.route("GET", Some(path), Some(200));
            prop_assert!(!retired.iter().any(|retired| retired.route == route), "{}", route);
        }
    }
}
