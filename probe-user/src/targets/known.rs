//! Which programs serve HTTP and which don't. Names are of executables, or of the script that an
//! interpreter runs; a `*` at the end stands for any ending.

/// Web servers, application servers and the languages that web applications are written in: taken
/// on any port that they listen on.
pub const HTTP: &[&str] = &[
    // servers and proxies
    "nginx",
    "openresty",
    "angie",
    "apache2",
    "httpd",
    "caddy",
    "haproxy",
    "traefik",
    "envoy",
    "lighttpd",
    "h2o",
    "varnishd",
    "squid",
    "litespeed",
    "lshttpd",
    "pingora*",
    "kong",
    "tengine",
    // application servers
    "uvicorn",
    "gunicorn",
    "hypercorn",
    "daphne",
    "granian",
    "waitress-serve",
    "uwsgi",
    "puma",
    "unicorn",
    "thin",
    "falcon",
    "passenger*",
    "PassengerAgent",
    "unitd",
    "frankenphp",
    "rr",
    "swoole*",
    // languages
    "node",
    "nodejs",
    "deno",
    "bun",
    "java",
    "dotnet",
    "ruby*",
    "python*",
    "pypy*",
    "perl*",
    "beam.smp",
    // programs that are asked for by HTTP
    "grafana",
    "grafana-server",
    "prometheus",
    "alertmanager",
    "*_exporter",
    "loki",
    "minio",
    "gitea",
    "forgejo",
    "vault",
    "consul",
    "nomad",
    "postgrest",
    "hasura*",
    "graphql-engine",
    "clickhouse*",
    "elasticsearch",
    "opensearch",
    "meilisearch",
    "qdrant",
    "ollama",
    "docker-registry",
];

/// Daemons that don't serve HTTP, or whose HTTP is not a web application's: never taken on their
/// own. They are still traced as children of a service that started them.
pub const NEVER: &[&str] = &[
    // the host's own
    "systemd*",
    "init",
    "dbus-*",
    "sshd*",
    "ssh",
    "ssh-agent",
    "login",
    "agetty",
    "cron",
    "crond",
    "atd",
    "chronyd",
    "ntpd",
    "ntpsec*",
    "cupsd",
    "cups-browsed",
    "rpcbind",
    "rpc.*",
    "avahi-*",
    "NetworkManager",
    "dhclient",
    "dhcpcd",
    "named",
    "unbound",
    "dnsmasq",
    "pdns*",
    "rsyslogd",
    "syslog-ng",
    "snmpd",
    "xinetd",
    "inetd",
    "packagekitd",
    "multipathd",
    "iscsid",
    "tgtd",
    // containers and supervision
    "dockerd",
    "docker-proxy",
    "containerd*",
    "conmon",
    "crio",
    "podman",
    "rootlesskit",
    "slirp4netns",
    "pasta*",
    "kubelet",
    "kube-*",
    "k3s*",
    "runc",
    "crun",
    "supervisord",
    "monit",
    "tini",
    "dumb-init",
    "s6-*",
    "runsv*",
    "qemu-*",
    "libvirtd",
    "virt*",
    // mail, files, directories
    "exim4",
    "exim",
    "master",
    "smtpd",
    "postscreen",
    "dovecot",
    "imap-login",
    "pop3-login",
    "sendmail*",
    "opendkim",
    "opendmarc",
    "rspamd",
    "spamd",
    "clamd",
    "freshclam",
    "slapd",
    "smbd",
    "nmbd",
    "winbindd",
    "vsftpd",
    "proftpd*",
    "pure-ftpd*",
    "rsync",
    "nfsd",
    "git-daemon",
    // databases, caches, queues, poolers
    "postgres",
    "postmaster",
    "pgbouncer",
    "pgpool",
    "odyssey",
    "pgcat",
    "mysqld*",
    "mariadbd*",
    "redis-server",
    "redis-sentinel",
    "valkey-server",
    "keydb-server",
    "dragonfly",
    "memcached",
    "mongod",
    "mongos",
    "epmd",
    "mosquitto",
    "nats-server",
    "beanstalkd",
    "zabbix_*",
    "ns-slapd",
    "sqlservr",
    "oracle*",
    "tnslsnr",
    "etcd",
    // FastCGI speaks another protocol; the web server in front of it speaks HTTP
    "php-fpm*",
    "php-cgi*",
    "fcgiwrap",
    // screens, browsers, tools
    "Xorg",
    "Xvnc",
    "x11vnc",
    "xrdp*",
    "chrome",
    "chromium*",
    "firefox*",
    "gdbserver",
    "lldb-server",
    "iperf*",
    "socat",
    "nc*",
    "ncat",
    "telnetd",
    "tcpdump",
    // other probes, and this one
    "hostprobe",
];

/// Parts of the command lines of daemons that share an executable with web applications.
pub const NEVER_COMMANDS: &[&str] = &[
    "kafka.Kafka",
    "org.apache.zookeeper.",
    "org.apache.cassandra.",
    "org.apache.activemq.",
    "org.apache.hadoop.",
    "rabbit@",
    "ejabberd",
    "fail2ban-server",
    "salt-minion",
    "salt-master",
    "buildkitd",
    "debugpy.adapter",
    "pydevd",
    "ipykernel",
];

/// Ports that HTTP is customarily found on: an unknown program is taken only there.
const PORTS: &[(u16, u16)] = &[
    (80, 81),
    (443, 443),
    (3000, 3999),
    (4000, 4000),
    (4200, 4200),
    (5000, 5001),
    (5173, 5173),
    (8000, 8999),
    (9000, 9999),
];

/// Ports within those ranges that customarily speak something else.
const OTHER_PORTS: &[u16] = &[
    3260, // iSCSI
    3268, 3269, // LDAP global catalogue
    3306, 3307, 33060, // MySQL
    3389,  // RDP
    3478,  // STUN
    3690,  // Subversion
    8125,  // StatsD
    8300, 8301, 8302, // Consul between servers
    8883, // MQTT over TLS
    9042, 9160, 9142, // Cassandra
    9092, 9094, // Kafka
    9300, // Elasticsearch between nodes
    9418, // git
];

/// Whether a name is in a table.
pub fn contains(table: &[&str], name: &str) -> bool {
    table.iter().any(|entry| match entry.strip_prefix('*') {
        Some(end) => name.ends_with(end),
        None => match entry.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => *entry == name,
        },
    })
}

/// Whether HTTP is customarily found on a port.
pub fn is_http_port(port: u16) -> bool {
    PORTS
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&port))
        && !OTHER_PORTS.contains(&port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_in_both_tables() {
        for name in HTTP {
            let name = name.trim_matches('*');
            assert!(!contains(NEVER, name), "{name}");
        }
        for name in NEVER {
            let name = name.trim_matches('*');
            assert!(!contains(HTTP, name), "{name}");
        }
    }

    #[test]
    fn ports_of_other_protocols_are_left_out() {
        for port in [
            80, 443, 3000, 4200, 5000, 5173, 8000, 8080, 8443, 9090, 9999,
        ] {
            assert!(is_http_port(port), "{port}");
        }
        for port in [
            22, 25, 53, 3306, 3389, 5432, 6379, 9092, 9042, 10_250, 27_017,
        ] {
            assert!(!is_http_port(port), "{port}");
        }
    }
}
