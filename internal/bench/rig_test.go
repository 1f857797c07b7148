package bench

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/testutil/cleanenv"
	"invoicebox-worker/internal/testutil/freeport"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/workertest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

var binary = flag.String("worker", "", "program to measure, to compare versions in turns; else one is built from this tree")

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	cleanenv.Use()
	flag.Parse()
	if *binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if *binary, err = workertest.Build(context.Background(), dir, "cmd/invoicebox-worker"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// A rig is a broker with topics of its own, an API without limits, a folder with
// a journal on SQLite unless another is named, and the workers that were started.
type rig struct {
	b         *testing.B
	cluster   *kafkatest.Cluster
	topics    map[string]string // by the contract's names
	api       *api
	dir       string
	journal   string // URL
	processes []*process
	client    *kafkago.Client // for the offsets of what is published
}

const partitions = 6

// newRig uses Apache Kafka where INVOICEBOX_TEST_KAFKA names its jars: one broker
// for all benchmarks of the run, so that only the first finds it cold.
func newRig(b *testing.B, latency time.Duration) *rig {
	b.Helper()
	r := &rig{b: b, api: newAPI(b, latency), dir: b.TempDir(), topics: map[string]string{}}
	r.journal = "sqlite:" + r.path("journal.db")
	if os.Getenv("INVOICEBOX_TEST_KAFKA") != "" {
		r.cluster = kafkatest.Shared(b)
	} else {
		r.cluster = kafkatest.Embedded(b)
	}
	for _, name := range slices.Concat(schemas.InputTypes(), schemas.OutputTypes()) {
		r.topics[name] = r.cluster.NewTopic(b, name, partitions)
	}
	transport := &kafkago.Transport{}
	b.Cleanup(transport.CloseIdleConnections)
	r.client = &kafkago.Client{Addr: kafkago.TCP(r.cluster.Brokers()...), Timeout: 30 * time.Second, Transport: transport}
	if err := os.WriteFile(r.path("token"), []byte(sandbox.DefaultToken), 0o600); err != nil {
		b.Fatal(err)
	}
	if out, err := exec.Command(*binary, "keys", "create", "--keyset-file", r.path("keyset.json")).CombinedOutput(); err != nil {
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
	p := &process{addr: freeport.Address(r.b), log: r.path(fmt.Sprintf("worker-%d.log", len(r.processes)+1))}
	args := append([]string{
		"run", "--journal-url", r.journal, "--keyset-file", r.path("keyset.json"),
		"--kafka-brokers", strings.Join(r.cluster.Brokers(), ","), "--kafka-group", r.topics[schemas.TypeActivated], "--invoicebox-url", r.api.url,
		"--partner-id", sandbox.DefaultPartnerID, "--token-file", r.path("token"), "--start", "earliest",
		"--requests-per-window", "1000000", "--egress-requests-per-window", "1000000", "--listen", p.addr, "--log-level", "warn", "--pprof",
	}, flags...)
	for name, topic := range r.topics {
		args = append(args, "--topic", name+"="+topic)
	}
	p.cmd = exec.Command(*binary, args...)
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

// metric is the sum of a metric of all workers now.
func (r *rig) metric(name string) (sum float64) {
	for _, p := range r.processes {
		sum += p.metric(name, "")
	}
	return sum
}

// cpu is the CPU time of all workers so far.
func (r *rig) cpu() time.Duration {
	return time.Duration(r.metric("process_cpu_seconds_total") * float64(time.Second))
}

// called is how many calls all workers have made, and how long those took together.
func (r *rig) called() (calls float64, took time.Duration) {
	const name = "invoicebox_worker_call_duration_seconds"
	return r.metric(name + "_count"), time.Duration(r.metric(name+"_sum") * float64(time.Second))
}

// resident is the memory of all workers now.
func (r *rig) resident() float64 { return r.metric("process_resident_memory_bytes") }

// end ends all workers.
func (r *rig) end() {
	r.b.Helper()
	for _, p := range r.processes {
		_ = p.cmd.Process.Signal(os.Interrupt)
	}
	for _, p := range r.processes {
		if err := p.cmd.Wait(); err != nil {
			r.b.Fatalf("the worker: %v\n%s", err, r.said())
		}
	}
}

// said is the end of what each worker has logged.
func (r *rig) said() string {
	var all strings.Builder
	for _, p := range r.processes {
		text, _ := os.ReadFile(p.log)
		all.Write(text[max(0, len(text)-2000):])
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
		if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == ' ' || rest[0] == '{') && strings.Contains(rest, label) {
			if v, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' ')+1:]), 64); err == nil {
				sum += v
			}
		}
	}
	return sum
}

// produce writes n records of a type.
func (r *rig) produce(typ string, n int, record func(i int) (id, shop, data string)) {
	r.b.Helper()
	messages := make([]kafkago.Message, n)
	for i := range messages {
		id, shop, data := record(i)
		messages[i] = kafkago.Message{Key: []byte(shop), Value: []byte(data), Headers: []kafkago.Header{
			{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_id", Value: []byte(id)},
			{Key: "ce_source", Value: []byte("/platform")}, {Key: "ce_type", Value: []byte(typ)},
		}}
	}
	r.cluster.Produce(r.b, r.topics[typ], messages)
}

// count is how many records of a type there are.
func (r *rig) count(typ string) int {
	r.b.Helper()
	request := &kafkago.ListOffsetsRequest{Topics: map[string][]kafkago.OffsetRequest{}}
	topic := r.topics[typ]
	for p := range partitions {
		request.Topics[topic] = append(request.Topics[topic], kafkago.LastOffsetOf(p))
	}
	response, err := r.client.ListOffsets(context.Background(), request)
	if err != nil {
		r.b.Fatal(err)
	}
	total := 0
	for _, p := range response.Topics[topic] {
		if p.Error != nil {
			r.b.Fatal(p.Error)
		}
		total += int(p.LastOffset)
	}
	return total
}

func (r *rig) wait(done func() bool) {
	r.b.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
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
