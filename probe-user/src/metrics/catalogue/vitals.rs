//! What users' browsers tell.

use super::FedBy;
use crate::vitals::thresholds::{
    CLS_BOUNDS, FCP_BOUNDS, FID_BOUNDS, INP_BOUNDS, LCP_BOUNDS, TTFB_BOUNDS,
};

catalogue! {
    WEB_VITAL_LCP: HistogramOf<2> in LCP_BOUNDS = "hostprobe_web_vital_lcp_seconds" ["page", "device"]
        Seconds Browsers FedBy::Browsers;
        "Largest Contentful Paint of page lives: when the largest thing in view was there. Good up to 2.5 s, poor beyond 4 s, at the 75th percentile."
        => "histogram_quantile(0.75, sum by (le, page) (rate(hostprobe_web_vital_lcp_seconds_bucket[1h])))"

    WEB_VITAL_INP: HistogramOf<2> in INP_BOUNDS = "hostprobe_web_vital_inp_seconds" ["page", "device"]
        Seconds Browsers FedBy::Browsers;
        "Interaction to Next Paint of page lives: how long the page took to show what an interaction did. Good up to 200 ms, poor beyond 500 ms."
        => "histogram_quantile(0.75, sum by (le, page) (rate(hostprobe_web_vital_inp_seconds_bucket[1h])))"

    WEB_VITAL_CLS: HistogramOf<2> in CLS_BOUNDS = "hostprobe_web_vital_cls" ["page", "device"]
        None Browsers FedBy::Browsers;
        "Cumulative Layout Shift of page lives: how much moved that should have stayed. Has no unit. Good up to 0.1, poor beyond 0.25."
        => "histogram_quantile(0.75, sum by (le, page) (rate(hostprobe_web_vital_cls_bucket[1h])))"

    WEB_VITAL_FCP: HistogramOf<2> in FCP_BOUNDS = "hostprobe_web_vital_fcp_seconds" ["page", "device"]
        Seconds Browsers FedBy::Browsers;
        "First Contentful Paint of page lives. Good up to 1.8 s, poor beyond 3 s."

    WEB_VITAL_TTFB: HistogramOf<2> in TTFB_BOUNDS = "hostprobe_web_vital_ttfb_seconds" ["page", "device"]
        Seconds Browsers FedBy::Browsers;
        "Time to First Byte of page lives, from the user's click on, with redirects, DNS and TLS. Good up to 800 ms, poor beyond 1.8 s."

    WEB_VITAL_FID: HistogramOf<2> in FID_BOUNDS = "hostprobe_web_vital_fid_seconds" ["page", "device"]
        Seconds Browsers FedBy::Browsers;
        "First Input Delay, of versions of the web-vitals library before 5. It is only the delay of the first interaction, and no INP. Good up to 100 ms, poor beyond 300 ms."

    WEB_VITAL_RATINGS: Counter<3> = "hostprobe_web_vital_ratings_total" ["vital", "page", "rating"]
        None Browsers FedBy::Browsers;
        "Values by how the official thresholds judge them: good, needs-improvement, poor."
        => "sum by (page) (rate(hostprobe_web_vital_ratings_total{vital=\"LCP\",rating=\"poor\"}[1h])) / sum by (page) (rate(hostprobe_web_vital_ratings_total{vital=\"LCP\"}[1h]))"

    WEB_VITALS_WAITING: Gauge<0> = "hostprobe_web_vitals_waiting" []
        None Browsers FedBy::Browsers;
        "Values that may still grow: each is observed 2.5 s after its last report, with its last value."

    BROWSER_PAGE_VIEWS: Counter<2> = "hostprobe_browser_page_views_total" ["page", "device"]
        None Browsers FedBy::Browsers;
        "Page lives that began: loads, returns from the back-forward cache, views of a single-page app. As they were told, not scaled by the sample rate."
        => "topk(10, sum by (page) (rate(hostprobe_browser_page_views_total[5m])))"

    BROWSER_NAVIGATIONS: Counter<1> = "hostprobe_browser_navigations_total" ["navigation"]
        None Browsers FedBy::Browsers;
        "Page lives by how users came to them."

    BROWSER_SESSIONS: Gauge<1> = "hostprobe_browser_sessions" ["app"]
        None Browsers FedBy::Browsers;
        "Different sessions that told something in the last five minutes. A session lives in the memory of a page: where each page is a document of its own, each load is a session. Apps without a name are `browsers`."

    BROWSER_ERRORS: Counter<2> = "hostprobe_browser_errors_total" ["page", "kind"]
        None Browsers FedBy::Browsers;
        "Errors (error) and rejected promises (unhandledrejection) that scripts did not catch. What they are: /api/browser/errors."
        => "sum by (page) (rate(hostprobe_browser_errors_total[5m])) > 0"

    BROWSER_CALLS: Counter<2> = "hostprobe_browser_failed_calls_total" ["route", "reason"]
        None Browsers FedBy::Browsers;
        "Calls of scripts (fetch and XMLHttpRequest) that failed (status_4xx, status_5xx, status, network, timeout, aborted) or took long (slow). Those to other origins are the route `cross-origin`."
        => "sum by (route) (rate(hostprobe_browser_failed_calls_total{reason=~\"status_5xx|network|timeout\"}[5m]))"

    BROWSER_ACTIONS: Counter<2> = "hostprobe_browser_actions_total" ["action", "kind"]
        None Browsers FedBy::Browsers;
        "What users did: clicks and submits of elements that are marked with data-probe-action, and changes of the route of single-page apps."
        => "sum by (action) (increase(hostprobe_browser_actions_total{kind!=\"route\"}[1h]))"

    BROWSER_RESOURCES: Counter<2> = "hostprobe_browser_resources_total" ["page", "type"]
        None Browsers FedBy::Browsers;
        "Files that pages loaded."

    BROWSER_RESOURCE_BYTES: Counter<2> = "hostprobe_browser_resource_bytes_total" ["page", "type"]
        Bytes Browsers FedBy::Browsers;
        "Their bytes over the network, as far as browsers tell them."
        => "sum by (page) (rate(hostprobe_browser_resource_bytes_total{type=\"script\"}[1h])) / on (page) sum by (page) (rate(hostprobe_browser_page_views_total[1h]))"

    BROWSER_RESOURCES_OPAQUE: Counter<2> = "hostprobe_browser_resources_opaque_total" ["page", "type"]
        None Browsers FedBy::Browsers;
        "Files whose bytes browsers do not tell: from the cache, or of another origin without Timing-Allow-Origin."

    BROWSER_LONG_FRAMES: Counter<1> = "hostprobe_browser_long_frames_total" ["page"]
        None Browsers FedBy::Browsers;
        "Frames that took longer than 50 ms, where the browser has the Long Animation Frames API."

    BROWSER_BLOCKING: Counter<1> = "hostprobe_browser_blocking_seconds_total" ["page"]
        Seconds Browsers FedBy::Browsers;
        "Time for which such frames kept input waiting."

    BEACONS_ACCEPTED: Counter<1> = "hostprobe_beacons_accepted_total" ["endpoint"]
        None Browsers FedBy::Browsers;
        "Beacons that were taken, by where they came in: metrics, errors, actions, faro."
        => "sum(rate(hostprobe_beacons_accepted_total[5m])) == 0"

    BEACONS_REFUSED: Counter<1> = "hostprobe_beacons_refused_total" ["reason"]
        None Browsers FedBy::Browsers;
        "Beacons and preflights that were refused, by reason; docs/web-vitals.md says what each means. The answer says the details."
        => "sum by (reason) (increase(hostprobe_beacons_refused_total[1h])) > 0"

    BEACONS_ODD: Counter<1> = "hostprobe_beacon_oddities_total" ["what"]
        None Browsers FedBy::Browsers;
        "What was taken, but not as it was sent: a value beyond what is plausible (clamped), one that grew after it was observed, so that only the store has it (late), a time that cannot be (clock), a page beyond vitals.max_pages (other_page)."

    BEACON_CLIENTS: Gauge<0> = "hostprobe_beacon_clients" []
        None Browsers FedBy::Browsers;
        "Clients whose rates are told apart now."
}
