"""/metrics as Prometheus sees it."""

import json

from lab import wait_for
from support import office
from topology import A_INNER, B_HOST
from transfer import expect_ping


def smoke_promtool():
    """promtool check metrics has nothing to say; /healthz and /readyz answer"""
    with office() as o:
        expect_ping(o.a, B_HOST)
        out = o.gw.run("curl -sf http://127.0.0.1:9464/metrics | promtool check metrics")
        assert out.code == 0 and not out.out.strip(), f"promtool:\n{out.out}"
        for page in ("healthz", "readyz"):
            o.gw.sh(f"curl -sf http://127.0.0.1:9464/{page}")
        for name, labels in (("greyhound_port_received_packets_total", {"port": "en0"}),
                             ("greyhound_tunnel_received_packets_total", {"tunnel": "gre0"}),
                             ("greyhound_tunnel_sent_packets_total", {"tunnel": "gre0"}),
                             ("greyhound_worker_packets_total", {"worker": "0"})):
            assert o.c.metric(name, **labels) >= 5, (name, labels)
        assert o.c.metric("greyhound_dropped_packets_total", reason="no_route") >= 0


def smoke_prometheus_scrapes():
    """a real Prometheus scrapes the gateway and answers a query about gre0"""
    with office() as o:
        config = o.lab.path("prometheus.yml")
        with open(config, "w") as file:
            file.write("global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: greyhound\n"
                       "  static_configs: [{targets: ['127.0.0.1:9464']}]\n")
        o.gw.start(["prometheus", f"--config.file={config}", f"--storage.tsdb.path={o.lab.path('tsdb')}",
                    "--web.listen-address=127.0.0.1:9090", "--log.level=warn"], "prometheus")
        expect_ping(o.lan, A_INNER)

        def value(query):
            out = o.gw.run(["curl", "-sfG", "http://127.0.0.1:9090/api/v1/query", "--data-urlencode", f"query={query}"])
            result = json.loads(out.out)["data"]["result"] if out.code == 0 else []
            return float(result[0]["value"][1]) if result else None

        wait_for("Prometheus to have scraped", lambda: value("up") == 1, 30, every=0.5)
        wait_for("five packets out of gre0",
                 lambda: (value('greyhound_tunnel_received_packets_total{tunnel="gre0"}') or 0) >= 5, 10, every=0.5)
        # Prometheus itself sums conservation to zero.
        wait_for("conservation", lambda: value("sum(abs(greyhound_path_imbalance_packets))") == 0, 10, every=0.5)
