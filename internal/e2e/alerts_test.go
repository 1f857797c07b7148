package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"gopkg.in/yaml.v3"

	"invoicebox-worker/internal/testutil/freeport"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/pgtest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// A real Prometheus reads a worker, a real Alertmanager notifies. While the worker is
// healthy nothing fires. Then each alert of deploy/ fires when its fault is there, and most
// end when it is gone.
//
// Times are shortened as shortened says, so that a fault lasts seconds.
func TestAlerts(t *testing.T) {
	if os.Getenv("INVOICEBOX_TEST_ALERTS") != "1" {
		t.Skip("INVOICEBOX_TEST_ALERTS is not 1")
	}
	server := pgtest.Start(t)
	c := kafkatest.Embedded(t)
	r := newRig(t, c, sandbox.Options{Profile: sandbox.Calm, RequestsPerWindow: -1, EgressPerWindow: -1},
		lifted("--verify-every", "1m", "--request-deadline", "1s", "--lease", "2s", "--slack", "1s", "--quiet-period", "2s", "--outbox-limit", "1000")...)
	r.journal = server.Database(t, "")
	w := r.start()
	m := newMonitoring(t, true, w)
	shops := 0
	next := func(prefix string) string {
		shops++
		return fmt.Sprintf("%s-%04d", prefix, shops)
	}
	garbage := func() {
		c.Produce(t, r.topics[schemas.TypeCodeEntered], []kafkago.Message{{Key: []byte("x"), Value: []byte("{")}})
	}
	restart := func(flags ...string) {
		if code, _ := w.terminate(40 * time.Second); code != 0 {
			t.Errorf("exit status %d after SIGTERM", code)
		}
		w = r.start(flags...)
		m.watch(w)
	}

	// Healthy, with work: two minutes are an hour in the shortened times.
	for range 120 {
		shop := next("healthy")
		r.selected(shop)
		r.entered(shop)
		pause(time.Second)
	}
	r.awaitResults(schemas.TypeActivated, 120, time.Minute)
	if fired := m.fired(); len(fired) > 0 {
		t.Fatalf("of a healthy worker fired: %v", fired)
	}

	garbage()
	m.await("InvoiceboxDeadLetters")

	shop := next("broken-json")
	r.send(schemas.TypeCodeEntered, []string{shop}, func(shop string) string { return fmt.Sprintf(`{"shopId":%q,"activationCode":"broken-json-1"}`, shop) })
	m.await("InvoiceboxAttention")

	// The topic of a result is deleted.
	deleteTopics(t, c, r.topics[schemas.TypeInvited])
	r.selected(next("blocked"))
	m.await("InvoiceboxTopicBlocked", "InvoiceboxResultsDelayed")
	if err := c.CreateTopics(t.Context(), kafkago.TopicConfig{Topic: r.topics[schemas.TypeInvited], NumPartitions: 6}); err != nil {
		t.Fatal(err)
	}
	m.awaitEnd("InvoiceboxTopicBlocked", "InvoiceboxResultsDelayed")

	// Somebody edits a result in the database, and lets it be published again.
	database := filepath.Base(strings.SplitN(r.journal, "?", 2)[0])
	const edited = "(SELECT min(id) FROM outbox WHERE type = '" + schemas.TypeActivated + "')"
	server.Exec(t, database, "UPDATE outbox SET value = value || ' '::bytea WHERE id = "+edited)
	server.Exec(t, database, "INSERT INTO outbox_pending (row, outbox, since) SELECT nextval('outbox_row'), id, created FROM outbox WHERE id = "+edited)
	m.await("InvoiceboxJournalEdited")
	server.Exec(t, database, "DELETE FROM outbox_pending")
	restart()
	m.awaitEnd("InvoiceboxJournalEdited")

	// The token is replaced by a wrong one.
	r.write("token", "wrong-token\n")
	await(t, time.Minute, "the account is paused", func() bool {
		r.entered(next("paused"))
		_, text := w.get("/readyz")
		return strings.Contains(text, "paused")
	})
	m.await("InvoiceboxAccountPaused", "InvoiceboxWorkOverdue")
	r.write("token", sandbox.DefaultToken+"\n")
	m.awaitEnd("InvoiceboxAccountPaused", "InvoiceboxWorkOverdue")

	// Invoicebox refuses the tokens of the shops.
	if err := r.sandbox.AddStub(sandbox.Stub{Operation: sandbox.Check, Match: "*", Times: -1, Status: http.StatusUnauthorized}); err != nil {
		t.Fatal(err)
	}
	m.await("InvoiceboxTokensRefused")
	r.sandbox.Reset()

	// The database ends.
	server.Down(syscall.SIGQUIT)
	m.await("InvoiceboxJournalDown", "InvoiceboxRelayWithoutLeader")
	server.Up(t)
	m.awaitEnd("InvoiceboxJournalDown", "InvoiceboxRelayWithoutLeader")

	// No result can be published, so that the outbox is full, and records wait.
	deleteTopics(t, c, r.topics[schemas.TypeInvited])
	stop, flood := make(chan struct{}), sync.WaitGroup{}
	flood.Go(func() {
		for {
			names := make([]string, 100)
			for i := range names {
				names[i] = next("flood")
			}
			r.selected(names...)
			select {
			case <-stop:
				return
			case <-time.After(500 * time.Millisecond):
			}
		}
	})
	m.await("InvoiceboxConsumerPaused", "InvoiceboxLagGrows")
	close(stop)
	flood.Wait()
	if err := c.CreateTopics(t.Context(), kafkago.TopicConfig{Topic: r.topics[schemas.TypeInvited], NumPartitions: 6}); err != nil {
		t.Fatal(err)
	}
	m.awaitEnd("InvoiceboxConsumerPaused", "InvoiceboxLagGrows")

	// Records are deleted while no worker runs, and then the worker is gone.
	w.kill()
	m.await("InvoiceboxWorkerAbsent")
	r.entered(next("lost"), next("lost"), next("lost"))
	topic := r.topics[schemas.TypeCodeEntered]
	for _, p := range c.Offsets(t, topic) {
		if err := c.Fake().DeleteRecords(topic, int32(p.Partition), p.Next); err != nil { // #nosec G115 -- one of a few
			t.Fatal(err)
		}
	}
	w = r.start()
	m.watch(w)
	m.awaitEnd("InvoiceboxWorkerAbsent")
	m.await("InvoiceboxRecordsLost")

	fired := m.fired()
	for _, name := range m.alerts {
		if !slices.Contains(fired, name) {
			t.Errorf("%s has not fired", name)
		}
	}
}

// shortened are the times of the rules' expressions that a test cannot wait for. A rule's
// "for" is a thirtieth, and at most twenty seconds.
var shortened = map[string][2]string{
	"InvoiceboxResultsDelayed": {"> 300", "> 5"},
	"InvoiceboxWorkOverdue":    {"> 900", "> 5"},
	"InvoiceboxLagGrows":       {"[1h]", "[20s]"},
}

// Monitoring is a Prometheus, an Alertmanager, and who is notified.
type monitoring struct {
	t       *testing.T
	dir     string
	address string   // of Prometheus
	alerts  []string // of the rules
	mu      sync.Mutex
	firing  map[string]bool // by name, as last notified
	history map[string]bool
}

// newMonitoring starts both. Without short times, the rules and the intervals are those of deploy/.
func newMonitoring(t *testing.T, short bool, workers ...*worker) *monitoring {
	t.Helper()
	interval := "15s"
	if short {
		interval = "1s"
	}
	m := &monitoring{t: t, dir: t.TempDir(), firing: map[string]bool{}, history: map[string]bool{}}
	pager := httptest.NewServer(http.HandlerFunc(m.notified))
	t.Cleanup(pager.Close)
	m.rules(short)
	manager, prometheus := freeport.Address(t), freeport.Address(t)
	m.address = prometheus
	m.write("alertmanager.yaml", `
route: {receiver: pager, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}
receivers: [{name: pager, webhook_configs: [{url: "`+pager.URL+`", send_resolved: true}]}]
`)
	m.write("prometheus.yaml", `
global: {scrape_interval: `+interval+`, evaluation_interval: `+interval+`}
rule_files: [alerts.yaml]
alerting: {alertmanagers: [{static_configs: [{targets: ["`+manager+`"]}]}]}
scrape_configs:
  - job_name: invoicebox-worker
    file_sd_configs: [{files: [targets.json], refresh_interval: 1s}]
`)
	m.watch(workers...)
	m.run([]string{"prometheus-alertmanager", "alertmanager"}, manager, "--config.file="+m.path("alertmanager.yaml"), "--storage.path="+m.path("manager"),
		"--web.listen-address="+manager, "--cluster.listen-address=")
	m.run([]string{"prometheus"}, prometheus, "--config.file="+m.path("prometheus.yaml"), "--storage.tsdb.path="+m.path("data"), "--web.listen-address="+prometheus)
	return m
}

func (m *monitoring) path(name string) string { return filepath.Join(m.dir, name) }

func (m *monitoring) write(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(m.path(name), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// rules writes the rules of deploy/, if asked with shorter times.
func (m *monitoring) rules(short bool) {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "prometheus", "alerts.yaml"))
	if err != nil {
		m.t.Fatal(err)
	}
	var file map[string][]struct {
		Name  string           `yaml:"name"`
		Rules []map[string]any `yaml:"rules"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		m.t.Fatal(err)
	}
	for _, group := range file["groups"] {
		for _, rule := range group.Rules {
			name, expr := rule["alert"].(string), rule["expr"].(string)
			m.alerts = append(m.alerts, name)
			if !short {
				continue
			}
			if s, ok := shortened[name]; ok {
				if rule["expr"] = strings.ReplaceAll(expr, s[0], s[1]); rule["expr"] == expr {
					m.t.Fatalf("%s does not contain %q", name, s[0])
				}
			}
			if text, ok := rule["for"].(string); ok {
				d, err := time.ParseDuration(text)
				if err != nil {
					m.t.Fatal(err)
				}
				rule["for"] = min(d/30, 20*time.Second).String()
			}
		}
	}
	if !short {
		// It always fires. How often it did is how often the rules were evaluated.
		file["groups"][0].Rules = append(file["groups"][0].Rules, map[string]any{"alert": watchdog, "expr": "vector(1)"})
	}
	doc, err := yaml.Marshal(file)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write("alerts.yaml", string(doc))
}

const watchdog = "Watchdog"

// run starts the first of the programs that there is, and waits until it is ready.
func (m *monitoring) run(programs []string, address string, args ...string) {
	m.t.Helper()
	program := ""
	for _, p := range programs {
		if path, err := exec.LookPath(p); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		m.t.Fatalf("%s is not there: on Debian it is in a package of that name", programs[0])
	}
	log := &logBuffer{}
	cmd := exec.CommandContext(context.Background(), program, args...) // #nosec G204 -- the test's own server
	cmd.Dir, cmd.Stdout, cmd.Stderr = m.dir, log, log
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if m.t.Failed() {
			m.t.Logf("%s:\n%s", programs[0], log.tail(2<<10))
		}
	})
	ready := &worker{t: m.t, addr: address}
	await(m.t, time.Minute, programs[0]+" is ready", func() bool {
		status, _ := ready.get("/-/ready")
		return status == http.StatusOK
	}, func() string { return log.tail(2 << 10) })
}

// watch lets Prometheus read these workers, and no other.
func (m *monitoring) watch(workers ...*worker) {
	m.t.Helper()
	addresses := make([]string, 0, len(workers))
	for _, w := range workers {
		addresses = append(addresses, w.addr)
	}
	targets, err := json.Marshal([]map[string]any{{"targets": addresses}})
	if err != nil {
		m.t.Fatal(err)
	}
	m.write("next.json", string(targets))
	if err := os.Rename(m.path("next.json"), m.path("targets.json")); err != nil {
		m.t.Fatal(err)
	}
}

// notified is the receiver of notifications.
func (m *monitoring) notified(_ http.ResponseWriter, req *http.Request) {
	var n struct {
		Status string
		Alerts []struct {
			Status      string
			Labels      map[string]string
			Annotations map[string]string
		}
	}
	err := json.NewDecoder(req.Body).Decode(&n)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.t.Errorf("a notification: %v", err)
	}
	for _, a := range n.Alerts {
		name := a.Labels["alertname"]
		m.firing[name] = n.Status == "firing"
		if name == watchdog {
			continue
		}
		if n.Status == "firing" && !m.history[name] {
			m.history[name] = true
			m.t.Logf("%s (%s): %s", name, a.Labels["severity"], a.Annotations["summary"])
		}
		if !strings.HasPrefix(a.Annotations["runbook"], "docs/") || a.Annotations["summary"] == "" || strings.Contains(a.Annotations["summary"], "<no value>") {
			m.t.Errorf("%s: the notification lacks a runbook or a summary: %v", name, a.Annotations)
		}
	}
}

func (m *monitoring) fired() (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.history {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (m *monitoring) await(names ...string)    { m.t.Helper(); m.awaitState(true, names) }
func (m *monitoring) awaitEnd(names ...string) { m.t.Helper(); m.awaitState(false, names) }

func (m *monitoring) awaitState(firing bool, names []string) {
	m.t.Helper()
	for _, name := range names {
		await(m.t, 3*time.Minute, fmt.Sprintf("%s fires: %t", name, firing), func() bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.firing[name] == firing
		}, func() string { return fmt.Sprint(m.fired()) })
	}
}

// deleteTopics deletes topics at the broker.
func deleteTopics(t *testing.T, c *kafkatest.Cluster, topics ...string) {
	t.Helper()
	client := &kafkago.Client{Addr: kafkago.TCP(c.Brokers()...), Timeout: 10 * time.Second}
	answer, err := client.DeleteTopics(t.Context(), &kafkago.DeleteTopicsRequest{Topics: topics})
	if err == nil {
		err = answer.Errors[topics[0]]
	}
	if err != nil {
		t.Fatal(err)
	}
}
