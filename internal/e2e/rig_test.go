package e2e

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/testutil/cleanenv"
	"invoicebox-worker/internal/testutil/freeport"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/scenario"
	"invoicebox-worker/internal/testutil/workertest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// binary is the worker, built once for all tests.
var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

// beside is how many tests may run beside each other: those that say so spend
// most of their time waiting, whatever number of processors there is.
const beside = 10

func buildAndRun(m *testing.M) int {
	cleanenv.Use()
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", strconv.Itoa(beside)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if binary, err = workertest.Build(context.Background(), dir, "cmd/invoicebox-worker"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// A rig is everything that a worker talks to, and its folder.
type rig struct {
	t       *testing.T
	cluster *kafkatest.Cluster
	sandbox *sandbox.Sandbox
	api     *httptest.Server
	dir     string
	topics  map[string]string // contract name → topic
	group   string
	journal string            // URL
	extra   []string          // flags for every worker
	codes   map[string]string // of shops whose code is not codeOf
	// store is where secrets are; nil: sealed in the journal.
	store func(keys *keyset.Set) credentials.Store
}

// newRig makes topics of its own on the cluster, a sandbox and a keyset.
func newRig(t *testing.T, c *kafkatest.Cluster, o sandbox.Options, extra ...string) *rig {
	t.Helper()
	box, err := sandbox.New(o)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, cluster: c, sandbox: box, dir: t.TempDir(), topics: map[string]string{}, extra: extra}
	r.journal = "sqlite:" + r.path("journal.db")
	r.api = httptest.NewServer(box.API())
	t.Cleanup(r.api.Close)
	for _, name := range append(schemas.InputTypes(), schemas.OutputTypes()...) {
		r.topics[name] = c.NewTopic(t, name, 6)
	}
	r.group = "group-" + r.topics[schemas.TypeActivated]
	r.write("token", sandbox.DefaultToken+"\n")
	r.must("keys", "create", "--keyset-file", r.path("keyset.json"))
	return r
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

func (r *rig) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(r.path(name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// must runs a command to its end and returns what it printed.
func (r *rig) must(args ...string) string {
	r.t.Helper()
	out, err := exec.Command(binary, args...).CombinedOutput() // #nosec G204 -- the program under test
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// settings are the flags that commands and service share.
func (r *rig) settings() []string {
	return []string{
		"--journal-url", r.journal,
		"--keyset-file", r.path("keyset.json"),
	}
}

// A worker is a running process.
type worker struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  *logBuffer
	addr string
	done chan struct{} // closed when the process has ended
	err  error
}

// start starts a worker and waits until it is ready.
func (r *rig) start(flags ...string) *worker {
	r.t.Helper()
	w := r.launch(flags...)
	w.awaitReady()
	return w
}

// launch starts a worker and does not wait.
func (r *rig) launch(flags ...string) *worker {
	r.t.Helper()
	args := append([]string{"run"}, r.settings()...)
	args = append(args, "--partner-id", sandbox.DefaultPartnerID, "--token-file", r.path("token"))
	return r.run(append(append(args, r.extra...), flags...))
}

// run adds to the arguments what every worker needs, and starts it.
func (r *rig) run(args []string) *worker {
	r.t.Helper()
	return r.runAs(args, func(args []string) *exec.Cmd { return exec.Command(binary, args...) }) // #nosec G204 -- the program under test
}

// runAs is run with a program of the caller's that gets the arguments.
func (r *rig) runAs(args []string, program func(args []string) *exec.Cmd) *worker {
	r.t.Helper()
	args = append(args,
		"--kafka-brokers", strings.Join(r.cluster.Brokers(), ","),
		"--kafka-group", r.group,
		"--invoicebox-url", r.api.URL,
		"--log-format", "json",
	)
	if !slices.Contains(args, "--start") {
		args = append(args, "--start", "earliest")
	}
	for name, topic := range r.topics {
		args = append(args, "--topic", name+"="+topic)
	}
	w := &worker{t: r.t, log: &logBuffer{}, addr: freeport.Address(r.t), done: make(chan struct{})}
	args = append(args, "--listen", w.addr)
	w.cmd = program(args)
	w.cmd.Stdout, w.cmd.Stderr = w.log, w.log
	if err := w.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() {
		w.err = w.cmd.Wait()
		close(w.done)
	}()
	r.t.Cleanup(func() {
		w.kill()
		if r.t.Failed() {
			r.t.Logf("the worker's last words:\n%s", w.log.tail(8<<10))
		}
	})
	return w
}

// awaitReady polls /readyz.
func (w *worker) awaitReady() {
	w.t.Helper()
	await(w.t, 60*time.Second, "the worker is ready", func() bool {
		select {
		case <-w.done:
			w.t.Fatalf("the worker ended before it was ready: %v\n%s", w.err, w.log.tail(8<<10))
		default:
		}
		status, _ := w.get("/readyz")
		return status == http.StatusOK
	})
}

func (w *worker) get(path string) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.addr+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

// kill is kill -9; it returns when the process is gone.
func (w *worker) kill() {
	_ = w.cmd.Process.Kill()
	<-w.done
}

// terminate sends SIGTERM and returns the exit status and how long it took.
func (w *worker) terminate(patience time.Duration) (int, time.Duration) {
	w.t.Helper()
	began := time.Now()
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		w.t.Fatal(err)
	}
	select {
	case <-w.done:
	case <-time.After(patience):
		w.t.Fatalf("the worker did not end within %v of SIGTERM\n%s", patience, w.log.tail(8<<10))
	}
	var exit *exec.ExitError
	if w.err != nil && !errors.As(w.err, &exit) {
		w.t.Fatal(w.err)
	}
	return w.cmd.ProcessState.ExitCode(), time.Since(began)
}

// selected and entered are the platform's events, with ids that depend on the
// shop only, so that sending them again is sending the same events.
func (r *rig) selected(shops ...string) {
	r.t.Helper()
	r.send(schemas.TypeProviderSelected, shops, func(shop string) string {
		return fmt.Sprintf(`{"shopId":%q,"provider":"invoicebox","email":%q}`, shop, addressOf(shop))
	})
}

func (r *rig) entered(shops ...string) {
	r.t.Helper()
	r.send(schemas.TypeCodeEntered, shops, func(shop string) string {
		return fmt.Sprintf(`{"shopId":%q,"activationCode":%q}`, shop, codeOf(shop))
	})
}

func (r *rig) send(typ string, shops []string, data func(shop string) string) {
	r.t.Helper()
	messages := make([]kafkago.Message, 0, len(shops))
	for _, shop := range shops {
		messages = append(messages, event(typ, shop, data(shop)))
	}
	r.cluster.Produce(r.t, r.topics[typ], messages)
}

func event(typ, shop, data string) kafkago.Message {
	return scenario.Event(typ, typ+"/"+shop, shop, data)
}

func addressOf(shop string) string { return "owner-" + shop + "@shops.example" }
func codeOf(shop string) string    { return "code-" + shop }

func shopNames(prefix string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%04d", prefix, i)
	}
	return names
}

// results reads a result topic whole, decoded strictly.
func (r *rig) results(typ string) []schemas.Event {
	r.t.Helper()
	var events []schemas.Event
	for _, m := range r.cluster.ReadAll(r.t, r.topics[typ]) {
		e, err := schemas.DecodeOutput(scenario.FromKafka(m), schemas.Strict)
		if err != nil {
			r.t.Fatalf("%s partition %d offset %d: %v", m.Topic, m.Partition, m.Offset, err)
		}
		events = append(events, e)
	}
	return events
}

// awaitResults waits until a topic holds at least n records.
func (r *rig) awaitResults(typ string, n int, patience time.Duration) {
	r.t.Helper()
	await(r.t, patience, fmt.Sprintf("%d records in %s", n, typ), func() bool { return r.count(typ) >= n })
}

func (r *rig) count(typ string) int {
	r.t.Helper()
	total := 0
	for _, p := range r.cluster.Offsets(r.t, r.topics[typ]) {
		total += int(p.Next - p.First)
	}
	return total
}

// await polls, because what it waits for happens in another process.
// What more there is to say when it does not come is told too.
func await(t *testing.T, patience time.Duration, what string, done func() bool, more ...func() string) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			for _, say := range more {
				t.Log(say())
			}
			t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

// A logBuffer keeps all that a process printed.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}

func (l *logBuffer) tail(n int) string {
	all := l.bytes()
	return string(all[max(0, len(all)-n):])
}
