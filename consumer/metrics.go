package consumer

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// The outcomes of a record, in invoicebox_worker_records_total.
const (
	Accepted   = "accepted"
	Repeated   = "repeated"
	Ignored    = "ignored"
	DeadLetter = "dead_letter"
)

// Metrics are the consumer's metrics. A registry can hold them once.
type Metrics struct {
	records       *prometheus.CounterVec
	ignored       *prometheus.CounterVec
	deadLetters   *prometheus.CounterVec
	keyMismatches *prometheus.CounterVec
	timeDropped   *prometheus.CounterVec
	nearMisses    *prometheus.CounterVec
	untrusted     *prometheus.CounterVec
	unkept        *prometheus.CounterVec
	replays       *prometheus.CounterVec
	lag           *prometheus.GaugeVec
	position      *prometheus.GaugeVec
	lost          *prometheus.CounterVec
	faults        *prometheus.CounterVec
	generations   prometheus.Counter
	reconnects    prometheus.Counter
	ingestion     prometheus.Histogram
	batchRecords  prometheus.Histogram
	rebalance     prometheus.Histogram
	lagSeconds    *prometheus.GaugeVec
	failures      prometheus.Counter
	paused        prometheus.Gauge
	throttled     prometheus.Counter
	unstable      *prometheus.GaugeVec
}

// NewMetrics makes and registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "invoicebox_worker_" + name, Help: help}, labels)
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "invoicebox_worker_" + name, Help: help}, []string{"topic", "partition"})
	}
	single := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "invoicebox_worker_" + name, Help: help})
	}
	m := &Metrics{
		records:       counter("records_total", "Input records by outcome, each counted once.", "topic", "outcome"),
		ignored:       counter("records_ignored_total", "Ignored input records by reason.", "topic", "reason"),
		deadLetters:   counter("dead_letters_total", "Dead letters by reason.", "topic", "reason"),
		keyMismatches: counter("records_key_mismatch_total", "Accepted or repeated records whose key is not the shop id.", "topic"),
		timeDropped:   counter("records_time_dropped_total", "Accepted or repeated records whose event time has no zone or is an impossible date; the record's time is used.", "topic"),
		nearMisses:    counter("provider_near_misses_total", "Ignored records whose provider resembles invoicebox and may be a typing error.", "topic"),
		unkept:        counter("dead_letters_without_record_total", "Dead letters stored with position and digest only, because a limit is reached.", "topic"),
		replays:       counter("dead_letters_replayed_total", "Dead letters that were replayed, by outcome: accepted, repeated, ignored, or failed again.", "outcome"),
		untrusted:     counter("event_times_untrusted_total", "Events whose time is ahead of the worker's clock or before 2000. They are ordered by their record's time, else by the worker's clock, else not at all.", "topic"),
		lag:           gauge("consumer_lag_records", "Records of the partition that were not read yet."),
		position:      gauge("consumer_offset", "The journal's position in the partition: the next offset to read."),
		lost:          counter("records_lost_total", "Offsets that the broker deleted before they were read.", "topic"),
		faults:        counter("consumer_faults_total", "Faults of requests to Kafka, by class.", "class"),
		generations:   single("consumer_generations_total", "Generations of the consumer group that this worker took part in."),
		reconnects:    single("consumer_reconnects_total", "Connections replaced because fetches returned none of a partition's records."),
		ingestion: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "invoicebox_worker_ingest_duration_seconds", Help: "Duration of one inbox transaction.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}),
		batchRecords: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "invoicebox_worker_ingest_batch_records", Help: "Records of one inbox transaction, those that are ignored included.",
			Buckets: []float64{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000},
		}),
		rebalance: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "invoicebox_worker_consumer_rebalance_duration_seconds", Help: "Time without partitions: from the end of a generation, or from the start, until this worker joins the next generation.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
		lagSeconds: gauge("consumer_lag_seconds", "Age of the record of the partition that was read last; 0 if all records were read. Absent while records wait and none was read yet."),
		failures:   single("ingest_failures_total", "Inbox transactions that failed and were retried."),
		paused: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "invoicebox_worker_consumer_paused", Help: "1 while fetching is paused because a limit of the journal is reached, else 0.",
		}),
		throttled: single("fetch_throttled_seconds_total", "Time that brokers made this worker wait before the next fetch, because a quota is reached."),
		unstable:  gauge("unstable_records", "Records of the partition that cannot be read yet because a transaction is open: the high watermark minus the last stable offset."),
	}
	r.MustRegister(m.records, m.ignored, m.deadLetters, m.keyMismatches, m.timeDropped, m.nearMisses, m.untrusted, m.unkept, m.replays, m.lag, m.position, m.lost, m.faults, m.generations,
		m.reconnects, m.ingestion, m.batchRecords, m.rebalance, m.lagSeconds, m.failures, m.paused, m.throttled, m.unstable)
	return m
}

// initTopic creates the series of a topic before the first record, so that rates are
// right from the start.
func (m *Metrics) initTopic(topic string) {
	for _, outcome := range []string{Accepted, Repeated, Ignored, DeadLetter} {
		m.records.WithLabelValues(topic, outcome)
	}
	m.lost.WithLabelValues(topic)
}

// setPosition notes how far a partition was read; newest is the time of the last record,
// zero if it is unknown.
func (m *Metrics) setPosition(topic string, partition int, position, lag int64, newest time.Time) {
	label := strconv.Itoa(partition)
	switch {
	case lag <= 0:
		m.lagSeconds.WithLabelValues(topic, label).Set(0)
	case !newest.IsZero():
		m.lagSeconds.WithLabelValues(topic, label).Set(max(0, time.Since(newest).Seconds()))
	}
	m.position.WithLabelValues(topic, label).Set(float64(position))
	m.lag.WithLabelValues(topic, label).Set(float64(max(lag, 0)))
}

func (m *Metrics) setUnstable(topic string, partition int, records int64) {
	m.unstable.WithLabelValues(topic, strconv.Itoa(partition)).Set(float64(records))
}

func (m *Metrics) removePartition(topic string, partition int) {
	label := strconv.Itoa(partition)
	m.position.DeleteLabelValues(topic, label)
	m.lag.DeleteLabelValues(topic, label)
	m.lagSeconds.DeleteLabelValues(topic, label)
	m.unstable.DeleteLabelValues(topic, label)
}

// batchStats counts the outcomes of a batch's records, as far as the batch decides
// them.
type batchStats struct {
	ignored       map[schemas.IgnoreReason]int
	deadLetters   map[schemas.InvalidReason]int
	keyMismatches int

	timesDropped    int
	untrusted       int // events whose time is ahead of our clock or before 2000
	nearMisses      int
	nearMiss        string // the first one's spelling
	nearMissAt      int64
	deadLetterCount int                  // one can stand for many records
	noted           []journal.DeadLetter // the first of them, for the log
}

// addDeadLetters counts records that became dead letters.
func (t *batchStats) addDeadLetters(reason schemas.InvalidReason, n int) {
	if t.deadLetters == nil {
		t.deadLetters = map[schemas.InvalidReason]int{}
	}
	t.deadLetters[reason] += n
}

// noteForLog stores what the log needs of a dead letter.
func (t *batchStats) noteForLog(l journal.DeadLetter) {
	t.deadLetterCount++
	if len(t.noted) < maxLoggedDeadLetters {
		t.noted = append(t.noted, forLog(l))
	}
}

func (m *Metrics) count(topic string, t *batchStats, done journal.Ingested) {
	reused := done.Reused
	m.records.WithLabelValues(topic, Accepted).Add(float64(done.Accepted))
	m.records.WithLabelValues(topic, Repeated).Add(float64(done.Repeated))
	for reason, n := range t.ignored {
		m.records.WithLabelValues(topic, Ignored).Add(float64(n))
		m.ignored.WithLabelValues(topic, string(reason)).Add(float64(n))
	}
	if reused > 0 {
		m.records.WithLabelValues(topic, DeadLetter).Add(float64(reused))
		m.deadLetters.WithLabelValues(topic, string(schemas.ReasonIDReused)).Add(float64(reused))
	}
	for reason, n := range t.deadLetters {
		m.records.WithLabelValues(topic, DeadLetter).Add(float64(n))
		m.deadLetters.WithLabelValues(topic, string(reason)).Add(float64(n))
	}
	if t.keyMismatches > 0 {
		m.keyMismatches.WithLabelValues(topic).Add(float64(t.keyMismatches))
	}
	if t.timesDropped > 0 {
		m.timeDropped.WithLabelValues(topic).Add(float64(t.timesDropped))
	}
	if t.nearMisses > 0 {
		m.nearMisses.WithLabelValues(topic).Add(float64(t.nearMisses))
	}
	if t.untrusted > 0 {
		m.untrusted.WithLabelValues(topic).Add(float64(t.untrusted))
	}
	if done.Unkept > 0 {
		m.unkept.WithLabelValues(topic).Add(float64(done.Unkept))
	}
}
