package main

import (
	"bytes"

	"cmp"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// A collector accepts spans over OTLP and HTTP.
type collector struct {
	*httptest.Server
	mu      sync.Mutex
	spans   []*tracepb.Span
	raw     bytes.Buffer // all that was received
	headers []http.Header
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(c.receive))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) receive(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		var err error
		if body, err = gzip.NewReader(body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
	}
	text, err := io.ReadAll(body)
	var request collectorpb.ExportTraceServiceRequest
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(text, &request) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw.Write(text)
	c.headers = append(c.headers, r.Header)
	for _, rs := range request.GetResourceSpans() {
		for _, ss := range rs.GetScopeSpans() {
			c.spans = append(c.spans, ss.GetSpans()...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (c *collector) received() []*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// tree formats the spans of a trace below a parent: a line each, the consumer's first, the
// producer's last, the others in the order of their start.
func tree(spans []*tracepb.Span, parent string) []string {
	var lines []string
	for _, s := range spans {
		if hex.EncodeToString(s.GetParentSpanId()) != parent {
			continue
		}
		words := []string{strings.ToLower(strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_")), s.GetName()}
		for _, key := range []string{"invoicebox.operation.from", "invoicebox.operation.to", "http.response.status_code", "invoicebox.outcome"} {
			if v := attr(s, key); v != "" {
				words = append(words, v)
			}
		}
		lines = append(lines, strings.Join(words, " "))
		for _, line := range tree(spans, hex.EncodeToString(s.GetSpanId())) {
			lines = append(lines, "  "+line)
		}
	}
	return lines
}

func attr(s *tracepb.Span, key string) string {
	for _, a := range s.GetAttributes() {
		if a.GetKey() == key {
			switch v := a.GetValue().GetValue().(type) {
			case *commonpb.AnyValue_StringValue:
				return v.StringValue
			case *commonpb.AnyValue_IntValue:
				return fmt.Sprint(v.IntValue)
			case *commonpb.AnyValue_BoolValue:
				return fmt.Sprint(v.BoolValue)
			}
		}
	}
	return ""
}

// ofTrace returns the spans of one trace in the order of tree. Topics have the names of the
// contract again.
func (r *rig) ofTrace(spans []*tracepb.Span, id string) []*tracepb.Span {
	var out []*tracepb.Span
	for _, s := range spans {
		if hex.EncodeToString(s.GetTraceId()) != id {
			continue
		}
		for name, topic := range r.topics {
			s.Name = strings.ReplaceAll(s.GetName(), topic, name)
		}
		out = append(out, s)
	}
	rank := func(s *tracepb.Span) int {
		switch s.GetKind() {
		case tracepb.Span_SPAN_KIND_CONSUMER:
			return 0
		case tracepb.Span_SPAN_KIND_PRODUCER:
			return 2
		}
		return 1
	}
	slices.SortStableFunc(out, func(a, b *tracepb.Span) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.GetStartTimeUnixNano(), b.GetStartTimeUnixNano()))
	})
	return out
}

// traced produces an event with a traceparent.
func (r *rig) traced(typ, id, shop, data, parent string) {
	r.t.Helper()
	headers := []kafkago.Header{
		{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_id", Value: []byte(id)}, {Key: "ce_source", Value: []byte("/platform")},
		{Key: "ce_type", Value: []byte(typ)}, {Key: "content-type", Value: []byte("application/json")},
	}
	if parent != "" {
		headers = append(headers, kafkago.Header{Key: "ce_traceparent", Value: []byte(parent)})
	}
	r.cluster.Produce(r.t, r.topics[typ], []kafkago.Message{{Key: []byte(shop), Value: []byte(data), Headers: headers}})
}

// The spans of an invitation and of an activation.
const (
	inviteSpans = `
consumer process shop.payment_provider_selected
internal invite claimed done
  internal claim
  internal begin attempt
  client POST /v3/notification/api/invite 200
  internal save transition sending done
producer send shop.invoicebox_invited
`
	activateSpans = `
consumer process shop.activation_code_entered
internal activate claimed done
  internal claim
  internal begin attempt
  client POST /v3/billing/api/merchant/merchant-integration-setting/activation 200
  internal save response
  internal store credentials
  client GET /v3/security/api/auth/auth 200
  internal save transition received done
producer send shop.invoicebox_activated
`
)

// An invitation and an activation have a trace each: the one that the platform began. The
// published events have the traceparent of the event that caused them.
func TestTraces(t *testing.T) {
	r := newRig(t, kafkatest.Embedded(t), calm())
	c := newCollector(t)
	w := r.start("--otlp-endpoint", c.URL)
	const (
		inviteTrace, inviteParent     = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
		activateTrace, activateParent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
		unsampled                     = "5b8aa5a2d2c872e8321cf37308d69df2"
	)
	r.traced(schemas.TypeProviderSelected, "s1", "shop-1", `{"shopId":"shop-1","provider":"invoicebox","email":"owner@shops.example"}`, "00-"+inviteTrace+"-"+inviteParent+"-01")
	r.results(schemas.TypeInvited, 1)
	r.traced(schemas.TypeCodeEntered, "c1", "shop-1", `{"shopId":"shop-1","activationCode":"143232423434"}`, "00-"+activateTrace+"-"+activateParent+"-01")
	event := r.results(schemas.TypeActivated, 1)[0]
	if want := "00-" + activateTrace + "-" + activateParent + "-01"; event.TraceParent != want {
		t.Errorf("the published event has traceparent %q, not %q", event.TraceParent, want)
	}
	r.traced(schemas.TypeCodeEntered, "c2", "shop-2", `{"shopId":"shop-2","activationCode":"243232423434"}`, "00-"+unsampled+"-"+activateParent+"-00")
	r.results(schemas.TypeActivated, 2)
	// The histograms have the traces as exemplars, in the format that has exemplars.
	openMetrics := w.openMetrics()
	for _, name := range []string{"ingest_duration_seconds", "call_duration_seconds", "publish_duration_seconds"} {
		found := regexp.MustCompile(`(?m)^invoicebox_worker_`+name+`_bucket.* # .*trace_id="([0-9a-f]{32})"`).FindAllStringSubmatch(openMetrics, -1)
		if len(found) == 0 || slices.ContainsFunc(found, func(m []string) bool { return m[1] != inviteTrace && m[1] != activateTrace }) {
			t.Errorf("exemplars of %s: %q", name, found)
		}
	}
	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
	spans := c.received()
	r.compareTree(spans, inviteTrace, inviteParent, inviteSpans)
	for _, s := range spans {
		linked := ""
		for _, l := range s.GetLinks() {
			linked += hex.EncodeToString(l.GetTraceId())
		}
		if want := map[bool]string{true: inviteTrace}[s.GetName() == "activate"]; linked != want {
			t.Errorf("%s: linked to %q, not %q", s.GetName(), linked, want)
		}
	}
	r.compareTree(spans, activateTrace, activateParent, activateSpans)
	if n := len(r.ofTrace(spans, unsampled)); n > 0 {
		t.Errorf("%d spans of a trace that is not sampled", n)
	}
	if n := len(strings.Split(inviteSpans+activateSpans, "\n")) - 3; len(spans) != n {
		t.Errorf("%d spans, not %d", len(spans), n)
	}
}

// A dead letter has the traceparent of its record, and so does what its replay leads to.
func TestTracesOfDeadLetters(t *testing.T) {
	t.Parallel()
	r := newRig(t, kafkatest.Embedded(t), twoAccounts())
	c := newCollector(t)
	w := r.start("--otlp-endpoint", c.URL)
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	r.traced(schemas.TypeProviderSelected, "s1", "shop-1", `{"shopId":"shop-1","provider":"invoicebox","email":"owner@shops.example","partnerAccount":"second"}`, parent)
	r.traced(schemas.TypeProviderSelected, "s2", "shop-2", `{"shopId":"shop-2","provider":"invoicebox"}`, "")
	letters := r.results(schemas.TypeDeadLetter, 2)
	if got := []string{letters[0].TraceParent, letters[1].TraceParent}; !slices.Contains(got, parent) || !slices.Contains(got, "") {
		t.Errorf("the dead letters have the traceparents %q", got)
	}
	w.end()
	r.configureBoth()
	w = r.start("--otlp-endpoint", c.URL)
	r.replay("--reason", "unknown_account")
	r.replayed()
	if got := r.results(schemas.TypeInvited, 1)[0].TraceParent; got != parent {
		t.Errorf("the invitation of the replayed event has the traceparent %q", got)
	}
	w.end()
	r.compareTree(c.received(), trace, parent[36:52], strings.Replace(inviteSpans, "producer", "producer send shop.invoicebox_dead_letter\nproducer", 1))
	for _, s := range c.received() {
		if strings.Contains(s.GetName(), "dead_letter") && hex.EncodeToString(s.GetTraceId()) != trace {
			t.Errorf("the dead letter without traceparent has the span %v", s)
		}
	}
}

// A repeated event is in the trace of the first one. Its span has an id of its own, also
// where the event's content decides the ids.
func TestTracesOfARepeat(t *testing.T) {
	t.Parallel()
	r := newRig(t, kafkatest.Embedded(t), calm())
	c := newCollector(t)
	w := r.start("--otlp-endpoint", c.URL)
	const data = `{"shopId":"shop-1","provider":"invoicebox","email":"owner@shops.example"}`
	const reused = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for range 3 {
		r.traced(schemas.TypeProviderSelected, "s1", "shop-1", data, "")
	}
	r.traced(schemas.TypeProviderSelected, "s1", "shop-1", strings.Replace(data, "owner", "other", 1), reused)
	r.results(schemas.TypeInvited, 1)
	if e := r.results(schemas.TypeDeadLetter, 1)[0]; e.TraceParent != reused {
		t.Errorf("the dead letter of the event that reuses the id has the traceparent %q", e.TraceParent)
	}
	w.end()
	var first *tracepb.Span
	repeats, ids := 0, map[string]bool{}
	for _, s := range c.received() {
		if id := string(s.GetSpanId()); ids[id] {
			t.Errorf("%s: another span has its id", s.GetName())
		} else {
			ids[id] = true
		}
		if s.GetKind() == tracepb.Span_SPAN_KIND_CONSUMER && len(s.GetParentSpanId()) == 0 {
			first = s
		}
	}
	if first == nil {
		t.Fatal("no span is the root")
	}
	for _, s := range c.received() {
		if attr(s, "invoicebox.repeated") != "" {
			repeats++
			if attr(s, "messaging.kafka.offset") == "3" { // the event that reuses the id
				if parent := hex.EncodeToString(s.GetParentSpanId()); parent != reused[36:52] {
					t.Errorf("the event that reuses the id is below %s", parent)
				}
			} else if !bytes.Equal(s.GetTraceId(), first.GetTraceId()) || !bytes.Equal(s.GetParentSpanId(), first.GetSpanId()) {
				t.Errorf("a repeat is not below the first span: %v", s)
			}
		}
	}
	if repeats != 3 {
		t.Errorf("%d spans of repeats, not 3", repeats)
	}
}

// Without a traceparent the trace begins with the consumer's span.
func TestTracesWithoutTraceParent(t *testing.T) {
	r := newRig(t, kafkatest.Embedded(t), calm())
	c := newCollector(t)
	w := r.start("--otlp-endpoint", c.URL)
	r.entered("shop-1", "143232423434")
	if event := r.results(schemas.TypeActivated, 1)[0]; event.TraceParent != "" {
		t.Errorf("the published event has traceparent %q", event.TraceParent)
	}
	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
	spans := c.received()
	if len(spans) == 0 {
		t.Fatal("no spans")
	}
	first, rest, _ := strings.Cut(strings.TrimPrefix(activateSpans, "\n"), "\n")
	r.compareTree(spans, hex.EncodeToString(spans[0].GetTraceId()), "", "\n"+first+"\n"+regexp.MustCompile("(?m)^(.)").ReplaceAllString(rest, "  $1"))
}

func (r *rig) compareTree(spans []*tracepb.Span, id, parent, want string) {
	r.t.Helper()
	if got := "\n" + strings.Join(tree(r.ofTrace(spans, id), parent), "\n") + "\n"; got != want {
		r.t.Errorf("trace %s below %q:%swant:%s", id, parent, got, want)
	}
}

// openMetrics scrapes as Prometheus does.
func (w *running) openMetrics() string {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+w.addr+"/metrics", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/openmetrics-text") {
		w.t.Fatalf("%v, %s", err, resp.Header.Get("Content-Type"))
	}
	return string(text)
}

// The headers for the collector reach the collector, and nothing else.
func TestTracesHeaders(t *testing.T) {
	const mark = "mArk:collector/t0ken+abc="
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20"+url.PathEscape(mark))
	r := newRig(t, kafkatest.Embedded(t), calm())
	c := newCollector(t)
	settings := append(r.service(), "--otlp-endpoint", c.URL)
	said := map[string][]byte{"check": []byte(r.must(append([]string{"check"}, settings...)...))}
	if want := "accepts spans"; !strings.Contains(string(said["check"]), want) {
		t.Errorf("check says nothing of %q:\n%s", want, said["check"])
	}
	w := r.start("--otlp-endpoint", c.URL)
	r.entered("shop-1", "143232423434")
	r.results(schemas.TypeActivated, 1)
	for name, doc := range r.bundle("bundle.tar.gz", w.addr, "--otlp-endpoint", c.URL) {
		said["bundle, "+name] = doc
	}
	said["metrics"] = []byte(w.openMetrics())
	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
	said["log"], said["spans"] = []byte(w.log.String()), c.raw.Bytes()
	if len(c.headers) < 2 || len(said["spans"]) == 0 || len(said["bundle, configuration.json"])+len(said["bundle, settings.json"]) == 0 {
		t.Errorf("%d requests, %d bytes; the bundle has %v", len(c.headers), len(said["spans"]), slices.Collect(maps.Keys(said)))
	}
	for _, h := range c.headers {
		if got := h.Get("Authorization"); got != "Bearer "+mark {
			t.Errorf("the collector got %q", got)
		}
	}
	// A collector that refuses repeats what it got.
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, r.Header.Get("Authorization"))
	}))
	defer echo.Close()
	said["check of a collector that refuses"] = []byte(r.must(append([]string{"check"}, append(r.service(), "--otlp-endpoint", echo.URL)...)...))
	if want := "HTTP status 403"; !strings.Contains(string(said["check of a collector that refuses"]), want) {
		t.Errorf("check says nothing of %q:\n%s", want, said["check of a collector that refuses"])
	}
	search(t, said, []string{mark})
	// A malformed variable is refused before the SDK prints it.
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", mark)
	code, out, errs := r.command(append([]string{"run"}, settings...)...)
	if code != exitFailed || !strings.Contains(errs, "OTEL_EXPORTER_OTLP_HEADERS") {
		t.Errorf("exit status %d: %s", code, errs)
	}
	search(t, map[string][]byte{"stdout": []byte(out), "stderr": []byte(errs)}, []string{mark[:10]})
}

// A collector that is down, or does not answer, delays no work, loses none, and does not
// hold up the end of the worker. The spans that it does not get are counted.
func TestTracesWithoutCollector(t *testing.T) {
	release := make(chan struct{})
	hung := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer hung.Close()
	defer close(release)
	for name, endpoint := range map[string]string{"down": "http://127.0.0.1:1", "hung": hung.URL} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, kafkatest.Embedded(t), calm())
			w := r.start("--otlp-endpoint", endpoint)
			const shops = 20
			for i := range shops {
				r.entered(fmt.Sprint("shop-", i), fmt.Sprint(143232423434+i))
			}
			r.results(schemas.TypeActivated, shops)
			if name == "down" {
				await(t, "the dropped spans are counted", func() bool {
					_, metrics := w.get("/metrics")
					return count(metrics, "invoicebox_worker_spans_dropped_total", `reason="export_failed"`) > 0
				})
			}
			began := time.Now()
			if code := w.end(); code != exitDone {
				t.Errorf("exit status %d", code)
			}
			if took := time.Since(began); took > 20*time.Second { // below the drain time
				t.Errorf("the worker ended after %v", took)
			}
			if n := strings.Count(w.log.String(), "spans cannot be exported"); n != map[string]int{"down": 1}[name] {
				t.Errorf("%d log lines about spans", n)
			}
		})
	}
}
