package consumer_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"invoicebox-worker/consumer"
	"invoicebox-worker/schemas"
)

func TestMarshalRecord(t *testing.T) {
	for name, m := range map[string]schemas.Message{
		"empty":     {},
		"nil apart": {Key: []byte{}, Value: nil},
		"bytes":     {Key: []byte("\xff\x00"), Value: []byte("\x00"), Time: time.UnixMilli(1_700_000_000_123).UTC()},
		"headers":   {Value: []byte("v"), Headers: []schemas.Header{{Key: "a"}, {Key: "a", Value: []byte{}}, {Key: "\xff", Value: []byte("x")}}},
		"epoch":     {Time: time.UnixMilli(0).UTC()},
	} {
		got, err := consumer.UnmarshalRecord(consumer.MarshalRecord(m))
		if diff := cmp.Diff(m, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

func FuzzUnpackRecord(f *testing.F) {
	f.Add(consumer.MarshalRecord(schemas.Message{Key: []byte("k"), Value: []byte("v"), Headers: []schemas.Header{{Key: "h", Value: []byte("x")}}}))
	f.Add([]byte{1})
	f.Add([]byte{1, 0, 0, 0, 255, 255, 255, 255, 15})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := consumer.UnmarshalRecord(b)
		if err != nil {
			return
		}
		again, err := consumer.UnmarshalRecord(consumer.MarshalRecord(m))
		if diff := cmp.Diff(m, again); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	})
}

func TestParseStart(t *testing.T) {
	for text, want := range map[string]consumer.Start{
		"": {}, "earliest": {Mode: consumer.StartEarliest}, "latest": {Mode: consumer.StartLatest},
		"2026-01-31T12:00:00Z": {Mode: consumer.StartTime, Time: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)},
	} {
		if got, err := consumer.ParseStart(text); err != nil || got.Mode != want.Mode || !got.Time.Equal(want.Time) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"Latest", "now", "2026-01-31", "1700000000", "1960-01-01T00:00:00Z"} {
		if _, err := consumer.ParseStart(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
