//! Command lines as they are found on real hosts, and the names that people would give.

use super::*;

fn process(cwd: &str, exe: &str, arguments: &str) -> Process {
    Process {
        exe: exe.into(),
        cmdline: std::iter::once(exe)
            .chain(arguments.split_ascii_whitespace())
            .map(str::to_owned)
            .collect(),
        cwd: (!cwd.is_empty()).then(|| cwd.into()),
        ..Process::default()
    }
}

fn named(cwd: &str, exe: &str, arguments: &str) -> String {
    name(&process(cwd, exe, arguments))
}

#[test]
fn python_servers_are_named_after_their_application() {
    let python = |cwd, arguments| named(cwd, "/usr/bin/python3.11", arguments);
    assert_eq!(
        python(
            "/",
            "/usr/bin/uvicorn --host 0.0.0.0 --port 8000 shop.orders:app"
        ),
        "shop.orders"
    );
    assert_eq!(
        python(
            "/",
            "/v/bin/gunicorn -b localhost:8000 -k a.b.Worker shop.wsgi:application"
        ),
        "shop"
    );
    assert_eq!(python("/srv/shop", "-m uvicorn main:app --reload"), "shop");
    assert_eq!(python("/app", "-m uvicorn main:app"), "main");
    assert_eq!(
        python("/srv/shop/src", "/usr/bin/gunicorn app:create_app()"),
        "shop"
    );
    assert_eq!(
        python("/", "/usr/bin/gunicorn --workers 4 shop.wsgi"),
        "shop"
    );
    assert_eq!(
        python("/", "/usr/bin/gunicorn shop.wsgi --workers 4"),
        "shop"
    );
    assert_eq!(
        python("/srv/crm", "/usr/bin/gunicorn -c gunicorn.conf.py"),
        "crm"
    );
    assert_eq!(
        python("/", "/usr/bin/flask --app shop run --port 5000"),
        "shop"
    );
    assert_eq!(python("/srv/crm", "/usr/bin/flask run"), "crm");
    assert_eq!(python("/srv", "/usr/bin/fastapi run shop/main.py"), "shop");
}

#[test]
fn python_scripts_and_modules_are_named_after_themselves() {
    let python = |cwd, arguments| named(cwd, "/usr/bin/python3", arguments);
    assert_eq!(python("/tmp", "-m http.server 8000"), "http.server");
    assert_eq!(python("/", "-u -W ignore /srv/crm/worker.py --x"), "worker");
    assert_eq!(python("/srv/crm", "manage.py runserver"), "crm");
    assert_eq!(python("/", "/srv/crm/app/main.py"), "crm");
    assert_eq!(python("/home/ann", "app.py"), "app");
    assert_eq!(python("/srv/crm", "-c import_this"), "crm");
    assert_eq!(python("/", ""), "python3");
}

#[test]
fn titles_that_servers_give_themselves_are_understood() {
    let mut gunicorn = process("/", "/usr/bin/python3.11", "");
    gunicorn.cmdline = vec!["gunicorn: master [shop.wsgi:app]".into()];
    assert_eq!(name(&gunicorn), "shop");
    let mut puma = process("/srv/x", "/usr/bin/ruby3.1", "");
    puma.cmdline = vec!["puma 6.4.2 (tcp://0.0.0.0:3000) [crm]".into()];
    assert_eq!(name(&puma), "crm");
    let mut next = process("/app", "/usr/bin/node", "");
    next.cmdline = vec!["next-server (v14.1.0)".into()];
    assert_eq!(name(&next), "next-server");
    next.cwd = Some("/srv/front".into());
    assert_eq!(name(&next), "front");
}

#[test]
fn scripts_of_other_languages() {
    assert_eq!(
        named(
            "/srv/shop",
            "/usr/bin/node",
            "--enable-source-maps -r ./otel.js dist/server.js"
        ),
        "shop"
    );
    assert_eq!(
        named("/", "/usr/bin/node", "/srv/mailer/mailer.mjs"),
        "mailer"
    );
    assert_eq!(
        named(
            "/srv/front",
            "/usr/bin/node",
            "/srv/front/node_modules/.bin/next start"
        ),
        "front"
    );
    assert_eq!(
        named(
            "/",
            "/usr/bin/node",
            "/usr/lib/node_modules/verdaccio/bin/verdaccio"
        ),
        "verdaccio"
    );
    assert_eq!(
        named("/srv/front", "/usr/bin/deno", "run --allow-net main.ts"),
        "front"
    );
    assert_eq!(
        named(
            "/srv/crm",
            "/usr/bin/ruby3.1",
            "/usr/bin/puma -C config/puma.rb"
        ),
        "crm"
    );
    assert_eq!(
        named("/srv/blog", "/usr/bin/php8.2", "-S 0.0.0.0:8000 -t public"),
        "blog"
    );
    assert_eq!(
        named("/", "/usr/share/dotnet/dotnet", "Shop.Api.dll"),
        "Shop.Api"
    );
    assert_eq!(
        named(
            "/",
            "/usr/lib/erlang/bin/beam.smp",
            "-W w -- -sname shop@host -x"
        ),
        "shop"
    );
}

#[test]
fn java_is_named_after_archive_property_or_class() {
    let java = |arguments| named("/", "/usr/lib/jvm/java-17/bin/java", arguments);
    assert_eq!(java("-Xmx1g -jar /opt/shop-1.4.2-SNAPSHOT.jar --x"), "shop");
    assert_eq!(java("-Dspring.application.name=crm -jar app.jar"), "crm");
    assert_eq!(java("-cp a.jar:b.jar com.example.orders.Main"), "orders");
    assert_eq!(java("-cp a.jar com.example.OrderService"), "OrderService");
    assert_eq!(
        java("-classpath x org.apache.catalina.startup.Bootstrap start"),
        "tomcat"
    );
}

#[test]
fn a_program_of_its_own_has_its_own_name() {
    assert_eq!(named("/srv/x", "/usr/sbin/nginx", "-g daemon"), "nginx");
    assert_eq!(
        named("/srv/x", "/usr/local/bin/shop-api", "--port 80"),
        "shop-api"
    );
    assert_eq!(
        script(&process("/", "/usr/bin/python3", "/usr/bin/supervisord -n")).as_deref(),
        Some("supervisord")
    );
    assert_eq!(script(&process("/", "/usr/sbin/nginx", "x")), None);
}
