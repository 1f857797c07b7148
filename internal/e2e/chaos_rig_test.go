package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/testutil/freeport"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/pgtest"
	"invoicebox-worker/internal/testutil/workertest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// A chaosRig is three brokers, a sandbox that is a process of its own, and the
// lives of one worker, or of several at a time.
type chaosRig struct {
	*rig   // its sandbox is never served: it knows what the other one issues
	s      chaosSettings
	layout layout
	admin  string // URL
	url    string // of the API

	mu    sync.Mutex
	lives []*life
	downs []span // of the database
}

// A span is a time in which something did not run.
type span struct{ from, to time.Time }

func (s span) meets(from, to time.Time) bool { return from.Before(s.to) && s.from.Before(to) }

// A life is a worker's process from its start to its end.
type life struct {
	from, to time.Time
	frozen   []span
	how      string
	cmd      *exec.Cmd
	addr     string
	log      string
	done     chan struct{}
}

func newChaosRig(t *testing.T, s chaosSettings) *chaosRig {
	t.Helper()
	topics := map[string]string{}
	var configs []kafkago.TopicConfig
	for _, name := range append(schemas.InputTypes(), schemas.OutputTypes()...) {
		topics[name] = name
		configs = append(configs, kafkago.TopicConfig{Topic: name, NumPartitions: 4})
	}
	c := kafkatest.Real(t, kafkatest.WithBrokers(3), kafkatest.WithTopics(configs...),
		kafkatest.WithProperty("broker.session.timeout.ms", "6000"), kafkatest.WithProperty("controller.quorum.fetch.timeout.ms", "4000"))
	options := sandbox.Options{Profile: sandbox.Hostile, Seed: s.seed}
	for i := range s.accounts {
		options.Accounts = append(options.Accounts, sandbox.Account{PartnerID: partnerOf(i), Token: tokenOf(i)})
	}
	twin, err := sandbox.New(options)
	if err != nil {
		t.Fatal(err)
	}
	r := &chaosRig{s: s, rig: &rig{t: t, cluster: c, sandbox: twin, dir: t.TempDir(), topics: topics, group: "chaos"}}
	r.must("keys", "create", "--keyset-file", r.path("keyset.json"))
	r.layout = alone()
	if s.postgres {
		r.layout = layout{s.replicas, pgtest.Start(t)}
	}
	r.layout.place(r.rig)
	r.startSandbox()
	r.configure()
	return r
}

func accountOf(i int) string { return fmt.Sprintf("account%d", i) }
func partnerOf(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", i) }
func tokenOf(i int) string   { return fmt.Sprintf("token-of-partner-%d", i) }

// startSandbox builds and starts the simulator as a program.
func (r *chaosRig) startSandbox() {
	r.t.Helper()
	program, err := workertest.Build(r.t.Context(), r.dir, "cmd/invoicebox-sandbox")
	if err != nil {
		r.t.Fatal(err)
	}
	api, admin := freeport.Address(r.t), freeport.Address(r.t)
	args := []string{
		"--listen", api, "--admin-listen", admin, "--profile", "hostile", "--seed", fmt.Sprint(r.s.seed), "--latency", r.s.latency.String(),
		"--requests-per-window", fmt.Sprint(r.s.limit), "--egress-requests-per-window", fmt.Sprint(r.s.egress), "--window", r.s.window.String(),
		"--count-at", r.s.countAt, "--log-level", "error",
	}
	for i := range r.s.accounts {
		args = append(args, "--account", partnerOf(i)+":"+tokenOf(i))
	}
	cmd := exec.Command(program, args...) // #nosec G204 -- the program under test
	log := &logBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	r.admin = "http://" + admin
	r.url = "http://" + api
	await(r.t, 20*time.Second, "the sandbox listens", func() bool {
		_, _, err := r.call(http.MethodGet, "/windows", "")
		return err == nil
	})
}

// call speaks with the sandbox's admin listener.
func (r *chaosRig) call(method, path, body string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, r.admin+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// ask reads one of the sandbox's admin endpoints.
func (r *chaosRig) ask(path string, into any) {
	r.t.Helper()
	_, body, err := r.call(http.MethodGet, path, "")
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		r.t.Fatalf("GET %s: %v", path, err)
	}
}

// tell posts to one of the sandbox's admin endpoints.
func (r *chaosRig) tell(path, body string) {
	r.t.Helper()
	status, answer, err := r.call(http.MethodPost, path, body)
	if err != nil || status/100 != 2 {
		r.t.Fatalf("POST %s: %d %s %v", path, status, answer, err)
	}
}

// plant makes newer codes lead to the merchant that the shop has already, here
// and in the sandbox's twin.
func (r *chaosRig) plant(twins map[string]string) {
	r.t.Helper()
	for code, first := range twins {
		merchant := r.sandbox.MerchantOf(first)
		if err := r.sandbox.AddCode(sandbox.Code{Code: code, MerchantID: merchant}); err != nil {
			r.t.Fatal(err)
		}
		r.tell("/codes", fmt.Sprintf(`{"code":%q,"merchantId":%q}`, code, merchant))
	}
}

// calm has every request answered as documented from now on.
func (r *chaosRig) calm() { r.tell("/answers", `{"times":-1}`) }

// configure writes the worker's settings.
func (r *chaosRig) configure() {
	var b strings.Builder
	fmt.Fprintf(&b, "kafka-brokers: [%s]\nkafka-group: %s\n", strings.Join(r.cluster.Brokers(), ", "), r.group)
	fmt.Fprintf(&b, "journal-url: %s\nkeyset-file: %s\ninvoicebox-url: %s\n", r.journal, r.path("keyset.json"), r.url)
	fmt.Fprintf(&b, "start: earliest\nlog-format: json\negress-requests-per-window: %d\nwindow: %v\nrequests-per-window: %d\n", r.s.egress, r.s.window, r.s.limit)
	fmt.Fprintf(&b, "request-deadline: %v\nlease: %v\nslack: %v\nquiet-period: %v\n", r.s.deadline, r.s.lease, r.s.slack, r.s.quiet)
	b.WriteString("topic:\n")
	for name, topic := range r.topics {
		fmt.Fprintf(&b, "  %s: %s\n", name, topic)
	}
	b.WriteString("accounts:\n")
	for i := range r.s.accounts {
		r.write(fmt.Sprint("token-", i), tokenOf(i)+"\n")
		fmt.Fprintf(&b, "  - {name: %s, partner-id: %s, token-file: %s}\n", accountOf(i), partnerOf(i), r.path(fmt.Sprint("token-", i)))
	}
	r.write("worker.yaml", b.String())
}

// live starts a worker. Its output goes to a file, as nobody could read it all.
func (r *chaosRig) live() *life {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	l := &life{from: time.Now(), addr: freeport.Address(r.t), log: r.path(fmt.Sprintf("worker-%04d.log", len(r.lives))), done: make(chan struct{})}
	log, err := os.Create(l.log)
	if err != nil {
		r.t.Fatal(err)
	}
	l.cmd = exec.Command(binary, "run", "--config", r.path("worker.yaml"), "--listen", l.addr) // #nosec G204 -- the program under test
	l.cmd.Stdout, l.cmd.Stderr = log, log
	if err := l.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() {
		_ = l.cmd.Wait()
		_ = log.Close()
		close(l.done)
	}()
	r.t.Cleanup(l.kill)
	r.lives = append(r.lives, l)
	return l
}

func (l *life) kill() {
	l.over()
	_ = l.cmd.Process.Kill()
	<-l.done
}

// over notes that the end begins: before the signal, for whoever sends one can be
// held up after it.
func (l *life) over() {
	if l.to.IsZero() {
		l.to = time.Now()
	}
}

func (l *life) ended() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// lasts waits so long, and tells whether the worker still lives.
func (l *life) lasts(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.done:
		return false
	}
}

// ends notes how a life ended and looks at what it said.
func (r *chaosRig) ends(l *life, how string) {
	r.t.Helper()
	l.how = how
	text, err := os.ReadFile(l.log)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, secret := range []string{"@shops.example", "key1-s", "key2-s", "token-of-partner"} {
		if i := bytes.Index(text, []byte(secret)); i >= 0 {
			r.t.Errorf("%s holds a secret: %.200q", filepath.Base(l.log), text[max(0, i-100):])
		}
	}
	if bytes.Contains(text, []byte("panic:")) {
		r.t.Errorf("the worker panicked:\n%s", text[max(0, bytes.Index(text, []byte("panic:"))-200):])
	}
	if !r.t.Failed() {
		_ = os.Remove(l.log)
	}
}

// said is the end of a worker's log.
func (l *life) said() string {
	text, _ := os.ReadFile(l.log)
	return string(text[max(0, len(text)-4<<10):])
}

// A counter counts what was done to whom.
type counter struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counter) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[what]++
}
