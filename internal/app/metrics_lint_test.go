package app

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/credentials/endpoint"
	"invoicebox-worker/internal/credentials/openbao"
	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/tracing"
	"invoicebox-worker/producer"
)

// allMetrics registers what a worker does, each vector with a series.
func allMetrics(r filling, j statsReader, room capacityReader) *statsCollector {
	consumer.NewMetrics(r)
	engine.NewMetrics(r)
	producer.NewMetrics(r)
	openbao.NewMetrics(r)
	endpoint.NewMetrics(r)
	tracing.NewMetrics(r)
	stats := newStatsCollector(j)
	r.MustRegister(stats)
	o := Defaults()
	newCapacityMonitor(&o, room, slog.New(slog.DiscardHandler)).register(r)
	r.MustRegister(newRegistry("test"))
	return stats
}

// readOnce reads the figures for the gauges.
func readOnce(tb testing.TB, stats *statsCollector) {
	tb.Helper()
	if err := stats.read(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}

func scrape(tb testing.TB, gatherer prometheus.Gatherer) []byte {
	tb.Helper()
	recorder := httptest.NewRecorder()
	newHealth().handler(gatherer, false, slog.New(slog.DiscardHandler)).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	doc, err := io.ReadAll(recorder.Result().Body)
	if err != nil || recorder.Code != http.StatusOK {
		tb.Fatalf("status %d, %v", recorder.Code, err)
	}
	return doc
}

// promtool finds nothing wrong with names, types and help texts. It is skipped where there
// is no promtool, unless INVOICEBOX_TEST_REQUIRE holds the word promtool; a path to it can
// be in INVOICEBOX_TEST_PROMTOOL.
func TestMetricsLint(t *testing.T) {
	program := os.Getenv("INVOICEBOX_TEST_PROMTOOL")
	if program == "" {
		var err error
		if program, err = exec.LookPath("promtool"); err != nil {
			if strings.Contains(os.Getenv("INVOICEBOX_TEST_REQUIRE"), "promtool") {
				t.Fatal("promtool is required and not there")
			}
			t.Skip("promtool is not there")
		}
	}
	r := filling{prometheus.NewRegistry()}
	readOnce(t, allMetrics(r, &fakeStats{stats: journal.Stats{OldestDue: map[journal.DueKey]time.Time{{Account: "default", Kind: journal.Invite}: {}},
		Operations: map[journal.StatKey]int64{{Account: "a"}: 1}, Attention: map[string]int64{"x": 1},
	}}, &fakeRoom{}))
	lint := exec.CommandContext(t.Context(), program, "check", "metrics") // #nosec G204 -- a program of this machine
	lint.Stdin = bytes.NewReader(scrape(t, r))
	if out, err := lint.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// BenchmarkMetrics scrapes a worker with 100 accounts, 9 states of operations in each, and
// all vectors of the parts.
func BenchmarkMetrics(b *testing.B) {
	figures := journal.Stats{Operations: map[journal.StatKey]int64{}, Attention: map[string]int64{"outcome_unknown": 1}}
	for a := range 100 {
		account := "account-" + strconv.Itoa(a)
		for _, state := range []journal.State{journal.Queued, journal.Planned, journal.Waiting, journal.Claimed, journal.Sending, journal.Received, journal.Stored, journal.Unknown, journal.Attention} {
			figures.Operations[journal.StatKey{Account: account, Kind: journal.Activate, State: state}] = 1_000_000
		}
	}
	r := filling{prometheus.NewRegistry()}
	readOnce(b, allMetrics(r, &fakeStats{stats: figures}, &fakeRoom{}))
	measureScrapes(b, r)
}
