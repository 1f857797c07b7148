package consumer_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/metrictest"
	"invoicebox-worker/schemas"
)

const marker = "m4rk3r"

// A recordOutcome is where a record ends, and why.
type recordOutcome struct{ outcome, reason string }

func deadLetterOf(reason schemas.InvalidReason) recordOutcome {
	return recordOutcome{consumer.DeadLetter, string(reason)}
}

var (
	accepted  = recordOutcome{outcome: consumer.Accepted}
	repeated  = recordOutcome{outcome: consumer.Repeated}
	tombstone = recordOutcome{consumer.Ignored, string(schemas.IgnoreTombstone)}
	other     = recordOutcome{consumer.Ignored, string(schemas.IgnoreOtherProvider)}
)

// event is a record in binary mode; headers replace or add, an empty one takes
// away.
func event(typ, id, key, data string, headers ...string) kafkago.Message {
	set := []kafkago.Header{
		{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_type", Value: []byte(typ)}, {Key: "ce_source", Value: []byte("/platform")},
		{Key: "ce_id", Value: []byte(id)}, {Key: "content-type", Value: []byte("application/json")},
	}
	for i := 0; i < len(headers); i += 2 {
		found := false
		for j := range set {
			if set[j].Key == headers[i] {
				set[j].Value, found = []byte(headers[i+1]), true
			}
		}
		if !found {
			set = append(set, kafkago.Header{Key: headers[i], Value: []byte(headers[i+1])})
		}
	}
	kept := set[:0]
	for _, h := range set {
		if len(h.Value) > 0 {
			kept = append(kept, h)
		}
	}
	return kafkago.Message{Key: []byte(key), Value: []byte(data), Headers: kept}
}

func chosen(id, shop, email string, headers ...string) kafkago.Message {
	return event(schemas.TypeProviderSelected, id, shop, fmt.Sprintf(`{"shopId":%q,"provider":"invoicebox","email":%q}`, shop, email), headers...)
}

func entered(id, shop, code string) kafkago.Message {
	return event(schemas.TypeCodeEntered, id, shop, fmt.Sprintf(`{"shopId":%q,"activationCode":%q}`, shop, code))
}

func plain(data string) kafkago.Message { return kafkago.Message{Value: []byte(data)} }

// selections is the table of one input topic: what comes in, where it ends.
var selections = []struct {
	name string
	in   kafkago.Message
	out  recordOutcome
}{
	{"good", chosen("1", "shop", marker+"@example.org"), accepted},
	{"the same again", chosen("1", "shop", marker+"@example.org"), repeated},
	{"the same id, another body", chosen("1", "shop", "other@example.org"), deadLetterOf(schemas.ReasonIDReused)},
	{"the same id from another source", chosen("1", "shop", marker+"@example.org", "ce_source", "/elsewhere"), accepted},
	{"structured", kafkago.Message{Value: []byte(`{"specversion":"1.0","type":"` + schemas.TypeProviderSelected + `","source":"/platform","id":"s1","data":{"shopId":"s","provider":"invoicebox","email":"a@b.example"}}`), Headers: []kafkago.Header{{Key: "content-type", Value: []byte("application/cloudevents+json")}}}, accepted},
	{"plain JSON", plain(`{"shopId":"plain","provider":"invoicebox","email":"a@b.example"}`), accepted},
	{"plain JSON, the same content again", plain(`{"shopId":"plain","provider":"invoicebox","email":"a@b.example"}`), accepted},
	{"behind the Confluent header", plain("\x00\x00\x00\x00\x07" + `{"shopId":"wire","provider":"invoicebox","email":"a@b.example"}`), accepted},
	{"an integer for a shop", plain(`{"shopId":4711,"provider":"invoicebox","email":"a@b.example"}`), accepted},
	{"unknown members", plain(`{"shopId":"u","provider":"invoicebox","email":"a@b.example","new":{"x":[1]}}`), accepted},
	{"another account", plain(`{"shopId":"u","provider":"invoicebox","email":"a@b.example","partnerAccount":"second"}`), accepted},
	{"headers in capitals", kafkago.Message{Value: []byte(`{"shopId":"caps","provider":"invoicebox","email":"a@b.example"}`), Headers: []kafkago.Header{
		{Key: "CE_SPECVERSION", Value: []byte("1.0")}, {Key: "Ce_Type", Value: []byte(schemas.TypeProviderSelected)}, {Key: "CE_Source", Value: []byte("/p")}, {Key: "ce_ID", Value: []byte("caps")}}}, accepted},
	{"a key that differs", func() kafkago.Message { m := chosen("k1", "shop", "a@b.example"); m.Key = []byte("other"); return m }(), accepted},
	{"slashes and dots in a shop", chosen("p1", "../../etc/passwd", "a@b.example"), accepted},
	{"spaces in a shop", chosen("p2", "a shop of mine", "a@b.example"), accepted},
	{"Cyrillic and emoji in a shop", chosen("p3", "магазин 🛒", "a@b.example"), accepted},
	{"a quoted local part", event(schemas.TypeProviderSelected, "e1", "shop", `{"shopId":"shop","provider":"invoicebox","email":"\"odd..one\"@b.example"}`), accepted},
	{"a plus in an address", chosen("e2", "shop", "a+b@b.example"), accepted},

	{"tombstone", kafkago.Message{Key: []byte("shop")}, tombstone},
	{"empty value", kafkago.Message{Key: []byte("shop"), Value: []byte{}}, tombstone},
	{"another provider", plain(`{"shopId":"gone","provider":"` + marker + `"}`), other},
	{"another provider that is nearly ours", plain(`{"shopId":"gone","provider":"invoice-box","email":"a@b.example"}`), other},
	{"the provider in capitals", plain(`{"shopId":"caps","provider":"INVOICEBOX","email":"a@b.example"}`), accepted},
	{"a time without a zone", chosen("z1", "shop", "a@b.example", "ce_time", "2026-11-20T10:00:00"), accepted},

	{"not JSON", plain(marker), deadLetterOf(schemas.ReasonNotJSON)},
	{"half JSON", plain(`{"shopId":"` + marker), deadLetterOf(schemas.ReasonNotJSON)},
	{"two values", plain(`{"shopId":"s","provider":"invoicebox","email":"a@b.example"} {}`), deadLetterOf(schemas.ReasonNotJSON)},
	{"an array", plain(`["` + marker + `"]`), deadLetterOf(schemas.ReasonWrongType)},
	{"a number for an object", plain(`7`), deadLetterOf(schemas.ReasonWrongType)},
	{"5 MB", plain(`{"shopId":"` + strings.Repeat("x", 5<<20) + `"}`), deadLetterOf(schemas.ReasonTooLarge)},
	{"just over 64 KiB", plain(`{"shopId":"s","provider":"invoicebox","email":"","pad":"` + strings.Repeat("x", 70<<10) + `"}`), deadLetterOf(schemas.ReasonEmpty)},
	{"deep nesting", plain(strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)), deadLetterOf(schemas.ReasonTooDeep)},
	{"duplicate members", plain(`{"shopId":"s","shopId":"` + marker + `","provider":"invoicebox","email":"a@b.example"}`), deadLetterOf(schemas.ReasonDuplicateMember)},
	{"invalid UTF-8", plain("{\"shopId\":\"\xff\",\"provider\":\"invoicebox\",\"email\":\"a@b.example\"}"), deadLetterOf(schemas.ReasonInvalidUTF8)},
	{"wrong type", plain(`{"shopId":"s","provider":"invoicebox","email":["` + marker + `"]}`), deadLetterOf(schemas.ReasonWrongType)},
	{"names in capitals", plain(`{"ShopID":"s","provider":"invoicebox","email":"a@b.example"}`), deadLetterOf(schemas.ReasonMissing)},
	{"unknown specversion", chosen("v1", "shop", "a@b.example", "ce_specversion", "2.0"), deadLetterOf(schemas.ReasonUnsupportedVersion)},
	{"another type", chosen("t1", "shop", "a@b.example", "ce_type", "shop.deleted"), deadLetterOf(schemas.ReasonTypeDiffers)},
	{"a missing id", chosen("x", "shop", "a@b.example", "ce_id", ""), deadLetterOf(schemas.ReasonMissing)},
	{"an id of 10 kB", chosen(strings.Repeat("i", 10<<10), "shop", "a@b.example"), deadLetterOf(schemas.ReasonTooLong)},
	{"NUL in a shop", plain(`{"shopId":"a\u0000b","provider":"invoicebox","email":"a@b.example"}`), deadLetterOf(schemas.ReasonControlCharacter)},
	{"a shop of 10 kB", chosen("l1", strings.Repeat("s", 10<<10), "a@b.example"), deadLetterOf(schemas.ReasonTooLong)},
	{"no address", plain(`{"shopId":"s","provider":"invoicebox"}`), deadLetterOf(schemas.ReasonMissing)},
	{"not an address", chosen("a1", "shop", marker), deadLetterOf(schemas.ReasonMalformed)},
	{"two addresses", chosen("a2", "shop", "a@b.example, c@d.example"), deadLetterOf(schemas.ReasonMalformed)},
	{"an address over 100 characters", chosen("a3", "shop", strings.Repeat("a", 60)+"@"+strings.Repeat("b", 60)+".example"), deadLetterOf(schemas.ReasonTooLong)},
	{"a line break in an address", plain(`{"shopId":"s","provider":"invoicebox","email":"a@b.example\r\nBcc: c@d.example"}`), deadLetterOf(schemas.ReasonControlCharacter)},
	{"an unknown account", plain(`{"shopId":"s","provider":"invoicebox","email":"a@b.example","partnerAccount":"` + marker + `"}`), deadLetterOf(schemas.ReasonUnknownAccount)},
	{"a subject that differs", chosen("j1", "shop", "a@b.example", "ce_subject", marker), deadLetterOf(schemas.ReasonSubjectDiffers)},
	{"a header twice", func() kafkago.Message {
		m := chosen("h1", "shop", "a@b.example")
		m.Headers = append(m.Headers, kafkago.Header{Key: "CE_id", Value: []byte("h2")})
		return m
	}(), deadLetterOf(schemas.ReasonRepeatedHeader)},
	{"a header that is not UTF-8", chosen("h3", "shop", "a@b.example", "ce_source", "/\xff"), deadLetterOf(schemas.ReasonInvalidUTF8)},
}

// codes is the table of the other.
var codes = []struct {
	name string
	in   kafkago.Message
	out  recordOutcome
}{
	{"good", entered("1", "shop", marker), accepted},
	{"the same again", entered("1", "shop", marker), repeated},
	{"one code for two shops", entered("2", "another", marker), accepted},
	{"a code over 36 characters", entered("3", "shop", strings.Repeat("7", 37)), deadLetterOf(schemas.ReasonTooLong)},
	{"an empty code", entered("4", "shop", ""), deadLetterOf(schemas.ReasonEmpty)},
	{"a number for a code", plain(`{"shopId":"s","activationCode":{}}`), deadLetterOf(schemas.ReasonWrongType)},
	{"another provider", plain(`{"shopId":"s","activationCode":"` + marker + `","provider":"other"}`), other},
	{"tombstone", kafkago.Message{}, tombstone},
}

// recorder is a journal that remembers where each offset went.
type recorder struct {
	*sqlite.Journal
	mu   sync.Mutex
	went map[string]map[int64][]recordOutcome
}

func (r *recorder) Ingest(ctx context.Context, b journal.Batch) (journal.Ingested, error) {
	done, err := r.Journal.Ingest(ctx, b)
	if err != nil {
		return done, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.went[b.Topic] == nil {
		r.went[b.Topic] = map[int64][]recordOutcome{}
	}
	went := r.went[b.Topic]
	covered := map[int64]bool{}
	note := func(offset int64, e recordOutcome) {
		covered[offset] = true
		went[offset] = append(went[offset], e)
	}
	for _, e := range b.Events { // one at most: BatchEvents is 1
		switch {
		case done.Accepted == 1:
			note(e.Offset, accepted)
		case done.Repeated == 1:
			note(e.Offset, repeated)
		case done.Reused == 1:
			note(e.Offset, deadLetterOf(schemas.ReasonIDReused))
		}
	}
	for _, l := range b.DeadLetters {
		note(l.Offset, recordOutcome{consumer.DeadLetter, l.Reason})
	}
	for offset := b.From; offset < b.Next; offset++ {
		if !covered[offset] {
			note(offset, recordOutcome{outcome: consumer.Ignored})
		}
	}
	return done, nil
}

// TestConsumer/RecordOutcomes walks the tables with real bytes through Kafka,
// decoder and journal: each record ends in exactly one place, is counted once,
// and the one behind it is not delayed.
func testConsumerRecordOutcomes(t *testing.T) {
	c := kafkatest.Embedded(t, kafkatest.WithMaxMessageBytes(10<<20),
		kafkatest.WithTopic(schemas.TypeProviderSelected, 1), kafkatest.WithTopic(schemas.TypeCodeEntered, 1))
	keys, err := testKeys()
	if err != nil {
		t.Fatal(err)
	}
	j, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "journal.db"), Planner: func(journal.Event, journal.ShopView) journal.Plan { return journal.Plan{} }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	for _, account := range []string{"default", "second"} {
		if err := j.EnsureAccount(t.Context(), account, uuid.NewString()); err != nil {
			t.Fatal(err)
		}
	}
	rec := &recorder{Journal: j, went: map[string]map[int64][]recordOutcome{}}
	want := map[string][]recordOutcome{}
	names := map[string][]string{}
	totals := map[string]map[string]int{}
	produce := func(topic, name string, m kafkago.Message, out recordOutcome) {
		c.Produce(t, topic, []kafkago.Message{m})
		want[topic], names[topic] = append(want[topic], out), append(names[topic], name)
		if totals[topic] == nil {
			totals[topic] = map[string]int{}
		}
		totals[topic][out.outcome]++
	}
	for i, row := range selections {
		produce(schemas.TypeProviderSelected, row.name, row.in, row.out)
		produce(schemas.TypeProviderSelected, "behind "+row.name, chosen(fmt.Sprint("behind-", i), "behind", "a@b.example"), accepted)
	}
	for i, row := range codes {
		produce(schemas.TypeCodeEntered, row.name, row.in, row.out)
		produce(schemas.TypeCodeEntered, "behind "+row.name, entered(fmt.Sprint("behind-", i), "behind", fmt.Sprint("code-", i)), accepted)
	}
	decoder, err := schemas.NewDecoder(schemas.DecoderOptions{Accounts: []string{"default", "second"}})
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, c, group(), schemas.TypeProviderSelected, rec, func(c *consumer.Config) {
		c.Topics, c.Decoder, c.BatchEvents = schemas.InputTypes(), decoder, 1
	})
	eventually(t, "all records", func() bool {
		rec.mu.Lock()
		defer rec.mu.Unlock()
		return len(rec.went[schemas.TypeProviderSelected]) == len(want[schemas.TypeProviderSelected]) && len(rec.went[schemas.TypeCodeEntered]) == len(want[schemas.TypeCodeEntered])
	})
	r.stop()
	for topic, exits := range want {
		for offset, out := range exits {
			got := rec.went[topic][int64(offset)]
			if out.outcome == consumer.Ignored {
				out.reason = "" // counted below
			}
			if len(got) != 1 || got[0] != out {
				t.Errorf("%s, %s: ended at %v, want %v", topic, names[topic][offset], got, out)
			}
		}
		for _, outcome := range []string{consumer.Accepted, consumer.Repeated, consumer.Ignored, consumer.DeadLetter} {
			if n := metrictest.Sum(t, r.registry, "invoicebox_worker_records_total", "topic", topic, "outcome", outcome); int(n) != totals[topic][outcome] {
				t.Errorf("%s: %v are counted as %s, want %d", topic, n, outcome, totals[topic][outcome])
			}
		}
	}
	checkReasons(t, r.registry, want)
	checkLetters(t, j, keys, c, totals)
}

func checkReasons(t *testing.T, registry *prometheus.Registry, want map[string][]recordOutcome) {
	t.Helper()
	counts := map[string]int{}
	for _, exits := range want {
		for _, e := range exits {
			counts[e.outcome+e.reason]++
		}
	}
	for _, e := range []recordOutcome{tombstone, other} {
		if n := metrictest.Sum(t, registry, "invoicebox_worker_records_ignored_total", "reason", e.reason); int(n) != counts[e.outcome+e.reason] {
			t.Errorf("%v are ignored as %s, want %d", n, e.reason, counts[e.outcome+e.reason])
		}
	}
	for _, reason := range schemas.InvalidReasons() {
		if n := metrictest.Sum(t, registry, "invoicebox_worker_dead_letters_total", "reason", string(reason)); int(n) != counts[consumer.DeadLetter+string(reason)] {
			t.Errorf("%v dead letters of %s, want %d", n, reason, counts[consumer.DeadLetter+string(reason)])
		}
	}
	if n := metrictest.Sum(t, registry, "invoicebox_worker_records_key_mismatch_total"); n != 1 {
		t.Errorf("%v keys differ", n)
	}
	for _, name := range []string{"records_time_dropped_total", "provider_near_misses_total"} {
		if n := metrictest.Sum(t, registry, "invoicebox_worker_"+name); n != 1 {
			t.Errorf("%s is %v", name, n)
		}
	}
}

// checkLetters opens what the dead letters keep, compares it with the topic,
// and looks at the events that tell of them.
func checkLetters(t *testing.T, j *sqlite.Journal, keys *keyset.Set, c *kafkatest.Cluster, totals map[string]map[string]int) {
	t.Helper()
	letters, err := j.DeadLetters(t.Context(), journal.DeadLetterFilter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	records := map[string][]kafkago.Message{}
	for topic := range totals {
		records[topic] = c.ReadAll(t, topic)
	}
	if n := totals[schemas.TypeProviderSelected][consumer.DeadLetter] + totals[schemas.TypeCodeEntered][consumer.DeadLetter]; len(letters) != n {
		t.Fatalf("%d dead letters, want %d", len(letters), n)
	}
	for _, l := range letters {
		m := records[l.Topic][l.Offset]
		if l.Sealed == nil {
			if len(m.Value) < 64<<10 {
				t.Errorf("%s/%d: a letter of %d bytes keeps nothing", l.Topic, l.Offset, len(m.Value))
			}
			continue
		}
		text, err := keys.Open(l.Sealed, keyset.DeadLetterAAD(l.Topic, l.Partition, l.Offset, schemas.DeadLetterID(l.Topic, l.Partition, l.Offset, l.Time, l.Digest).String()))
		if err != nil {
			t.Fatal(err)
		}
		kept, err := consumer.UnmarshalRecord(text)
		if err != nil {
			t.Fatal(err)
		}
		if string(kept.Value) != string(m.Value) || string(kept.Key) != string(m.Key) || len(kept.Headers) != len(m.Headers) || !kept.Time.Equal(m.Time) {
			t.Errorf("%s/%d: the letter keeps another record", l.Topic, l.Offset)
		}
	}
	pending, err := j.Pending(t.Context(), 0, 1000, 10<<20)
	if err != nil {
		t.Fatal(err)
	}
	if len(pending) != len(letters) {
		t.Errorf("%d events tell of %d letters", len(pending), len(letters))
	}
	for _, p := range pending {
		if _, err := schemas.DecodeOutput(p.Message); err != nil {
			t.Errorf("an event that tells of a letter: %v", err)
		}
		all := string(p.Message.Key) + string(p.Message.Value)
		for _, h := range p.Message.Headers {
			all += h.Key + string(h.Value)
		}
		if strings.Contains(all, marker) {
			t.Errorf("an event that tells of a letter quotes it: %s", all)
		}
	}
}
