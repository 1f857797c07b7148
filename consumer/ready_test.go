package consumer_test

import (
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/kafkatest"
)

func TestReady(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, j := c.NewTopic(t, "in", 1), newInbox()
	r := start(t, c, group(), topic, j)
	eventually(t, "consuming", func() bool { ok, word := r.Ready(); return ok && word == "consuming" })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the reason", func() bool {
		ok, word := r.Ready()
		return !ok && strings.Contains(word, ": ") && strings.Contains(word, "cannot be reached")
	})
}
