package producer_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/journal/postgres"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/pgtest"
	"invoicebox-worker/producer"
	"invoicebox-worker/schemas"
)

// A replica's process is this program with these variables.
const (
	urlVariable    = "INVOICEBOX_TEST_RELAY_URL"
	brokerVariable = "INVOICEBOX_TEST_RELAY_BROKERS"
)

// relayProcess runs a relay over a database until SIGTERM, and tells in a line
// each time what Ready says of it.
func relayProcess() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	j, err := postgres.Open(ctx, postgres.Options{URL: os.Getenv(urlVariable), Planner: journaltest.Plain})
	if err != nil {
		return err
	}
	conn, err := kafka.New(kafka.Config{Brokers: strings.Split(os.Getenv(brokerVariable), ","), ClientID: "relay"})
	if err != nil {
		return err
	}
	r, err := producer.New(producer.Config{
		Kafka: conn, Outbox: j, Authentic: anyRow, Logger: slog.New(slog.DiscardHandler), Metrics: producer.NewMetrics(prometheus.NewPedanticRegistry()), BatchRows: 20,
	})
	if err != nil {
		return err
	}
	go func() {
		for last := ""; ; <-time.After(5 * time.Millisecond) {
			if _, word := r.Ready(); word != last {
				fmt.Println(word)
				last = word
			}
		}
	}()
	if err := r.Run(ctx); err != nil {
		return err
	}
	return j.Close()
}

// A process is a replica of its own.
type process struct {
	*exec.Cmd
	mu    sync.Mutex
	word  string
	since time.Time
	done  chan struct{}
}

func startProcess(t *testing.T, url string, c *kafkatest.Cluster) *process {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.CommandContext(context.Background(), program), done: make(chan struct{})} // #nosec G204 -- this program
	p.Env = append(os.Environ(), urlVariable+"="+url, brokerVariable+"="+strings.Join(c.Brokers(), ","))
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.mu.Lock()
			p.word, p.since = lines.Text(), time.Now()
			p.mu.Unlock()
		}
		_ = p.Wait() // it may have been killed
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.done
	})
	return p
}

func (p *process) printed(word string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.word == word
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// A load brings events of a few shops into a journal, which leads to one result
// each, until it is stopped.
type load struct {
	j    *postgres.Journal
	mu   sync.Mutex
	many int
	stop func()
}

func (s *load) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.many
}

const streamShops = 5

func startLoad(t *testing.T, url string) *load {
	t.Helper()
	keys, err := keyset.New()
	if err != nil {
		t.Fatal(err)
	}
	s := &load{}
	s.j, err = postgres.Open(t.Context(), postgres.Options{URL: url, Planner: func(e journal.Event, _ journal.ShopView) journal.Plan {
		return journal.Plan{Publish: []journal.Draft{{ID: uuid.NewSHA1(uuid.Nil, []byte(e.ID)), Type: schemas.TypeInvited, Freeze: func(sequence int64) (schemas.Message, error) {
			return schemas.Message{Key: []byte(e.Shop.Shop), Value: strconv.AppendInt(nil, sequence, 10), Headers: []schemas.Header{{Key: "ce_id", Value: []byte(e.ID)}}}, nil
		}}}}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.j.Close() })
	topic := schemas.TypeCodeEntered
	if err := s.j.EnsureAccount(t.Context(), "default", "partner"); err != nil {
		t.Fatal(err)
	}
	if err := s.j.InitPositions(t.Context(), []journal.Position{{Topic: topic}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for next := int64(0); ctx.Err() == nil; <-time.After(10 * time.Millisecond) {
			b := journal.Batch{Topic: topic, From: next, Next: next + 1}
			id := fmt.Sprint(next)
			e := journaltest.MakeEvent(t, keys, journal.Activate, journal.ShopKey{Account: "default", Shop: fmt.Sprint("shop-", next%streamShops)}, id, id, time.Now())
			e.Offset = next
			b.Events = []journal.Event{e}
			// What failed with the database may have been taken: then it is in the
			// journal, and the next is due.
			if _, err := s.j.Ingest(context.Background(), b); err != nil {
				at, err := s.j.Positions(context.Background())
				if err != nil || len(at) == 0 || at[0].Next != b.Next {
					continue
				}
			}
			next++
			s.mu.Lock()
			s.many = int(next)
			s.mu.Unlock()
		}
	}()
	s.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(s.stop)
	return s
}

// Two processes over one database: one publishes. It is stopped, killed, loses
// its sessions and is told to end, and each time the other goes on.
func testRelayReplicasTakeOver(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	server := pgtest.Start(t)
	url := server.Database(t, "")
	c := kafkatest.Embedded(t, kafkatest.WithTopics(allTopics...))
	s := startLoad(t, url)
	const within = 15 * time.Second
	publishes := func(p *process, why string, began time.Time) {
		t.Helper()
		eventually(t, why, func() bool { return p.printed("publishing") })
		took := p.since.Sub(began)
		t.Logf("%s: the other replica published after %v", why, took.Round(time.Millisecond))
		if took > within {
			t.Errorf("%s: it took %v", why, took)
		}
	}
	stands := func(p *process) {
		t.Helper()
		eventually(t, "it stands by", func() bool { return p.printed(wordStandby) })
	}
	first := startProcess(t, url, c)
	began := time.Now()
	publishes(first, "at the start", began)
	second := startProcess(t, url, c)
	stands(second)

	began = time.Now()
	first.signal(t, syscall.SIGSTOP)
	publishes(second, "SIGSTOP", began)
	first.signal(t, syscall.SIGCONT)
	stands(first)

	began = time.Now()
	second.signal(t, syscall.SIGKILL)
	publishes(first, "SIGKILL", began)

	third := startProcess(t, url, c)
	stands(third)
	began = time.Now()
	first.signal(t, syscall.SIGTERM)
	publishes(third, "SIGTERM", began)

	fourth := startProcess(t, url, c)
	stands(fourth)
	name, _, _ := strings.Cut(url[strings.LastIndex(url, "/")+1:], "?")
	began = time.Now()
	server.Exec(t, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+name+"'")
	before := s.count()
	eventually(t, "it goes on", func() bool {
		stats, err := s.j.Stats(t.Context())
		// On a busy machine the lease has expired before its holder is back.
		one := third.printed("publishing") && fourth.printed(wordStandby) || fourth.printed("publishing") && third.printed(wordStandby)
		return err == nil && s.count() > before+20 && stats.Outbox < 50 && one
	})
	t.Logf("sessions ended: it went on after %v", time.Since(began).Round(time.Millisecond))

	s.stop()
	eventually(t, "an empty outbox", func() bool {
		stats, err := s.j.Stats(t.Context())
		return err == nil && stats.Outbox == 0
	})
	checkPublished(t, c.ReadAll(t, schemas.TypeInvited), s.count())
}

// checkPublished looks at what a topic holds: every row, each shop's in order
// where they came first, and repeats with the same bytes.
func checkPublished(t *testing.T, records []kafkago.Message, many int) {
	t.Helper()
	last, bytes := map[string]int64{}, map[string]string{}
	repeats, back := 0, int64(0)
	for _, m := range records {
		shop, text := string(m.Key), fmt.Sprintf("%q %q %q", m.Key, m.Value, m.Headers)
		sequence, err := strconv.ParseInt(string(m.Value), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprint(shop, " ", sequence)
		known, repeated := bytes[name]
		bytes[name] = text
		switch {
		case repeated && known != text:
			t.Errorf("%s was %s and is %s", name, known, text)
		case repeated:
			repeats++
			back = max(back, last[shop]-sequence)
		case sequence != last[shop]+1:
			t.Errorf("%s came after %d", name, last[shop])
		}
		last[shop] = max(last[shop], sequence)
	}
	if len(bytes) != many {
		t.Errorf("%d events were published, want %d", len(bytes), many)
	}
	if len(last) != min(streamShops, many) {
		t.Errorf("%d shops have events", len(last))
	}
	t.Logf("%d events, %d repeats, at most %d behind the newest of the shop", many, repeats, back)
}
