package consumer

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// An open transaction that holds records back is said after a minute, once, and
// so is its end. One that ends in time, or behind which others follow, is not.
func TestOpenTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		metrics := NewMetrics(prometheus.NewPedanticRegistry())
		p := &partition{topicPartition: topicPartition{"in", 0}, g: &generation{c: &Consumer{metrics: metrics}}, log: slog.New(slog.NewTextHandler(&out, nil))}
		after := func(d time.Duration, offset, end, highWatermark int64, lines int) {
			t.Helper()
			<-time.After(d)
			p.offset = offset
			p.watchTransaction(fetchResult{lastStable: end, highWatermark: highWatermark})
			if got := strings.Count(out.String(), "\n"); got != lines {
				t.Errorf("%d lines, want %d: %s", got, lines, out.String())
			}
			if got := testutil.ToFloat64(metrics.unstable.WithLabelValues("in", "0")); got != float64(highWatermark-end) {
				t.Errorf("%v unstable records, want %d", got, highWatermark-end)
			}
		}
		after(0, 5, 5, 9, 0)
		after(59*time.Second, 5, 5, 9, 0)
		after(time.Second/2, 5, 9, 9, 0) // ended in time
		after(time.Hour, 9, 9, 12, 0)
		after(59*time.Second, 10, 10, 12, 0) // mismatchSince one
		after(59*time.Second, 10, 10, 12, 0)
		after(time.Second, 10, 10, 15, 1)
		after(time.Hour, 10, 10, 15, 1)
		after(time.Second, 10, 15, 15, 2)
		after(time.Hour, 14, 15, 16, 2) // not there yet
		if text := out.String(); !strings.Contains(text, "last_stable_offset=10 high_watermark=15") || !strings.Contains(text, "kafka-transactions.sh") {
			t.Error(text)
		}
	})
}
