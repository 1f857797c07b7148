package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/testutil/scenario"
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
	replicas                      int
	postgres                      bool // the journal is there, and its server ends, too
}

// smallChaos fits into every run of the tests. Its sandbox counts requests when
// they arrive, so that a slack of a second is a true one.
func smallChaos() chaosSettings {
	return chaosSettings{
		shops: 500, accounts: 5, faults: 26 * time.Second, patience: 3 * time.Minute, seed: uint64(time.Now().UnixNano()),
		deadline: 2 * time.Second, lease: 4 * time.Second, slack: time.Second, quiet: 3 * time.Second,
		latency: 30 * time.Millisecond, window: 2 * time.Second, limit: 60, egress: 3000, countAt: "arrival", replicas: 1,
	}
}

// smallReplicas is smallChaos of three replicas over PostgreSQL.
func smallReplicas() chaosSettings {
	s := smallChaos()
	s.shops, s.replicas, s.postgres = 300, 3, true
	return s
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
		case "replicas":
			s.replicas, err = strconv.Atoi(value)
		case "journal":
			s.postgres = value == "postgres"
			if !s.postgres && value != "sqlite" {
				err = errors.New("want sqlite or postgres")
			}
		default:
			err = errors.New("want shops=N duration=TIME seed=N replicas=N journal=sqlite|postgres")
		}
		if err != nil {
			return s, fmt.Errorf("%s: %q: %w", chaosVariable, word, err)
		}
	}
	if s.replicas < 1 || s.replicas > 1 && !s.postgres {
		return s, fmt.Errorf("%s: %d replicas want journal=postgres", chaosVariable, s.replicas)
	}
	return s, nil
}

// Chaos on real parts: three brokers of Apache Kafka, of which one after the
// other is killed and restarted; a hostile Invoicebox; a worker that is killed,
// frozen for longer than lease and quiet period, or asked to stop, every few
// seconds. The same with three replicas over PostgreSQL, whose server ends, too.
// When the faults have stopped the ledger adds up to the last one.
func TestChaos(t *testing.T) {
	t.Parallel()
	large := os.Getenv(chaosVariable)
	s, err := chaosFrom(large)
	if err != nil {
		t.Fatal(err)
	}
	if large != "" {
		chaos(t, s)
		return
	}
	// One after the other: six brokers at once would starve each other.
	t.Run("one worker with a file", func(t *testing.T) { chaos(t, s) })
	t.Run("three replicas over PostgreSQL", func(t *testing.T) { chaos(t, smallReplicas()) })
}

func chaos(t *testing.T, s chaosSettings) {
	t.Helper()
	began := time.Now()
	t.Logf("seed %d, %d shops, faults for %v", s.seed, s.shops, s.faults)
	r := newChaosRig(t, s)
	t.Logf("brokers and sandbox are up after %v", time.Since(began).Round(time.Second))
	rnd := rand.New(rand.NewPCG(s.seed, 9)) // #nosec G404 -- the stories of a test
	var accounts []string
	for i := range s.accounts {
		accounts = append(accounts, accountOf(i))
	}
	story := scenario.Tell(rnd, scenario.Options{Shops: s.shops, Accounts: accounts})
	r.plant(story.Twins)

	var done counter
	r.rage(story, &done)
	r.calm()
	for _, what := range []string{"brokers killed", "workers killed", "workers frozen", "databases ended"} {
		if done.n[what] == 0 && (s.postgres || what != "databases ended") {
			t.Errorf("no %s", what)
		}
	}
	r.finish(&done)
	r.judge(story, &done)
	t.Logf("in all %v", time.Since(began).Round(time.Second))
}

// rage lets the platform speak and everything go wrong for as long as is set,
// and returns when brokers and sandbox are whole again and no worker runs.
func (r *chaosRig) rage(story *scenario.Story, done *counter) {
	r.t.Helper()
	over := time.Now().Add(r.s.faults)
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { r.speak(story, stop, done) })
	others.Go(func() { r.killBrokers(rand.New(rand.NewPCG(r.s.seed, 2)), stop, done) }) // #nosec G404
	if r.layout.server != nil {
		others.Go(func() { r.endDatabases(rand.New(rand.NewPCG(r.s.seed, 3)), stop, done) }) // #nosec G404
	}
	defer others.Wait()
	defer close(stop)
	var slots sync.WaitGroup
	for i := range r.layout.replicas {
		slots.Go(func() { r.killWorkers(i, rand.New(rand.NewPCG(r.s.seed, uint64(1+10*i))), over, done) }) // #nosec G404 G115
	}
	slots.Wait()
}

// speak produces what the platform says, spread over three quarters of the time.
// What cannot be written is written again: some of it comes twice.
func (r *chaosRig) speak(story *scenario.Story, stop <-chan struct{}, done *counter) {
	const parts = 30
	tick := time.NewTicker(max(r.s.faults*3/4/parts, 10*time.Millisecond))
	defer tick.Stop()
	for left, part := story.Records, 1; len(left) > 0; part++ {
		n := 0
		messages := map[string][]kafkago.Message{} // by type
		for n < len(left) && left[n].At <= float64(part)/parts {
			messages[left[n].Type] = append(messages[left[n].Type], left[n].Message)
			n++
		}
		left = left[n:]
		for typ, list := range messages {
			for r.cluster.TryProduce(r.topics[typ], list) != nil {
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
