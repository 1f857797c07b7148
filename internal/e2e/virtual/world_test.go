package virtual

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

const (
	apiAddress = "127.0.0.1:80"
	account    = "default"
	group      = "invoicebox-worker"
	patience   = 10 * time.Second // of the brokers' empty fetches
)

// A world is all that a worker lives in, inside a bubble: Kafka, Invoicebox and
// a disk. It has one worker at a time, and the remains of those that died.
type world struct {
	*testing.T
	rnd     *rand.Rand
	network *kfake.VirtualNetwork
	kafka   *kafkatest.Cluster
	box     *sandbox.Sandbox
	circuit *apiHold
	api     *http.Server
	keys    *keyset.Set
	log     *slog.Logger
	dir     string
	limit   int // requests in 30 s
	change  func(*app.Options)

	w           *life
	lives       int
	deadWorkers []*life
	stray       error // the first error of a worker that ended by itself
	ends        int   // how many did
	faults      []*kfake.FaultHandle
	deaths      []time.Time
	frozen      [][2]time.Time // from, to
}

// A life is one run of the worker.
type life struct {
	path         string
	kafka, api   *link
	flakyJournal *flakyJournal
	stop         context.CancelFunc
	done         chan struct{}
	err          error
}

type setting struct {
	seed       uint64
	box        sandbox.Options
	brokers    int
	partitions int
	retention  time.Duration // of the inputs; 0: for ever
	change     func(*app.Options)
}

func newWorld(t *testing.T, s setting) *world {
	t.Helper()
	w := &world{
		T: t, network: &kfake.VirtualNetwork{}, dir: t.TempDir(), change: s.change, circuit: &apiHold{}, limit: s.box.RequestsPerWindow,
		rnd: rand.New(rand.NewPCG(s.seed, 1)), log: slog.New(slog.DiscardHandler),
	}
	if path := os.Getenv("SIMULATION_LOG"); path != "" {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		w.log = slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	var topics []kafkago.TopicConfig
	var entries []kafkago.ConfigEntry
	if s.retention > 0 {
		entries = append(entries, kafkago.ConfigEntry{ConfigName: "retention.ms", ConfigValue: fmt.Sprint(s.retention.Milliseconds())})
	}
	for _, name := range schemas.InputTypes() {
		topics = append(topics, kafkago.TopicConfig{Topic: name, NumPartitions: s.partitions, ConfigEntries: entries})
	}
	for _, name := range schemas.OutputTypes() {
		topics = append(topics, kafkago.TopicConfig{Topic: name, NumPartitions: s.partitions})
	}
	w.kafka = kafkatest.Embedded(t, kafkatest.WithNetwork(w.network), kafkatest.WithBrokers(s.brokers), kafkatest.WithTopics(topics...),
		kafkatest.WithFake(kfake.Ports(ports(s.brokers)...)))
	if w.limit == 0 {
		w.limit = sandbox.DefaultRequestsPerWindow
	}
	// An empty fetch waits longer than it asks for: the worker has less to do
	// while nothing happens, and hears of what is new as soon as before.
	w.kafka.Fake().ControlKey(int16(kmsg.Fetch), func(q kmsg.Request) (kmsg.Response, error, bool) {
		q.(*kmsg.FetchRequest).MaxWaitMillis = int32(patience.Milliseconds())
		return nil, nil, false
	})
	var err error
	if w.box, err = sandbox.New(s.box); err != nil {
		t.Fatal(err)
	}
	if w.keys, err = keyset.New(); err != nil {
		t.Fatal(err)
	}
	listener, err := w.network.Listen("tcp", apiAddress)
	if err != nil {
		t.Fatal(err)
	}
	w.circuit.next = w.box.API()
	w.api = &http.Server{Handler: w.circuit, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go func() { _ = w.api.Serve(listener) }()
	t.Cleanup(func() { _ = w.api.Close() })
	return w
}

// ports are the brokers' on the virtual network, which gives none by itself.
func ports(brokers int) []int {
	list := make([]int, brokers)
	for i := range list {
		list[i] = 9092 + i
	}
	return list
}

// start starts a worker over the journal at path; the one before is gone.
func (w *world) start(path string) {
	w.lives++
	l := &life{path: path, kafka: newLink(w.network.DialContext), api: newLink(w.network.DialContext), done: make(chan struct{})}
	l.flakyJournal = newFlakyJournal(rand.New(rand.NewPCG(w.rnd.Uint64(), 2)))
	token := secret.New(sandbox.DefaultToken)
	o := app.Defaults()
	o.Version = "simulated"
	o.Kafka = kafka.Config{Brokers: w.kafka.Brokers(), Dial: l.kafka.Dial}
	o.KafkaGroup, o.Start, o.Listen = group, "earliest", ""
	o.JournalURL = "sqlite:" + path
	o.Keyset = w.keys
	o.InvoiceboxURL = "http://" + apiAddress
	o.Accounts = []app.Account{{
		Name: account, PartnerID: sandbox.DefaultPartnerID, Token: func() secret.String { return token },
		RequestsPerWindow: w.limit, Window: 30 * time.Second,
	}}
	o.Logger = w.log.With("life", w.lives)
	o.Hooks = app.Hooks{DialInvoicebox: l.api.Dial, Journal: l.flakyJournal.wrap, JournalMark: func(string) string { return "the file" }}
	if w.change != nil {
		w.change(&o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	w.w = l
	go func() {
		defer close(l.done)
		l.err = app.Run(ctx, o)
	}()
}

func (l *life) ended() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// terminate is SIGTERM.
func (w *world) terminate() {
	w.freeze(false) // a frozen process hears of it when it goes on
	w.w.stop()
	select {
	case <-w.w.done:
	case <-w.w.flakyJournal.dying:
		w.crash() // it dies on its way out
	}
}

// crash is SIGKILL: what is on the disk at this moment is what the next worker
// finds, and what the dead one does after it reaches nobody.
func (w *world) crash() {
	synctest.Wait()
	dead := w.w
	w.deaths = append(w.deaths, time.Now())
	dir := filepath.Join(w.dir, fmt.Sprint("life-", w.lives+1))
	if err := os.Mkdir(dir, 0o700); err != nil {
		w.Fatal(err)
	}
	path := filepath.Join(dir, "journal.db")
	for _, suffix := range []string{"", "-wal"} {
		journaltest.CopyFile(w.T, dead.path+suffix, path+suffix)
	}
	for _, l := range []*link{dead.kafka, dead.api} {
		l.refuse(true)
		l.cut("")
	}
	dead.flakyJournal.endProcess()
	dead.kafka.hold(false)
	dead.api.hold(false)
	dead.stop()
	w.deadWorkers = append(w.deadWorkers, dead)
	w.w = &life{path: path, kafka: dead.kafka, api: dead.api, flakyJournal: dead.flakyJournal, done: closed()}
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// tend starts the worker anew where it has ended by itself, as whoever runs it
// would. It tells whether it did.
func (w *world) tend() bool {
	if !w.w.ended() {
		return false
	}
	if w.w.err != nil {
		w.ends++
		w.log.Info("the worker ended by itself", "err", w.w.err)
		if w.stray == nil {
			w.stray = w.w.err
		}
	}
	pause(2 * time.Second)
	w.start(w.w.path)
	return true
}

// finish ends everything; what is left of a bubble's goroutines after it is a leak.
func (w *world) finish() {
	w.terminate()
	for _, g := range w.deadWorkers {
		<-g.done
	}
}

// pause lets virtual time go by.
func pause(d time.Duration) { <-time.After(d) }

// look opens the worker's journal beside it.
func (w *world) look(do func(j journal.Journal)) {
	w.Helper()
	j, err := sqlite.Open(context.Background(), sqlite.Options{Path: w.w.path, ReadOnly: true})
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	do(j)
}

// resume is what a person does about an account that only a person opens: the
// sandbox answers some codes with what nobody can read, and three such answers in
// a row pause the account.
func (w *world) resume() {
	w.look(func(j journal.Journal) {
		accounts, err := j.Accounts(context.Background())
		if err != nil {
			w.Fatal(err)
		}
		for _, a := range accounts {
			if a.Circuit.State != journal.CircuitPaused || a.Circuit.Reason != string(onboarding.ReasonAnswers) {
				continue
			}
			i := journal.Intent{UUID: uuid.New(), Actor: "a person", Act: string(onboarding.ActionResume), Account: a.Name, At: time.Now()}
			if i.MAC, err = app.BindKeys(j, w.keys).Authenticate(keyset.DomainIntent, i.Authentic()...); err != nil {
				w.Fatal(err)
			}
			if err := j.AppendIntent(context.Background(), i, journal.AuditEntry{At: i.At, Actor: i.Actor, Act: i.Act + ".asked", Subject: a.Name}); err != nil {
				w.Fatal(err)
			}
		}
	})
}

// idle tells whether everything that was asked for is done: all input read, no
// operation open, nothing left to publish.
func (w *world) idle() (bool, string) {
	var s journal.Stats
	var ps []journal.Position
	var err error
	w.look(func(j journal.Journal) {
		if s, err = j.Stats(context.Background()); err == nil {
			ps, err = j.Positions(context.Background())
		}
	})
	if err != nil {
		return false, err.Error()
	}
	behind, open := int64(0), int64(0)
	next := map[string]int64{}
	for _, p := range ps {
		next[fmt.Sprint(p.Topic, "/", p.Partition)] = p.Next
	}
	for _, topic := range schemas.InputTypes() {
		for _, p := range w.kafka.Offsets(w.T, topic) {
			behind += p.Next - next[fmt.Sprint(topic, "/", p.Partition)]
		}
	}
	for key, n := range s.Operations {
		if key.State.Open() {
			open += n
		}
	}
	return behind == 0 && open == 0 && s.Outbox == 0, fmt.Sprintf("%d records to read, %d operations open, %d results to publish: %v", behind, open, s.Outbox, s.Operations)
}

// send writes records as a platform does: until they are acknowledged.
func (w *world) send(topic string, messages ...kafkago.Message) {
	w.Helper()
	for try := 0; ; try++ {
		err := w.kafka.TryProduce(topic, messages)
		if err == nil {
			return
		}
		if try == 20 {
			w.Fatalf("produce to %s: %v", topic, err)
		}
		pause(time.Second)
	}
}
