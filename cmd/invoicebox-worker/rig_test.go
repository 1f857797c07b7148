package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// A rig is a broker, a sandbox and a folder with keyset, token and journal.
type rig struct {
	t       *testing.T
	cluster *kafkatest.Cluster
	sandbox *sandbox.Sandbox
	api     *httptest.Server
	dir     string
	topics  map[string]string
	journal string // URL
	config  string // file with the accounts; "": one account
}

func newRig(t *testing.T, c *kafkatest.Cluster, o sandbox.Options) *rig {
	t.Helper()
	box, err := sandbox.New(o)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, cluster: c, sandbox: box, dir: t.TempDir(), topics: map[string]string{}}
	r.journal = "sqlite:" + r.path("journal.db")
	r.api = httptest.NewServer(box.API())
	t.Cleanup(r.api.Close)
	for _, name := range slices.Concat(schemas.InputTypes(), schemas.OutputTypes()) {
		r.topics[name] = c.NewTopic(t, name, 3)
	}
	r.write("token", box.Accounts()[0].Token+"\n")
	r.must("keys", "create", "--keyset-file", r.path("keyset.json"))
	return r
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

func (r *rig) write(name, text string) string {
	r.t.Helper()
	if err := os.WriteFile(r.path(name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return r.path(name)
}

// beside are the settings of commands beside the service.
func (r *rig) beside() []string {
	return []string{"--journal-url", r.journal, "--keyset-file", r.path("keyset.json")}
}

// service are the settings of run and check.
func (r *rig) service() []string {
	args := append(r.beside(),
		"--kafka-brokers", strings.Join(r.cluster.Brokers(), ","), "--kafka-group", "group-"+r.topics[schemas.TypeActivated],
		"--invoicebox-url", r.api.URL, "--start", "earliest", "--listen", "127.0.0.1:0", "--log-format", "json", "--log-level", "debug",
	)
	if r.config != "" {
		args = append(args, "--config", r.config)
	} else {
		args = append(args, "--partner-id", r.sandbox.Accounts()[0].PartnerID, "--token-file", r.path("token"))
	}
	for name, topic := range r.topics {
		args = append(args, "--topic", name+"="+topic)
	}
	return args
}

// command runs a command to its end.
func (r *rig) command(args ...string) (code int, stdout, stderr string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Minute)
	defer cancel()
	return execute(ctx, args...)
}

func execute(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs buffer
	code = run(ctx, args, environment{stdout: &out, stderr: &errs})
	return code, out.String(), errs.String()
}

func (r *rig) must(args ...string) string {
	r.t.Helper()
	code, out, errs := r.command(args...)
	if code != exitDone {
		r.t.Fatalf("%s: exit status %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// A running is a service inside this process.
type running struct {
	t    *testing.T
	stop context.CancelFunc
	log  *buffer
	code chan int
	addr string
}

var listenWord = regexp.MustCompile(`"msg":"started".*"listen":"([^"]+)"`)

// start runs the service and waits until it is ready.
func (r *rig) start(flags ...string) *running {
	r.t.Helper()
	return r.startWith(append(append([]string{"run"}, r.service()...), flags...))
}

// startWith is start with all arguments.
func (r *rig) startWith(args []string) *running {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &running{t: r.t, stop: cancel, log: &buffer{}, code: make(chan int, 1)}
	go func() {
		w.code <- run(ctx, args, environment{stdout: w.log, stderr: w.log})
	}()
	r.t.Cleanup(func() {
		cancel()
		if r.t.Failed() {
			text := w.log.String()
			r.t.Logf("the end of the log:\n%s", text[max(0, len(text)-6000):])
		}
	})
	await(r.t, "the worker is ready", func() bool {
		select {
		case code := <-w.code:
			r.t.Fatalf("the worker ended with %d before it was ready:\n%s", code, w.log)
		default:
		}
		if m := listenWord.FindStringSubmatch(w.log.String()); m != nil {
			w.addr = m[1]
			status, _ := w.get("/readyz")
			return status == http.StatusOK
		}
		return false
	})
	return w
}

// end cancels the service, as SIGTERM does, and returns its exit status.
func (w *running) end() int {
	w.t.Helper()
	w.stop()
	select {
	case code := <-w.code:
		return code
	case <-time.After(40 * time.Second):
		w.t.Fatal("the worker did not end")
		return -1
	}
}

func (w *running) get(path string) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.addr+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

// inputEvent is an event in CloudEvents' binary mode.
func inputEvent(typ, id, shop, data string) kafkago.Message {
	return kafkago.Message{Key: []byte(shop), Value: []byte(data), Headers: []kafkago.Header{
		{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_id", Value: []byte(id)}, {Key: "ce_source", Value: []byte("/platform")},
		{Key: "ce_type", Value: []byte(typ)}, {Key: "content-type", Value: []byte("application/json")},
	}}
}

// send produces an event.
func (r *rig) send(typ, id, shop, data string) {
	r.t.Helper()
	r.cluster.Produce(r.t, r.topics[typ], []kafkago.Message{inputEvent(typ, id, shop, data)})
}

func selectedEvent(shop, email string) kafkago.Message {
	return inputEvent(schemas.TypeProviderSelected, "selected-"+shop, shop, fmt.Sprintf(`{"shopId":%q,"provider":"invoicebox","email":%q}`, shop, email))
}

func (r *rig) selected(shop, email string) {
	r.t.Helper()
	r.cluster.Produce(r.t, r.topics[schemas.TypeProviderSelected], []kafkago.Message{selectedEvent(shop, email)})
}

func (r *rig) entered(shop, code string) {
	r.t.Helper()
	r.send(schemas.TypeCodeEntered, "entered-"+shop, shop, fmt.Sprintf(`{"shopId":%q,"activationCode":%q}`, shop, code))
}

// results reads n or more results of a type.
func (r *rig) results(typ string, n int) []schemas.Event {
	r.t.Helper()
	var events []schemas.Event
	for _, m := range r.cluster.Await(r.t, r.topics[typ], n) {
		in := schemas.Message{Topic: m.Topic, Partition: m.Partition, Offset: m.Offset, Time: m.Time, Key: m.Key, Value: m.Value}
		for _, h := range m.Headers {
			in.Headers = append(in.Headers, schemas.Header{Key: h.Key, Value: h.Value})
		}
		e, err := schemas.DecodeOutput(in, schemas.Strict)
		if err != nil {
			r.t.Fatalf("%s: %v", typ, err)
		}
		events = append(events, e)
	}
	return events
}

// await polls: what it waits for has no channel.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	awaitWithin(t, 45*time.Second, what, done)
}

func awaitWithin(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(limit)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("still not: %s", what)
		}
	}
}

// A buffer may be written and read at the same time.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
