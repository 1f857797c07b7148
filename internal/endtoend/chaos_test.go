package endtoend

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/schemas"
)

// chaosVariable asks for a longer run; see doc.go.
const chaosVariable = "INVOICEBOX_CHAOS"

// chaosSettings say how large a run is, and how patient its worker.
type chaosSettings struct {
	shops, accounts               int
	faults                        time.Duration // how long things go wrong
	patience                      time.Duration // for what is left after that
	seed                          uint64
	deadline, lease, slack, quiet time.Duration
	latency, window               time.Duration // of the sandbox
	limit, egress                 int           // requests in a window; of all accounts in 30 s
	countAt                       string        // when the sandbox counts a request
}

// smallChaos fits into every run of the tests. Its sandbox counts requests when
// they arrive, so that a slack of a second is a true one.
func smallChaos() chaosSettings {
	return chaosSettings{
		shops: 1000, accounts: 5, faults: 42 * time.Second, patience: 3 * time.Minute, seed: uint64(time.Now().UnixNano()),
		deadline: 2 * time.Second, lease: 4 * time.Second, slack: time.Second, quiet: 3 * time.Second,
		latency: 30 * time.Millisecond, window: 2 * time.Second, limit: 60, egress: 3000, countAt: "arrival",
	}
}

// largeChaos has a sandbox that keeps requests for up to twenty seconds before
// it counts them, and a worker that knows: its slack is longer.
func largeChaos() chaosSettings {
	s := smallChaos()
	s.shops, s.faults, s.patience = 5000, 5*time.Minute, 20*time.Minute
	s.deadline, s.lease, s.slack, s.quiet = 8*time.Second, 14*time.Second, 21*time.Second, 21*time.Second
	s.latency, s.window, s.limit, s.egress, s.countAt = 90*time.Millisecond, 5*time.Second, 100, 3000, "auto"
	return s
}

// chaosFrom reads "shops=5000 duration=2h seed=1"; what is not named is
// largeChaos's.
func chaosFrom(text string) (chaosSettings, error) {
	if text == "" {
		return smallChaos(), nil
	}
	s := largeChaos()
	for word := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(word, "=")
		var err error
		switch name {
		case "shops":
			s.shops, err = strconv.Atoi(value)
		case "duration":
			s.faults, err = time.ParseDuration(value)
		case "seed":
			s.seed, err = strconv.ParseUint(value, 10, 64)
		default:
			err = fmt.Errorf("want shops=N duration=TIME seed=N")
		}
		if err != nil {
			return s, fmt.Errorf("%s: %q: %w", chaosVariable, word, err)
		}
	}
	return s, nil
}

// Chaos on real parts: three brokers of Apache Kafka, of which one after the
// other is killed and restarted; a hostile Invoicebox; a worker that is killed,
// frozen for longer than lease and quiet period, or asked to stop, every few
// seconds. When the faults have stopped the ledger adds up to the last one.
func TestChaos(t *testing.T) {
	s, err := chaosFrom(os.Getenv(chaosVariable))
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel()
	began := time.Now()
	t.Logf("seed %d, %d shops, faults for %v", s.seed, s.shops, s.faults)
	r := newChaosRig(t, s)
	t.Logf("brokers and sandbox are up after %v", time.Since(began).Round(time.Second))
	rnd := rand.New(rand.NewPCG(s.seed, 9)) // #nosec G404 -- the stories of a test
	var accounts []string
	for i := range s.accounts {
		accounts = append(accounts, accountOf(i))
	}
	w := newWorld(rnd, s.shops, accounts)
	r.plant(w.twins)

	var done counter
	r.rage(w, &done)
	r.calm()
	for _, what := range []string{"brokers killed", "workers killed", "workers frozen"} {
		if done.n[what] == 0 {
			t.Errorf("no %s", what)
		}
	}
	r.finish(&done)
	r.ledger(w, &done)
	t.Logf("in all %v", time.Since(began).Round(time.Second))
}

// finish lets a worker do what is left, and a person what is a person's.
func (r *chaosRig) finish(done *counter) {
	r.t.Helper()
	last, quiet := r.live(), time.Now()
	for ; !r.settled(); <-time.After(200 * time.Millisecond) {
		if last.ended() {
			r.t.Fatalf("the worker ended by itself:\n%s", last.said())
		}
		if time.Since(quiet) > r.s.patience {
			r.t.Fatalf("after %v there is still something to do: %s\n%s", r.s.patience, r.left(), last.said())
		}
		if list := r.paused(); len(list) > 0 && last.said() != "" {
			r.stop(last, "SIGTERM for a person")
			r.resume(list, done)
			last = r.live()
		}
	}
	r.t.Logf("all was done %v after the faults had stopped", time.Since(quiet).Round(time.Second))
	r.stop(last, "SIGTERM at the end")
}

// stop asks a worker to end, as an operator does.
func (r *chaosRig) stop(l *life, why string) {
	r.t.Helper()
	l.over()
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Error(err)
	}
	if l.lasts(40 * time.Second) {
		r.t.Errorf("a worker did not end after SIGTERM:\n%s", l.said())
	} else if code := l.cmd.ProcessState.ExitCode(); code != 0 {
		r.t.Errorf("exit status %d after SIGTERM:\n%s", code, l.said())
	}
	l.kill()
	r.ends(l, why)
}

// paused lists the accounts that only a person opens: the sandbox refuses some
// codes with 403, and three such answers in a row say that the account has lost
// its rights.
func (r *chaosRig) paused() []string {
	j := r.openJournal()
	defer func() { _ = j.Close() }()
	accounts, err := j.Accounts(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	var list []string
	for _, a := range accounts {
		if a.Gate.State == journal.GatePaused && (a.Gate.Reason == string(onboarding.ReasonRights) || a.Gate.Reason == string(onboarding.ReasonRequest)) {
			list = append(list, a.Name)
		}
	}
	return list
}

// resume opens accounts in the journal, which nobody holds at the moment.
func (r *chaosRig) resume(accounts []string, done *counter) {
	r.t.Helper()
	j, err := r.journalWith(onboarding.NewPlanner(onboarding.PlannerOptions{}))
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	for _, name := range accounts {
		audit := journal.AuditEntry{Actor: "a person", Act: "resume", Subject: name}
		if err := j.SetGate(r.t.Context(), name, journal.Gate{State: journal.GateOpen, Since: time.Now()}, &audit); err != nil {
			r.t.Fatal(err)
		}
		done.add("accounts resumed by a person")
	}
}

// rage lets the platform speak and everything go wrong for as long as is set,
// and returns when brokers and sandbox are whole again and no worker runs.
func (r *chaosRig) rage(w *world, done *counter) {
	r.t.Helper()
	over := time.Now().Add(r.s.faults)
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { r.speak(w, stop, done) })
	others.Go(func() { r.killBrokers(rand.New(rand.NewPCG(r.s.seed, 2)), stop, done) }) // #nosec G404
	defer others.Wait()
	defer close(stop)
	r.killWorkers(rand.New(rand.NewPCG(r.s.seed, 1)), over, done) // #nosec G404
}

// speak produces what the platform says, spread over three quarters of the time.
// What cannot be written is written again: some of it comes twice.
func (r *chaosRig) speak(w *world, stop <-chan struct{}, done *counter) {
	parts := 30
	pause := r.s.faults * 3 / 4 / time.Duration(parts)
	tick := time.NewTicker(max(pause, 10*time.Millisecond))
	defer tick.Stop()
	for _, part := range w.waves(parts) {
		for _, typ := range schemas.InputTypes() {
			messages := messagesOf(part, typ)
			for len(messages) > 0 {
				err := r.cluster.TryProduce(r.topics[typ], messages)
				if err == nil {
					break
				}
				done.add("writes of the platform tried again")
			}
		}
		select {
		case <-tick.C:
		case <-stop: // the rest at once
		}
	}
}

// killBrokers kills one broker after the other and starts it again.
func (r *chaosRig) killBrokers(rnd *rand.Rand, stop <-chan struct{}, done *counter) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(1000+rnd.IntN(3000)) * time.Millisecond):
		}
		i := rnd.IntN(3)
		if err := r.cluster.Kill(i); err != nil {
			r.t.Errorf("killing broker %d: %v", i, err)
			return
		}
		done.add("brokers killed")
		<-time.After(time.Duration(500+rnd.IntN(3000)) * time.Millisecond)
		if err := r.cluster.Start(i); err != nil {
			r.t.Errorf("starting broker %d: %v", i, err)
			return
		}
	}
}

// killWorkers lets worker after worker live for a while.
func (r *chaosRig) killWorkers(rnd *rand.Rand, over time.Time, done *counter) {
	r.t.Helper()
	for time.Now().Before(over) {
		l := r.live()
		// A dead member keeps its group waiting for ten seconds: a worker that is
		// to read anything has to live for longer.
		span := time.Duration(500+rnd.IntN(4500)) * time.Millisecond
		nth := len(r.lives)
		if nth == 1 || nth > 5 && rnd.IntN(100) < 30 {
			span = time.Duration(11_000+rnd.IntN(5000)) * time.Millisecond
		}
		alive := l.lasts(span)
		// However short the run is, it has both deaths and one that is frozen.
		if alive && (nth == 3 || nth > 5 && rnd.IntN(100) < 15) {
			r.freeze(l)
			done.add("workers frozen")
			alive = l.lasts(time.Duration(rnd.IntN(3000)) * time.Millisecond)
		}
		if !alive {
			r.t.Errorf("a worker ended by itself:\n%s", l.said())
			l.over()
			r.ends(l, "by itself")
			return
		}
		// Before it has said anything it does not listen to signals either.
		if nth > 3 && rnd.IntN(100) < 12 && l.said() != "" {
			r.stop(l, "SIGTERM")
			done.add("workers stopped")
			continue
		}
		l.kill()
		r.ends(l, "SIGKILL")
		done.add("workers killed")
	}
}

// freeze stops a worker for longer than its leases and the quiet period.
func (r *chaosRig) freeze(l *life) {
	from := time.Now()
	if err := l.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		r.t.Error(err)
		return
	}
	<-time.After(r.s.lease + r.s.quiet + 2*time.Second)
	if err := l.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		r.t.Error(err)
	}
	l.frozen = append(l.frozen, [2]time.Time{from, time.Now()})
}

// settled tells whether every record was read, nothing is open and nothing waits
// to be published.
func (r *chaosRig) settled() bool {
	j := r.openJournal()
	defer func() { _ = j.Close() }()
	stats, err := j.Stats(r.t.Context())
	return err == nil && nothingOpen(stats) && len(r.unread(j)) == 0
}

// left says in words what is still to be done.
func (r *chaosRig) left() string {
	j := r.openJournal()
	defer func() { _ = j.Close() }()
	stats, err := j.Stats(r.t.Context())
	if err != nil {
		return err.Error()
	}
	open := map[string]int64{}
	for key, n := range stats.Operations {
		if key.State.Open() {
			open[fmt.Sprint(key.Account, " ", key.Kind, " ", key.State)] = n
		}
	}
	accounts, err := j.Accounts(r.t.Context())
	return fmt.Sprintf("open: %v; to be published: %d, to be read: %v, accounts: %+v %v", open, stats.Outbox, r.unread(j), accounts, err)
}
