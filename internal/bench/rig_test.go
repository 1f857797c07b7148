package bench

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/cleanenv"
	"invoicebox-worker/internal/kafkatest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	cleanenv.Use()
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "invoicebox-worker")
	build := exec.Command("go", "build", "-o", binary, "./cmd/invoicebox-worker")
	build.Dir = "../.." // the service's own module
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the worker: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// A rig is a broker, a sandbox without limits, a folder with a journal on SQLite
// unless another is named, and the workers that were started.
type rig struct {
	b         *testing.B
	cluster   *kafkatest.Cluster
	sandbox   *sandbox.Sandbox
	api       *httptest.Server
	dir       string
	journal   string // URL
	processes []*process
}

const partitions = 6

func newRig(b *testing.B, latency time.Duration) *rig {
	b.Helper()
	box, err := sandbox.New(sandbox.Options{Profile: sandbox.Calm, Latency: latency, RequestsPerWindow: -1, EgressPerWindow: -1})
	if err != nil {
		b.Fatal(err)
	}
	r := &rig{b: b, sandbox: box, api: httptest.NewServer(box.API()), dir: b.TempDir()}
	r.journal = "sqlite:" + r.path("journal.db")
	b.Cleanup(r.api.Close)
	var options []kafkatest.Option
	for _, name := range append(schemas.InputTypes(), schemas.OutputTypes()...) {
		options = append(options, kafkatest.WithTopic(name, partitions))
	}
	if os.Getenv("INVOICEBOX_TEST_KAFKA") != "" {
		r.cluster = kafkatest.Real(b, options...)
	} else {
		r.cluster = kafkatest.Embedded(b, options...)
	}
	if err := os.WriteFile(r.path("token"), []byte(sandbox.DefaultToken), 0o600); err != nil {
		b.Fatal(err)
	}
	if out, err := exec.Command(binary, "keys", "create", "--keyset-file", r.path("keyset.json")).CombinedOutput(); err != nil {
		b.Fatalf("keys create: %v\n%s", err, out)
	}
	return r
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

// A process is one worker.
type process struct {
	addr string
	cmd  *exec.Cmd
	log  string
}

func (p *process) metric(name, label string) float64 { return scrape(p.addr, name, label) }

// start starts the service once more.
func (r *rig) start(flags ...string) *process {
	r.b.Helper()
	p := &process{addr: freeAddress(r.b), log: r.path(fmt.Sprintf("worker-%d.log", len(r.processes)+1))}
	args := append([]string{
		"run", "--journal-url", r.journal, "--keyset-file", r.path("keyset.json"),
		"--kafka-brokers", strings.Join(r.cluster.Brokers(), ","), "--invoicebox-url", r.api.URL,
		"--partner-id", sandbox.DefaultPartnerID, "--token-file", r.path("token"), "--start", "earliest",
		"--requests-per-window", "1000000", "--egress-requests-per-window", "1000000", "--listen", p.addr, "--log-level", "warn",
	}, flags...)
	p.cmd = exec.Command(binary, args...)
	log, err := os.Create(p.log)
	if err != nil {
		r.b.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		r.b.Fatal(err)
	}
	r.processes = append(r.processes, p)
	r.b.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = log.Close() })
	return p
}

// end ends all of them and gives their CPU time and resident memory together.
func (r *rig) end() (cpu time.Duration, rss int64) {
	r.b.Helper()
	for _, p := range r.processes {
		rss += int64(p.metric("process_resident_memory_bytes", ""))
	}
	for _, p := range r.processes {
		_ = p.cmd.Process.Signal(os.Interrupt)
	}
	for _, p := range r.processes {
		if err := p.cmd.Wait(); err != nil {
			r.b.Fatalf("the worker: %v\n%s", err, r.said())
		}
		cpu += p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	}
	return cpu, rss
}

// said is what the workers have logged.
func (r *rig) said() string {
	var all strings.Builder
	for _, p := range r.processes {
		text, _ := os.ReadFile(p.log)
		all.Write(text)
	}
	return all.String()
}

func scrape(addr, name, label string) float64 {
	resp, err := http.Get("http://" + addr + "/metrics") //nolint:noctx // a benchmark
	if err != nil {
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body)
	var sum float64
	for line := range strings.Lines(string(body)) {
		if rest, ok := strings.CutPrefix(line, name); ok && strings.Contains(rest, label) {
			if v, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' ')+1:]), 64); err == nil {
				sum += v
			}
		}
	}
	return sum
}

// produce writes n records of a type, a shop each.
func (r *rig) produce(typ string, n int, data func(i int) string) {
	r.b.Helper()
	r.produceOf(typ, n, func(i int) (string, string) { return shopName(i), data(i) })
}

// produceOf writes n records of a type, each of a shop that has no other of it.
func (r *rig) produceOf(typ string, n int, record func(i int) (shop, data string)) {
	r.b.Helper()
	messages := make([]kafka.Message, n)
	for i := range messages {
		shop, data := record(i)
		messages[i] = kafka.Message{Key: []byte(shop), Value: []byte(data), Headers: []kafka.Header{
			{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_id", Value: []byte(shop)},
			{Key: "ce_source", Value: []byte("/platform")}, {Key: "ce_type", Value: []byte(typ)},
		}}
	}
	r.cluster.Produce(r.b, typ, messages)
}

func shopName(i int) string { return "shop-" + strconv.Itoa(i) }

func selectedData(i int) string {
	return fmt.Sprintf(`{"shopId":%q,"provider":"invoicebox","email":"owner-%d@shops.example"}`, shopName(i), i)
}

func enteredData(i int) string {
	return fmt.Sprintf(`{"shopId":%q,"activationCode":"code-%d"}`, shopName(i), i)
}

func (r *rig) count(typ string) int {
	total := 0
	for _, p := range r.cluster.Offsets(r.b, typ) {
		total += int(p.Next - p.First)
	}
	return total
}

// clock measures from the sandbox's first request until done.
func (r *rig) clock(done func() bool) time.Duration {
	r.b.Helper()
	r.wait(done)
	return time.Since(r.sandbox.Requests()[0].Time)
}

func (r *rig) wait(done func() bool) {
	r.b.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(5 * time.Minute)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			r.b.Fatalf("not done after 5 minutes; the workers say:\n%s", r.said())
		}
	}
}

func freeAddress(b *testing.B) string {
	b.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
