package service

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/gapless-sync/gapless/engine"
)

// Metric documents one metric of the daemon.
type Metric struct {
	Name string
	// Type is counter or gauge.
	Type   string
	Labels []string
	Help   string
}

// The metrics, in the order of [Metrics].
var (
	recordsTotal  = Metric{"gapless_records_total", "counter", []string{"connector", "what"}, "Records of runs since the daemon started, by what became of them: read, unchanged, filtered, rejected, created, updated, deleted, pushed, synced."}
	bytesTotal    = Metric{"gapless_read_bytes_total", "counter", []string{"connector"}, "Bytes read from sources since the daemon started."}
	runsTotal     = Metric{"gapless_runs_total", "counter", []string{"connector", "status"}, "Runs that ended since the daemon started, by their outcome."}
	retriesTotal  = Metric{"gapless_retries_total", "counter", []string{"connector"}, "Recoverable failures that were tried again since the daemon started."}
	notSynced     = Metric{"gapless_pushed_not_synced_records", "gauge", []string{"connector"}, "Records that the destination accepted in the current run and that a crash could still lose."}
	running       = Metric{"gapless_running", "gauge", []string{"connector"}, "1 while somebody runs the connector."}
	lastTimestamp = Metric{"gapless_last_run_timestamp_seconds", "gauge", []string{"connector"}, "When the last run ended, in Unix seconds."}
	lastDuration  = Metric{"gapless_last_run_duration_seconds", "gauge", []string{"connector"}, "How long the last run took."}
	lastExit      = Metric{"gapless_last_run_exit_code", "gauge", []string{"connector"}, "Exit code of the last run; 0 is complete."}
	syncedRecords = Metric{"gapless_destination_records", "gauge", []string{"connector"}, "Records known to be at the destination."}
	deadLetters   = Metric{"gapless_dead_letters_open", "gauge", []string{"connector"}, "Dead letters that are not resolved."}
	hubSerial     = Metric{"gapless_hub_serial", "gauge", []string{"status"}, "Serial of the hub's last change that is pushed, synced, searchable."}
	hubRecords    = Metric{"gapless_hub_records", "gauge", nil, "Records in the hub."}
)

// Metrics lists every metric of the daemon.
func Metrics() []Metric {
	return []Metric{
		recordsTotal, bytesTotal, runsTotal, retriesTotal, notSynced, running, lastTimestamp, lastDuration,
		lastExit, syncedRecords, deadLetters, hubSerial, hubRecords,
	}
}

func (m Metric) counter(r prometheus.Registerer) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.Name, Help: m.Help}, m.Labels)
	r.MustRegister(c)
	return c
}

func (m Metric) gauge(r prometheus.Registerer) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: m.Name, Help: m.Help}, m.Labels)
	r.MustRegister(g)
	return g
}

func (m Metric) desc() *prometheus.Desc {
	return prometheus.NewDesc(m.Name, m.Help, m.Labels, nil)
}

// metrics counts what runs tell, and asks the status when it is scraped.
type metrics struct {
	registry                      *prometheus.Registry
	records, bytes, runs, retries *prometheus.CounterVec
	notSynced                     *prometheus.GaugeVec

	mu   sync.Mutex
	seen map[string]engine.Progress // by run that is under way
}

func newMetrics(status func(context.Context) (Status, error)) *metrics {
	r := prometheus.NewRegistry()
	m := &metrics{
		registry: r, seen: map[string]engine.Progress{},
		records: recordsTotal.counter(r), bytes: bytesTotal.counter(r), runs: runsTotal.counter(r),
		retries: retriesTotal.counter(r), notSynced: notSynced.gauge(r),
	}
	r.MustRegister(&statusCollector{status: status})
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 30 * time.Second})
}

// observe takes an event of a run.
func (m *metrics) observe(e engine.Event) {
	switch e.Type {
	case engine.EventRetry:
		m.retries.WithLabelValues(e.Connector).Inc()
	case engine.EventProgress:
		if e.Progress != nil {
			m.add(e.Connector, e.Run, *e.Progress)
		}
	case engine.EventDone:
		if s := e.Summary; s != nil {
			m.add(e.Connector, s.Run, engine.Progress{Counts: s.Counts, Bytes: s.Bytes})
			m.runs.WithLabelValues(e.Connector, s.Status).Inc()
			m.end(e.Connector, s.Run)
		}
	}
}

// add counts what is new since the last event of the run.
func (m *metrics) add(connector, run string, now engine.Progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.seen[run]
	m.seen[run] = now
	for _, c := range []struct {
		what        string
		now, before uint64
	}{
		{"read", now.Read, before.Read},
		{"unchanged", now.Unchanged, before.Unchanged},
		{"filtered", now.Filtered, before.Filtered},
		{"rejected", now.Rejected, before.Rejected},
		{"created", now.Created, before.Created},
		{"updated", now.Updated, before.Updated},
		{"deleted", now.Deleted, before.Deleted},
		{"pushed", now.Pushed, before.Pushed},
		{"synced", now.Synced, before.Synced},
	} {
		m.records.WithLabelValues(connector, c.what).Add(float64(c.now - min(c.before, c.now)))
	}
	m.bytes.WithLabelValues(connector).Add(float64(now.Bytes - min(before.Bytes, now.Bytes)))
	m.notSynced.WithLabelValues(connector).Set(float64(now.Pushed - min(now.Synced, now.Pushed)))
}

func (m *metrics) end(connector, run string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.seen, run)
	m.notSynced.WithLabelValues(connector).Set(0)
}

// statusCollector turns the status into metrics at every scrape, so that they
// never say anything else.
type statusCollector struct {
	status func(context.Context) (Status, error)
}

// Describe implements [prometheus.Collector].
func (c *statusCollector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range []Metric{running, lastTimestamp, lastDuration, lastExit, syncedRecords, deadLetters, hubSerial, hubRecords} {
		out <- m.desc()
	}
}

// Collect implements [prometheus.Collector]. What cannot be read is missing
// from the scrape, and an error in it.
func (c *statusCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s, err := c.status(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(running.desc(), err)
		return
	}
	set := func(m Metric, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(m.desc(), prometheus.GaugeValue, value, labels...)
	}
	for _, s := range s.Connectors {
		set(running, float64(btoi(s.Runner != nil)), s.Name)
		set(syncedRecords, float64(s.Records), s.Name)
		set(deadLetters, float64(s.DeadLetters), s.Name)
		if r := s.LastRun; r != nil && !r.Finished.IsZero() {
			set(lastTimestamp, float64(r.Finished.UnixMilli())/1000, s.Name)
			set(lastDuration, r.Finished.Sub(r.Started).Seconds(), s.Name)
			set(lastExit, float64(r.Exit), s.Name)
		}
	}
	if h := s.Hub; h != nil {
		set(hubSerial, float64(h.Pushed), "pushed")
		set(hubSerial, float64(h.Synced), "synced")
		set(hubSerial, float64(h.Searchable), "searchable")
		set(hubRecords, float64(h.Records))
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
