package producer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/metrictest"
	"invoicebox-worker/producer"
	"invoicebox-worker/schemas"
)

// leaseTime is how long the lease of a shared outbox lasts: less than a connection
// may take to be opened.
const leaseTime = 2 * time.Second

// A sharedOutbox outbox has several replicas on it.
type sharedOutbox struct {
	*outbox
	term      int64
	holder    *outboxReplica
	expiresAt time.Time
	seats     []*outboxReplica
}

// A replica is one replica's view of a shared outbox.
type outboxReplica struct {
	*sharedOutbox
	had      int64
	changed  chan struct{}
	released chan struct{}
	cut      bool // off: every call fails
	asked    int
	read     int
}

func (s *sharedOutbox) replica() *outboxReplica {
	x := &outboxReplica{sharedOutbox: s, changed: make(chan struct{}, 1), released: make(chan struct{}, 1)}
	s.seats = append(s.seats, x)
	return x
}

// add tells all seats of a row.
func (s *sharedOutbox) add(typ, shop, value string) int64 {
	row := s.outbox.add(typ, shop, value)
	for _, x := range s.seats {
		notify(x.changed)
	}
	return row
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (x *outboxReplica) OutboxChanged() <-chan struct{} { return x.changed }

var errCutOff = errors.New("the database cannot be reached")

func (x *outboxReplica) AcquireLease(context.Context) (journal.RelayLease, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.asked++
	now := time.Now()
	switch {
	case x.cut:
		return journal.RelayLease{}, errCutOff
	case x.holder == x:
	case x.holder != nil && now.Before(x.expiresAt):
		return journal.RelayLease{}, journal.ErrLeaseHeld
	default:
		x.term++
		x.had, x.holder = x.term, x
	}
	x.expiresAt = now.Add(leaseTime)
	return journal.RelayLease{Term: x.had, ExpiresAt: x.expiresAt}, nil
}

func (x *outboxReplica) ReleaseLease(context.Context) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.holder == x {
		x.holder = nil
		x.term++
		for _, s := range x.seats {
			notify(s.released)
		}
	}
	return nil
}

func (x *outboxReplica) LeaseReleased() <-chan struct{} { return x.released }

// fenced tells what is wrong with a step of the seat's.
func (x *outboxReplica) fenced() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.cut:
		return errCutOff
	case x.had != x.term:
		return journal.ErrStale
	}
	x.read++
	return nil
}

func (x *outboxReplica) Pending(ctx context.Context, after int64, limit, maxBytes int) ([]journal.OutboxRow, error) {
	if err := x.fenced(); err != nil {
		return nil, err
	}
	return x.outbox.Pending(ctx, after, limit, maxBytes)
}

func (x *outboxReplica) MarkPublished(ctx context.Context, rows []journal.Published) error {
	if err := x.fenced(); err != nil {
		return err
	}
	return x.outbox.MarkPublished(ctx, rows)
}

func (x *outboxReplica) disconnect(yes bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cut = yes
}

func (x *outboxReplica) hasLease() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.holder == x
}

func (x *outboxReplica) count() (asked, read int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.asked, x.read
}

// A cluster has replicas over one outbox and a broker, in virtual time.
type cluster struct {
	*testing.T
	outbox  *sharedOutbox
	network *kfake.VirtualNetwork
	kafka   *kafkatest.Cluster
}

func inVirtualTime(t *testing.T, f func(*cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &cluster{T: t, outbox: &sharedOutbox{outbox: newOutbox()}, network: &kfake.VirtualNetwork{}}
		w.kafka = kafkatest.Embedded(t, kafkatest.WithNetwork(w.network), kafkatest.WithTopics(allTopics...))
		f(w)
	})
}

// A replica is a relay with its seat, and a door in its way to the broker.
type replica struct {
	*producer.Relay
	*outboxReplica
	w        *cluster
	registry *prometheus.Registry
	stop     func()

	door   sync.Mutex
	closed chan struct{} // nil: open
	waits  int
}

func (r *replica) dial(ctx context.Context, network, address string) (net.Conn, error) {
	r.door.Lock()
	closed := r.closed
	if closed != nil {
		r.waits++
	}
	r.door.Unlock()
	if closed != nil {
		<-closed
		ctx = context.WithoutCancel(ctx)
	}
	return r.w.network.DialContext(ctx, network, address)
}

func (r *replica) block() (open func()) {
	closed := make(chan struct{})
	r.door.Lock()
	defer r.door.Unlock()
	r.closed = closed
	return func() {
		r.door.Lock()
		defer r.door.Unlock()
		r.closed = nil
		close(closed)
	}
}

func (r *replica) waiting() bool {
	r.door.Lock()
	defer r.door.Unlock()
	return r.waits > 0
}

func (w *cluster) replica() *replica {
	w.Helper()
	r := &replica{outboxReplica: w.outbox.replica(), w: w, registry: prometheus.NewPedanticRegistry()}
	conn, err := kafka.New(kafka.Config{Brokers: w.kafka.Brokers(), ClientID: "relay", Dial: r.dial})
	if err != nil {
		w.Fatal(err)
	}
	r.Relay, err = producer.New(producer.Config{Kafka: conn, Outbox: r.outboxReplica, Authentic: anyRow, Logger: slog.New(slog.DiscardHandler), Metrics: producer.NewMetrics(r.registry)})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("Run: %v", err)
		}
	})
	w.Cleanup(r.stop)
	synctest.Wait()
	return r
}

// wait lets virtual time pass.
func (w *cluster) wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// until waits for something and tells how long it took.
func (w *cluster) until(what string, ok func() bool) time.Duration {
	w.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > 10*time.Minute {
			w.Fatalf("not in time: %s", what)
		}
		w.wait(10 * time.Millisecond)
	}
	return time.Since(began)
}

func (w *cluster) expectReady(r *replica, ready bool, word string, active float64) {
	w.Helper()
	if ok, said := r.Ready(); ok != ready || said != word {
		w.Errorf("ready is %v, %q; want %v, %q", ok, said, ready, word)
	}
	if n := metrictest.Sum(w, r.registry, "invoicebox_worker_relay_leader"); n != active {
		w.Errorf("relay_leader is %v, want %v", n, active)
	}
}

func testRelayStandsByWithoutLease(t *testing.T) {
	inVirtualTime(t, func(w *cluster) {
		one, two := w.replica(), w.replica()
		w.expectReady(one, true, "publishing", 1)
		w.expectReady(two, true, wordStandby, 0)
		before, _ := two.count()
		for i := range 60 {
			w.outbox.add(schemas.TypeInvited, "shop", fmt.Sprint(i))
			w.wait(time.Second)
		}
		if left := w.outbox.left(); left != 0 {
			t.Errorf("%d rows are left", left)
		}
		asked, read := two.count()
		if asked-before > 61 || asked-before < 55 || read != 0 {
			t.Errorf("the replica that stands by asked %d times in a minute and did %d steps", asked-before, read)
		}
		// It has something left when it is told to stop, and releases the lease.
		row := w.outbox.add(schemas.TypeInvited, "shop", "60")
		one.stop()
		if _, ok := w.outbox.published(row); !ok {
			t.Error("what was left is not published")
		}
		if took := w.until("the other one", two.hasLease); took > 100*time.Millisecond {
			t.Errorf("the lease that was released was acquired after %v", took)
		}
		w.expectReady(one, true, wordStandby, 0)
		w.outbox.add(schemas.TypeInvited, "shop", "61")
		w.until("an empty outbox", func() bool { return w.outbox.left() == 0 })
		w.expectReady(two, true, "publishing", 1)
		w.expectPublished("shop", 62)
	})
}

// hasLease looks whether the topic has the shop's rows 0 to n-1 once and in order.
func (w *cluster) expectPublished(shop string, n int) {
	w.Helper()
	var want []string
	for i := range n {
		want = append(want, fmt.Sprint(i))
	}
	if got := values(w.kafka.ReadAll(w.T, schemas.TypeInvited))[shop]; !slices.Equal(got, want) {
		w.Errorf("the topic holds %v", got)
	}
}

// A relay that stands still between its last look at the lease and the request
// writes nothing that it had not written, whenever it wakes.
func testRelayWritesNothingAfterLeaseExpires(t *testing.T) {
	inVirtualTime(t, func(w *cluster) {
		one := w.replica()
		w.outbox.add(schemas.TypeInvited, "shop", "0")
		w.until("the first row", func() bool { return w.outbox.left() == 0 })
		two := w.replica()
		w.wait(5 * time.Minute) // idle connections are closed
		open := one.block()
		w.outbox.add(schemas.TypeInvited, "shop", "1")
		w.until("a request waits for its connection", one.waiting)
		one.disconnect(true)
		took := w.until("the other one", two.hasLease)
		if took < leaseTime/2 || took > leaseTime+1100*time.Millisecond {
			t.Errorf("it was taken over after %v", took)
		}
		w.outbox.add(schemas.TypeInvited, "shop", "2")
		w.until("an empty outbox", func() bool { return w.outbox.left() == 0 })
		w.expectReady(one, false, wordUnknown, 0)
		open()
		w.wait(10 * time.Second)
		w.expectPublished("shop", 3)
		one.disconnect(false)
		w.wait(2 * time.Second)
		w.expectReady(one, true, wordStandby, 0)
		if n := metrictest.Sum(t, one.registry, "invoicebox_worker_relay_buffered_events"); n != 0 {
			t.Errorf("it holds %v rows", n)
		}
		// And back.
		two.stop()
		w.outbox.add(schemas.TypeInvited, "shop", "3")
		w.until("an empty outbox", func() bool { return w.outbox.left() == 0 })
		w.expectReady(one, true, "publishing", 1)
		w.expectPublished("shop", 4)
	})
}

// A database that is away for longer than the leaseTime lasts costs nothing where
// nobody else took it: what is held is published when it is back, once.
func testRelayResumesWithRenewedLease(t *testing.T) {
	inVirtualTime(t, func(w *cluster) {
		one := w.replica()
		w.outbox.add(schemas.TypeInvited, "shop", "0")
		w.until("the first row", func() bool { return w.outbox.left() == 0 })
		w.wait(5 * time.Minute)
		open := one.block()
		w.outbox.add(schemas.TypeInvited, "shop", "1")
		w.until("a request waits for its connection", one.waiting)
		one.disconnect(true)
		w.wait(2 * leaseTime)
		w.expectReady(one, false, wordUnknown, 0)
		open()
		w.wait(leaseTime)
		w.expectPublished("shop", 1)
		one.disconnect(false)
		w.until("an empty outbox", func() bool { return w.outbox.left() == 0 })
		w.expectReady(one, true, "publishing", 1)
		w.expectPublished("shop", 2)
	})
}

// Whoever is told by the journal that the lease is another's stops at once, also
// while it believes in it.
func testRelayStepsDownWhenTermIsRefused(t *testing.T) {
	inVirtualTime(t, func(w *cluster) {
		one, two := w.replica(), w.replica()
		one.mu.Lock()
		one.holder, one.term = two.outboxReplica, one.term+1
		two.had, two.expiresAt = one.term, time.Now().Add(time.Minute)
		one.mu.Unlock()
		w.outbox.add(schemas.TypeInvited, "shop", "0")
		w.until("it stands by", func() bool { _, word := one.Ready(); return word == wordStandby })
		w.until("an empty outbox", func() bool { return w.outbox.left() == 0 })
		w.expectReady(two, true, "publishing", 1)
		w.expectPublished("shop", 1)
	})
}
