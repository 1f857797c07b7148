package kafkatest

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Real gives Apache Kafka of this test's own. It is closed when the test ends.
// The test is skipped where Apache Kafka is not installed, and fails there when
// INVOICEBOX_TEST_REQUIRE holds "kafka".
func Real(tb testing.TB, opts ...Option) *Cluster {
	tb.Helper()
	c, err := StartReal(context.Background(), newConfig(opts))
	orSkip(tb, err)
	tb.Cleanup(func() {
		c.showLogs(tb)
		if err := c.Close(); err != nil {
			tb.Errorf("kafkatest: closing: %v", err)
		}
	})
	return c
}

// shared is the one broker of this test binary. It is a global because what it
// stands for is one per process: tests that share nothing else find it here.
var shared = sync.OnceValues(func() (*Cluster, error) {
	return StartReal(context.Background(), Config{MaxMessageBytes: SharedMaxMessageBytes})
})

// SharedMaxMessageBytes is the largest batch that the shared broker takes.
const SharedMaxMessageBytes = 10 << 20

// Shared gives one Apache Kafka broker to all tests of this test binary: it
// starts with the first that asks and ends with the process. Tests keep out of
// each other's way with [Cluster.NewTopic] and group names of their own, and
// leave the broker running. Skips and fails as Real does.
func Shared(tb testing.TB) *Cluster {
	tb.Helper()
	c, err := shared()
	orSkip(tb, err)
	tb.Cleanup(func() { c.showLogs(tb) })
	return c
}

// Both runs a test on an embedded cluster and on Apache Kafka. Without options
// the latter is the shared one; with options each is made for this test alone. Where
// INVOICEBOX_TEST_REQUIRE holds "kafka", Apache Kafka is enough: the embedded cluster is
// for machines without it, and each test there takes its time twice.
func Both(t *testing.T, test func(t *testing.T, c *Cluster), opts ...Option) {
	t.Helper()
	alone := len(opts) > 0
	if !alone {
		opts = []Option{WithMaxMessageBytes(SharedMaxMessageBytes)}
	}
	t.Run("embedded", func(t *testing.T) {
		if required() {
			t.Skip("Apache Kafka is required, and runs this test")
		}
		test(t, Embedded(t, opts...))
	})
	t.Run("apache-kafka", func(t *testing.T) {
		if alone {
			test(t, Real(t, opts...))
			return
		}
		test(t, Shared(t))
	})
}

// orSkip ends the test when the cluster could not be started.
func orSkip(tb testing.TB, err error) {
	tb.Helper()
	switch {
	case err == nil:
	case errors.Is(err, ErrNotInstalled) && !required():
		tb.Skip(err)
	default:
		tb.Fatal(err)
	}
}

func required() bool {
	words := strings.FieldsFunc(os.Getenv(requireVariable), func(r rune) bool { return r == ',' || r == ' ' })
	return slices.Contains(words, "kafka")
}

func (c *Cluster) showLogs(tb testing.TB) {
	tb.Helper()
	if !tb.Failed() {
		return
	}
	for _, n := range c.nodes {
		tb.Logf("the end of the log of broker %d:\n%s", n.number, n.tail())
	}
}
