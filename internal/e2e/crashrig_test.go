package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/workertest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// How a watched worker is set. A request ends by the deadline, and a frozen
// worker sleeps until its leases and the quiet period are over.
const (
	crashDeadline = 4 * time.Second
	crashLease    = 6 * time.Second
	crashSlack    = time.Second
	crashQuiet    = 1500 * time.Millisecond
	crashCalls    = 512 // all at once, in so many accounts
	crashFreeze   = crashLease + crashQuiet + crashSlack
)

// A crashRig is a rig in which every class of answer and kind has an account of
// its own.
type crashRig struct {
	*rig
	subjects []subject
	accounts []crashAccount
	circuit  *circuit
	setting  string            // of unknown-outcome
	shared   bool              // by several workers
	watches  int               // workers started
	vault    map[string]string // of the credential store, by setting; nil: secrets are sealed
	renewed  time.Time
}

type crashAccount struct {
	Name      string `json:"name"`
	PartnerID string `json:"partner-id"`
	TokenFile string `json:"token-file"`
	token     string
}

func newCrashRig(t *testing.T, subjects []subject, setting string) *crashRig {
	t.Helper()
	c := kafkatest.Embedded(t)
	r := &crashRig{rig: &rig{t: t, cluster: c, dir: t.TempDir(), topics: map[string]string{}}, subjects: subjects, setting: setting}
	layout{}.place(r.rig)
	r.codes = map[string]string{}
	o := sandbox.Options{Profile: sandbox.Calm, RequestsPerWindow: -1, EgressPerWindow: -1}
	for _, s := range subjects {
		name := s.account()
		if s.kind == "activate" {
			r.codes[s.shop] = s.text
		}
		if slices.ContainsFunc(r.accounts, func(a crashAccount) bool { return a.Name == name }) {
			continue
		}
		a := crashAccount{
			Name: name, PartnerID: uuid.NewSHA1(uuid.NameSpaceOID, []byte(name)).String(),
			TokenFile: r.path(name + ".token"), token: "token-of-" + name,
		}
		r.accounts = append(r.accounts, a)
		o.Accounts = append(o.Accounts, sandbox.Account{PartnerID: a.PartnerID, Token: a.token})
		r.write(name+".token", a.token+"\n")
	}
	var err error
	if r.sandbox, err = sandbox.New(o); err != nil {
		t.Fatal(err)
	}
	for _, s := range subjects {
		if s.plant != 0 {
			if err := r.sandbox.AddStub(sandbox.Stub{Operation: sandbox.Operation(s.kind), Match: s.text, Status: s.plant}); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.circuit = newCircuit(r.sandbox.API(), subjects)
	r.api = httptest.NewServer(r.circuit)
	t.Cleanup(r.api.Close)
	t.Cleanup(r.circuit.open) // before Close, which waits for what is held
	for _, name := range append(schemas.InputTypes(), schemas.OutputTypes()...) {
		r.topics[name] = c.NewTopic(t, name, 2)
	}
	r.group = "group-" + r.topics[schemas.TypeActivated]
	r.must("keys", "create", "--keyset-file", r.path("keyset.json"))
	r.yaml()
	return r
}

// yaml writes the accounts for invoicebox-worker itself.
func (r *crashRig) yaml() {
	var b strings.Builder
	b.WriteString("accounts:\n")
	for _, a := range r.accounts {
		fmt.Fprintf(&b, "  - {name: %q, partner-id: %q, token-file: %q}\n", a.Name, a.PartnerID, a.TokenFile)
	}
	r.write("accounts.yaml", b.String())
}

// produce sends every subject's event; those of a partition come in one batch.
func (r *crashRig) produce() {
	r.t.Helper()
	for kind, typ := range map[string]string{"invite": schemas.TypeProviderSelected, "activate": schemas.TypeCodeEntered} {
		var shops []string
		text, account := map[string]string{}, map[string]string{}
		for _, s := range r.subjects {
			if s.kind == kind {
				shops = append(shops, s.shop)
				text[s.shop], account[s.shop] = s.text, s.account()
			}
		}
		r.send(typ, shops, func(shop string) string {
			if kind == "invite" {
				return fmt.Sprintf(`{"shopId":%q,"partnerAccount":%q,"provider":"invoicebox","email":%q}`, shop, account[shop], text[shop])
			}
			return fmt.Sprintf(`{"shopId":%q,"partnerAccount":%q,"activationCode":%q}`, shop, account[shop], text[shop])
		})
	}
}

// A watched worker is internal/e2e/crashworker as a process.
type watched struct {
	*worker
	in io.WriteCloser

	mu     sync.Mutex
	parked map[string]bool
	// claimed are those that it has taken; publishing is among the parked.
	claimed map[string]bool
}

// publishing is what a worker that publishes says at that point.
const publishing = "publishing"

// crashworker is what stops at a point, built when it is first needed.
var crashworker = sync.OnceValues(func() (string, error) {
	return workertest.Build(context.Background(), filepath.Dir(binary), "internal/e2e/crashworker")
})

// watch starts a worker that stops at the point.
func (r *crashRig) watch(point string) *watched {
	r.t.Helper()
	program, err := crashworker()
	if err != nil {
		r.t.Fatal(err)
	}
	var keys []string
	for _, s := range r.subjects {
		keys = append(keys, s.key())
	}
	w := &watched{worker: &worker{t: r.t, log: &logBuffer{}, done: make(chan struct{})}, parked: map[string]bool{}, claimed: map[string]bool{}}
	if point == "sent" {
		point = "" // that is held by the circuit breaker
	}
	doc, err := json.Marshal(map[string]any{
		"vault": r.vault, "point": point, "watch": keys, "shared": r.shared, "kafka-brokers": r.cluster.Brokers(), "kafka-group": r.group, "topic": r.topics,
		"journal-url": r.journal, "keyset-file": r.path("keyset.json"), "invoicebox-url": r.api.URL,
		"listen": "", "unknown-outcome": r.setting, "concurrency": crashCalls, "accounts": r.accounts,
		"request-deadline": crashDeadline.Milliseconds(), "lease": crashLease.Milliseconds(),
		"quiet-period": crashQuiet.Milliseconds(), "slack": crashSlack.Milliseconds(),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	// Each worker has a file of its own: an earlier one may not have read its file yet.
	r.watches++
	name := fmt.Sprintf("crashworker-%d.json", r.watches)
	r.write(name, string(doc))
	w.cmd = exec.Command(program, r.path(name)) // #nosec G204 -- the program under test
	w.cmd.Stderr = w.log
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		r.t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			word, key, _ := strings.Cut(lines.Text(), " ")
			w.mu.Lock()
			switch word {
			case "parked":
				w.parked[key] = true
			case "claimed":
				w.claimed[key] = true
			case publishing:
				w.parked[publishing] = true
			}
			w.mu.Unlock()
		}
		w.err = w.cmd.Wait()
		close(w.done)
	}()
	r.t.Cleanup(func() {
		w.kill()
		if r.t.Failed() {
			r.t.Logf("the watched worker's last words:\n%s", w.log.tail(6<<10))
		}
	})
	return w
}

// awaitParked waits until everybody who comes by the point stands there, and
// returns how many they are.
func (r *crashRig) awaitParked(p crashPoint, workers ...*watched) int {
	r.t.Helper()
	missing, there := []string{}, 0
	await(r.t, 60*time.Second, "everybody stands at "+p.name, func() bool {
		for _, w := range workers {
			select {
			case <-w.done:
				r.t.Fatalf("the worker ended before it was to: %v\n%s", w.err, w.log.tail(8<<10))
			default:
			}
		}
		missing, there = missing[:0], 0
		for _, s := range r.subjects {
			switch {
			case !p.meets(s):
			case slices.ContainsFunc(workers, func(w *watched) bool { return r.stands(w, p, s) }):
				there++
			default:
				missing = append(missing, s.key())
			}
		}
		return len(missing) == 0
	}, func() string { return "missing: " + strings.Join(missing, ", ") })
	return there
}

func (r *crashRig) stands(w *watched, p crashPoint, s subject) bool {
	switch p.name {
	case "sent":
		return r.circuit.holds(s.key())
	case "published":
		return slices.ContainsFunc(r.told(), func(e told) bool { return e.shop == s.shop })
	}
	return w.has(w.parked, s.key())
}

func (w *watched) has(which map[string]bool, key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return which[key]
}

// goOn lets everything go on that is parked.
func (w *watched) goOn() { w.tell("go") }

// begin lets one of several take work.
func (w *watched) begin() { w.tell("begin") }

func (w *watched) tell(line string) {
	if _, err := io.WriteString(w.in, line+"\n"); err != nil {
		w.t.Errorf("the worker does not listen: %v", err)
	}
}

// restart starts invoicebox-worker itself on what is left.
func (r *crashRig) restart() *worker {
	r.t.Helper()
	args := append([]string{"run", "--config", r.path("accounts.yaml")}, r.settings()...)
	for name, value := range r.vault {
		args = append(args, "--"+name, value)
	}
	if r.vault != nil {
		args = append(args, "--credentials-store", "openbao")
	}
	return r.run(append(args,
		"--unknown-outcome", r.setting, "--concurrency", strconv.Itoa(crashCalls),
		"--requests-per-window", "1000000", "--egress-requests-per-window", "1000000",
		"--request-deadline", crashDeadline.String(), "--lease", crashLease.String(),
		"--quiet-period", crashQuiet.String(), "--slack", crashSlack.String()))
}

// renew changes the token of the account that was told that it is bad, which
// has it looked at without waiting: the circuit breaker takes both.
func (r *crashRig) renew() {
	const every = 3 * time.Second
	if time.Since(r.renewed) < every {
		return
	}
	r.renewed = time.Now()
	for i := range r.accounts {
		a := &r.accounts[i]
		if !strings.Contains(a.Name, "-unauthorized-") {
			continue
		}
		var ok bool
		if a.token, ok = strings.CutPrefix(a.token, renewedToken); !ok {
			a.token = renewedToken + a.token
		}
		r.write("new.token", a.token+"\n")
		if err := os.Rename(r.path("new.token"), a.TokenFile); err != nil {
			r.t.Fatal(err)
		}
	}
}
